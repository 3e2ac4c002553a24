"""--mode=cam --search: which layer and which method make the best maps of a run.

    runs/.../search/<split>/<rank>/search.csv, search.json, search.png

Layers and methods are ranked on the val split (or train, which takes no part in it
either), by what can be measured there; see `evaluation.ranking`. The test split is
never read, unless search.report=test asks what the choice is worth there: it is then
measured after the choice, which it cannot change.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiercam_keras import file_names, runtime, signals
from hiercam_keras.cam import stages
from hiercam_keras.cam.methods import get_methods
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation import ranking, table
from hiercam_keras.evaluation.question import PREDICTED, Question
from hiercam_keras.evaluation.ranking import Ranking
from hiercam_keras.modes import faithful, sanity, search_tables
from hiercam_keras.modes.find_runs import find_runs
from hiercam_keras.modes.load import RunData, config_of, open_run
from hiercam_keras.modes.localize_question import target_name
from hiercam_keras.modes.make_maps import question_of
from hiercam_keras.modes.search_measure import (
    CONTROLS,
    Candidate,
    Plan,
    candidates_of,
    measure,
)
from hiercam_keras.modes.search_tables import OnTest, Searched
from hiercam_keras.modes.settings import DETECTIONS, Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network

# Tried where search.methods is empty, as far as the network can be asked: the last one
# is a control, which looks at neither the network nor the picture.
METHODS = (
    *("gradcam", "gradcam++", "layercam", "hirescam"),
    "refinecam",
    *("rollout", "legrad", "gradient_x_attention"),
    "center_gaussian",
)
_TEST = "test"


def run(settings: Settings) -> str:
    """Ranks layers and methods on --split; returns the table and the choice."""
    (this,) = find_runs(settings, [settings.rank])
    _check(settings, config_of(settings, this))
    signals.advise(
        "Layers and methods that are measured are kept: run the same command again for "
        "the others."
    )
    data = open_run(settings, this)
    _check_split(settings, data)
    config = data.config
    runtime.start(
        config.seed, config.model.dtype, config.distribution.devices, alone=True
    )
    question = question_of(settings.target, settings.target_rank, data)
    network = networks.load(data.run, config)
    # Of this command: the record of a training has defaults that nobody chose.
    options = settings.config.search
    own_layer, candidates = _candidates(network, config.cam.layer, options)
    plan = _plan(question, config, options)
    name = _name(question, data)
    out = Path(settings.out or this.results / "search" / settings.split / name)
    found = measure(network, data, settings.split, candidates, plan, out)
    controls = [one.name for one in candidates if one.method in CONTROLS]
    ranked = ranking.rank(found, options.insensitive, config.seed, controls)
    if not ranked.entries or not ranked.entries[0].value(ranked.measure).n:
        raise UserError(
            f"nothing could be measured on {data.in_words(settings.split)} of "
            f"{this.path}: no image has a box or a mask, and "
            f"--config.search.faithfulness_images={options.faithfulness_images} leaves "
            "no image with a score that depends on the picture."
        )
    by_name = {one.name: one for one in candidates}
    own = next(
        (
            one.name
            for one in candidates
            if one.method == question.method and (one.placed or one.layer == own_layer)
        ),
        "",
    )
    on_test = None
    if options.report and ranked.best:
        on_test = _on_test(network, data, candidates, plan, out, ranked, own)
    about = Searched(
        run=this.path,
        split=data.in_words(settings.split),
        images=len(found),
        question=question,
        target=target_name(question, data),
        noun=config.data.get("noun", "object"),
        resampled="group" if found.resampled == "groups" else data.taxonomy.finest,
        seed=config.seed,
        insensitive=options.insensitive,
        cam_layer=config.cam.layer,
        flags=_flags(settings),
    )
    return search_tables.write(out, about, by_name, ranked, own, on_test)


def _check(settings: Settings, config: Any) -> None:
    """A UserError where flags or fields cannot be, before anything is read."""
    if settings.split == _TEST:
        raise UserError(
            "--search chooses a layer and a method by their results, which may not be "
            "those of the test split: leave --split=test out, val is the default. "
            "--config.search.report=test measures on test what was chosen on val."
        )
    options = settings.config.search
    if options.report not in ("", _TEST):
        raise UserError(
            f"--config.search.report={options.report!r}, expected {_TEST}, or nothing."
        )
    for name in ("images", "faithfulness_images"):
        least = 1 if name == "images" else 0
        if options[name] < least and options[name] != -1:
            raise UserError(
                f"--config.search.{name}={options[name]}, expected {least} or more, or "
                "-1 for all."
            )
    faithful.choices_of(config.faithfulness)
    sanity.check_options(config.sanity)
    get_methods(options.methods or METHODS)


def _check_split(settings: Settings, data: RunData) -> None:
    """A UserError where an imported network's images were not dealt out."""
    if data.run.imported and not data.split.val:
        raise UserError(
            f"{data.run.path} holds an imported network, so all images are test, and "
            "--search never takes these. "
            '--config.data.fractions="(0,0.5,0.5)" deals them out to val, on which '
            "the choice is made, and test; "
            '"(0,1,0)" says that all may be used for the choice.'
        )
    if settings.config.search.report and not data.has_images(_TEST):
        raise UserError(
            f"--config.search.report=test: {data.run.path} has no test images. Leave "
            "it out, or deal some out with --config.data.fractions."
        )


