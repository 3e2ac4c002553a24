"""--mode=cam: maps of a split into the map store, or one figure for each photo."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import file_names, multihost, runtime, tables, wording, workdir
from hiercam_keras.cam import map_scale, store, targets
from hiercam_keras.cam.base_explainer import BaseExplainer
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.question import PREDICTED, TRUE
from hiercam_keras.modes import (
    belief,
    belief_sheet,
    detected,
    faithful,
    overlays,
    predict,
    sanity,
    search,
    taxonomies,
    whole_pictures,
)
from hiercam_keras.modes.find_runs import find_runs
from hiercam_keras.modes.load import RunData, config_of, open_run
from hiercam_keras.modes.make_maps import make_maps, question_of
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import overlay, photo_answer, photo_figure, style, whole
from hiercam_keras.report.schema import ONLY_CHILD, no_rank
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.truth import Truth
from hiercam_keras.taxonomy.tree import Taxonomy

_SHOWN = 3  # photos that a message lists


def run(settings: Settings) -> str:
    """Explains --image, or the split of the run; or searches for layer and method."""
    if settings.search:
        return search.run(settings)
    (this,) = find_runs(settings, [settings.rank])
    config = config_of(settings, this)
    if settings.image:
        records = detected.load_photos(settings, config)
        records = taxonomies.photos(records, this, config)
        data = RunData(this, config, this.taxonomy(), None, None)
    else:
        data = open_run(settings, this)
        this = data.run
    devices = settings.config.distribution.devices
    runtime.start(config.seed, config.model.dtype, devices, alone=True)
    network = networks.load(this, config)
    if settings.image:
        out = Path(settings.out or this.results / "cam")
        return _explain_photos(network, data, records, settings, out)
    return _explain_split(network, data, settings)


def _explain_split(network: Network, data: RunData, settings: Settings) -> str:
    config = data.config
    number = config.cam.num_overlays
    if settings.out and not number:
        raise UserError(
            "--out is for the overlays, of which --num_overlays=0 wants none; maps "
            "stay in the run folder. Leave out one of them."
        )
    thresholds = overlays.thresholds_of(config.coherence)
    choices = faithful.choices_of(config.faithfulness)
    sanity.check_options(config.sanity)
    question = question_of(settings.target, settings.target_rank, data)
    folder, made = make_maps(network, data, settings.split, question)
    maps = store.open(folder)
    degenerate = int(np.sum(maps.column("degenerate")))
    said = (
        f"{wording.count(len(maps), 'map')} of {data.in_words(settings.split)}, "
        f"{made} of them made now, {degenerate} without a heatmap"
    )
    shown = data.records(settings.split)[: None if number < 0 else number]
    if shown and multihost.is_primary():
        most = config.coherence.faithfulness_images
        scores = faithful.measured(
            network.scorer(),
            data,
            folder,
            shown[: None if most < 0 else most],
            choices,
        )
        out = Path(settings.out) if settings.out else None
        counts = overlays.draw(folder, shown, data, thresholds, scores, out)
        sorted_ = ", ".join(f"{count} {name}" for name, count in counts.items())
        said += f"; overlays{f' in {out}' if out else ''}: {sorted_}"
    if config.sanity.order and multihost.is_primary():
        said += f"; {sanity.check(network, data, folder, data.records(settings.split))}"
    return f"{said}: {folder}"


def _explain_photos(
    network: Network, data: RunData, records: list, settings: Settings, out: Path
) -> str:
    # Each photo is explained by itself: a piece of `batch_size` would repeat it.
    network = dataclasses.replace(network, batch_size=1)
    explain = network.explainer(data.config.cam.layer)
    question = question_of(settings.target, settings.target_rank, data)
    rank, label = question.rank, None
    if question.target not in (PREDICTED, TRUE):
        _, label = data.taxonomy.find(question.target, rank)
    by_id = {record.example_id: record for record in records}
    if settings.target == TRUE:
        records = _with_true_taxon(records, data, rank)
    workdir.make_dir(out)
    lines = []
    method = data.config.cam.method
    rule = belief.rule_of(data.run, data.config.believe)
    masked = _masked(network, data, records)
    with predict.photo_loader(records, data.config) as loader:
        for batch in loader.epoch(0):
            for number in np.flatnonzero(batch.mask):
                record = by_id[batch.example_ids[number]]
                asked = label
                if settings.target == TRUE:
                    asked = _true_label(record, data.truth, rank)
                text = explain_photo(
                    explain,
                    batch.images[number],
                    record,
                    data.truth,
                    out / file_names.flat_name(record.example_id, ".png"),
                    method,
                    asked=None if asked is None else (rank, asked),
                    scale=settings.config.report.scale,
                    rule=rule,
                    picture=None
                    if record.crop is None
                    else whole_pictures.of(record, batch.geometry[number]),
                    masked=masked.get(record.example_id),
                )
                lines.append(text)
    return "\n\n".join(lines)


def _masked(network: Network, data: RunData, records: list) -> dict[str, float]:
    """What the network gave to taxa that are not allowed, of each photo."""
    if network.restriction is None:
        return {}
    with predict.photo_loader(records, data.config) as loader:
        found = network.predict(loader)
    if found.masked is None:
        return {}
    return dict(zip(found.example_ids, found.masked.tolist(), strict=True))


def _masked_remark(share: float | None) -> str:
    """What the answer for a photo was chosen from, where some taxa are not allowed."""
    if share is None:
        return ""
    remark = (
        "Probabilities are shares among the allowed taxa; the network gave "
        f"{style.percent(share)} to others."
    )
    if share > predict.MUCH:
        remark += (
            " The answer is the best of the allowed ones, and may be far from right."
        )
    return remark


def _with_true_taxon(records: list, data: RunData, rank: str) -> list:
    """The photos of which the network knows the true taxon; others are reported.

    Raises:
      UserError: there is none.
    """
    known, unknown = [], []
    for record in records:
        found = _true_label(record, data.truth, rank) is not None
        (known if found else unknown).append(record)
    if not unknown:
        return known
    nameless = sum(record.lineage is None for record in unknown)
    reasons = []
    if nameless:
        reasons.append(f"{nameless} in no folder in iNat naming")
    if len(unknown) > nameless:
        reasons.append(
            f"{len(unknown) - nameless} of a {rank} that the network does not know"
        )
    shown = ", ".join(record.example_id for record in unknown[:_SHOWN])
    more = ", ..." if len(unknown) > _SHOWN else ""
    told = (
        f"--target=true: of {wording.count(len(records), 'photo')}, {len(unknown)} "
        f"have no known {rank}: {wording.listed(reasons)} ({shown}{more})"
    )
    if not known:
        raise UserError(f"{told}. Leave out --target=true, or name a taxon.")
    logging.warning("%s. They are left out", told)
    return known


def explain_photo(
    explain: BaseExplainer,
    image: np.ndarray,
    record: Any,
    truth: Taxonomy | Truth,
    path: Path,
    method: str,
    asked: tuple[str, int] | None = None,
    scale: str = map_scale.MAP,
    picture: whole.Picture | None = None,
    rule: belief.Rule | None = None,
    masked: float | None = None,
) -> str:
    """Writes the figure of one photo and returns the predicted lineage as text.

    Args:
      explain: of the model.
      image: uint8 (S, S, 3), the model's input.
      record: of the photo.
      truth: gives the true labels, see `RunData.truth`.
      path: of the figure, a PNG. The overlay of a taxon that is asked for by name is
        written to the same folder.
      method: a CAM method.
      asked: rank and label of a named taxon.
      scale: of the heat of a row of the figure, see `map_scale.show_row`.
      picture: the whole picture of a crop; None where the image is all of it.
      rule: how far down an answer is believed; None to show the finest answer.
      masked: probability of taxa that are not allowed; None if all are.
    """
    space = explain.space
    taxonomy = space.taxonomy
    ranks = [rank for rank in space.ranks if taxonomy.num_labels(rank) > 1]
    # Independent labels (sigmoids) are not chosen among siblings.
    steps = ranks if not space.head_of[space.finest].independent else []
    questions = [targets.predicted(rank) for rank in ranks]
    questions += [targets.path(ranks=steps)] if steps else []
    questions.append(targets.contrast(against="runner_up"))
    if asked:
        questions.append(targets.label(asked[1], asked[0]))
    result = explain(image[None], questions, method)
    size = image.shape[0]
    last = len(ranks) + len(steps)
    # Heads of their own have logits of their own, with no common unit.
    one_head = len(space.heads) == 1
    cams = result.cams[0]
    own = map_scale.show_row(cams[: len(ranks)], size, scale, one_head)
    chosen = map_scale.show_row(cams[len(ranks) : last], size, scale)
    others = [map_scale.show_row(cam[None], size) for cam in cams[last:]]
    answers = _answers(explain, result, own, chosen, record, truth)
    rows = [
        [a.rank, a.titled(a.name), a.probability, a.titled(a.true_name or "")]
        for a in answers
    ]
    second = answers[-1].others[0]
    believed = None
    if rule is not None and steps:
        believed = belief_sheet.sheet(
            explain, image, result, method, rule, record, truth, masked
        )
        rows.append(["believed", believed.name, believed.probability, ""])
    remark = _masked_remark(masked)
    photo_figure.save_single(
        path,
        image,
        answers,
        contrast=photo_answer.Contrast(
            *second,
            others[0].heat[0],
            bool(result.degenerate[0, last]),
            others[0].remarks[0],
        ),
        title=Path(record.example_id).name,
        scales=photo_answer.RowScales(own.top, chosen.top),
        whole=picture,
        believed=believed and believed.shown,
        remark=remark,
    )
    text = tables.format_table(("rank", "predicted", "probability", "true"), rows)
    text = "\n".join(filter(None, (text, remark, photo_answer.disagreement(answers))))
    if asked:
        name = taxonomy.names(asked[0])[asked[1]]
        file = file_names.flat_name(record.example_id, ".png", taxon=name)
        name = taxonomy.titles(asked[0])[asked[1]]
        other, place = path.with_name(file), last + 1
        flat = bool(result.degenerate[0, place])
        heat = others[1].heat[0]
        if picture is None:
            drawn = overlay.overlay(image, heat, degenerate=flat)
        else:
            drawn = whole.draw(picture, heat, flat)
        overlay.save_image(other, drawn)
        share = float(result.probabilities[0, place])
        text += f"\nasked for {name} (probability {share:.3f}): {other}"
    logging.debug("explained %s", record.example_id)
    return f"{record.example_id}\n{text}\nfigure: {path}"


def _answers(
    explain: BaseExplainer,
    result: Any,
    own: map_scale.ShownRow,
    steps: map_scale.ShownRow,
    record: Any,
    truth: Taxonomy | Truth,
) -> list[photo_answer.RankAnswer]:
    """One answer for each map of `own`, with its parent if that is another answer."""
    answers = [
        _answer(explain, result, own, steps, record, truth, k)
        for k in range(len(own.heat))
    ]
    for k in range(1, len(answers)):
        coarse, fine = result.labels[0, k - 1], result.labels[0, k]
        taxonomy, above = explain.space.taxonomy, result.ranks[k - 1]
        parent = int(taxonomy.parents(result.ranks[k], above)[fine])
        if parent != coarse:
            name = taxonomy.names(above)[parent] if parent >= 0 else f"no {above}"
            answers[k] = dataclasses.replace(answers[k], parent=name)
    return answers


def _answer(
    explain: BaseExplainer,
    result: Any,
    own: map_scale.ShownRow,
    steps: map_scale.ShownRow,
    record: Any,
    truth: Taxonomy | Truth,
    k: int,
) -> photo_answer.RankAnswer:
    """The answer at rank `k`, with its maps; `steps` is empty if there are none."""
    rank, step = result.ranks[k], k + len(own.heat)
    taxonomy = explain.space.taxonomy
    names = taxonomy.names(rank)
    probability = result.rank_probabilities(rank)[0]
    order = np.argsort(-probability, kind="stable")
    true = _true_label(record, truth, rank)
    shown = {*order[:4].tolist()} | ({true} - {None})
    found = photo_answer.RankAnswer(
        rank=rank,
        name=names[order[0]],
        probability=float(probability[order[0]]),
        others=tuple((names[i], float(probability[i])) for i in order[1:4]),
        heatmap=own.heat[k],
        degenerate=bool(result.degenerate[0, k]),
        remark=own.remarks[k] or _without(probability, rank, explain.space),
        step=None,
        step_note="independent labels: no choice among siblings",
        true_name=None if true is None else names[true],
        common_names={
            names[i]: common for i in shown if (common := taxonomy.common_name(rank, i))
        },
    )
    if not steps.remarks:
        return found
    trivial = bool(result.trivial[0, step])
    note = ONLY_CHILD if trivial else ""
    if result.labels[0, step] < 0:
        note = no_rank(rank)
    return dataclasses.replace(
        found,
        step=None if trivial else steps.heat[k],
        step_degenerate=bool(result.degenerate[0, step]),
        step_note=note,
        step_name=result.names[0][step],
        step_remark=steps.remarks[k],
    )


def _without(probability: np.ndarray, rank: str, space: ScoreSpace) -> str:
    """How much of the probability is at taxa that have no such rank; "" for none."""
    if not space.taxonomy.has_gaps(space.finest, rank):
        return ""
    share = 1 - float(probability.sum())
    return f"{style.percent(share)} at taxa without a {rank}" if share > 0.005 else ""


def _true_label(record: Any, truth: Any, rank: str) -> int | None:
    """The label of a photo at a rank; None if the network has none for it."""
    if record.lineage is None:
        return None
    try:
        label = truth.label(record.lineage, rank)
    except UserError:
        return None  # a taxon that the model was not trained on
    return label if label >= 0 else None