def _candidates(
    network: Network, layer: str, options: Any
) -> tuple[str, tuple[Candidate, ...]]:
    """Path of the run's own layer, and what is tried: at first at this layer, as of
    equal values the first one is chosen."""
    explain = network.explainer(layer)
    (own,) = explain.layers
    layers = tuple(options.layers) or (own, *stages.ends(network.model))
    paths = network.explainer(layers).layers
    able = [name for name in METHODS if name in explain.methods]
    methods = tuple(options.methods) or able
    return own, candidates_of(methods, tuple(dict.fromkeys(paths)))


def _plan(question: Question, config: Any, options: Any) -> Plan:
    choices = faithful.choices_of(config.faithfulness)
    return Plan(
        dataclasses.replace(question, method=None, layer=None),
        options.images,
        options.faithfulness_images,
        # What the ranking does not use, and takes time.
        dataclasses.replace(choices, road_shares=(), regions=0),
        kind=config.sanity.kind,
    )


def _name(question: Question, data: RunData) -> str:
    parts = [question.rank]
    if question.target != PREDICTED:
        parts.append(file_names.words_name(target_name(question, data)))
    parts += [] if question.score == "own" else [question.score]
    return file_names.joined_name(parts, "-")


def _flags(settings: Settings) -> tuple[str, ...]:
    """Those of the command that the next one needs too."""
    given = {"data_dir": settings.data_dir, "target_rank": settings.target_rank}
    given["target"] = "" if settings.target == PREDICTED else settings.target
    given["allowed_taxa"] = settings.allowed_taxa
    given["taxonomy"] = settings.taxonomy
    given["detections"] = settings.overrides.get(DETECTIONS)
    fields = {
        f"config.{name}": value
        for name, value in settings.overrides.items()
        if name.startswith("detections.") and name != DETECTIONS
    }
    chosen = [f"--{name}={value}" for name, value in given.items() if value]
    return (*chosen, *(f"--{name}={value}" for name, value in fields.items()))


def _on_test(
    network: Network,
    data: RunData,
    candidates: Sequence[Candidate],
    plan: Plan,
    out: Path,
    ranked: Ranking,
    own: str,
) -> OnTest:
    """What the choice is worth on test, with all others that could be chosen."""
    few = plan.few if ranked.measure == ranking.FAITHFULNESS else 0
    plan = dataclasses.replace(plan, few=few, randomize=False)
    able = [one.name for one in ranked.entries if not one.excluded]
    candidates = [one for one in candidates if one.name in able]
    found = measure(network, data, _TEST, candidates, plan, out)
    seed, chosen = data.config.seed, ranked.best.name
    table.save(out / "report_test.npz", found)
    gain = None
    if own in able and own != chosen:
        gain = ranking.difference(found, ranked.measure, chosen, own, seed=seed)
    return OnTest(
        images=len(found),
        values={
            name: ranking.estimate(found, ranked.measure, name, seed) for name in able
        },
        best=ranking.best_of(found, ranked.measure, able),
        regret=ranking.regret([found], ranked.measure, [chosen], [able], seed),
        own=own,
        gain=gain,
    )
