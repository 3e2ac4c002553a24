"""Tables of --mode=causes on what a network uses: effects of exchanged parts."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.evaluation.cause_measures import SIBLING
from hiercam_keras.experiments import cause_pooling as pooling
from hiercam_keras.experiments.cause_pooling import CausedRun
from hiercam_keras.experiments.results import Result, joined, text
from hiercam_keras.metrics import statistics
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.wording import spaced

CONTROL = "legs"  # of which the length alone is a trait, the order's
# (rank, part) -> what the generator makes of it; for parts that carry no trait.
_HINTS = {
    ("order", "bird"): "carries the trait",
    ("order", "legs"): "their length is of the trait",
    ("family", "placement"): "follows from the trait",
}
_WHOLE = {"body": "bird"}  # the body plan with all that is attached to it
HABITAT = "habitat"
Models = Mapping[str, Sequence[CausedRun]]

FALL = (
    "Score of the true taxon minus that with the part exchanged, in nats: above 0 "
    "where the part speaks for the taxon. bird: the whole bird with another body plan. "
    "placement: its size and place in the picture are those that it would have with "
    "the other bill and tail, and all its forms stay. Brackets: 95 % intervals, "
    "species and seeds resampled."
)


@dataclass(frozen=True)
class Use:
    """Whether the step of a model to a rank uses a part.

    Attributes:
      model, rank, part: names.
      fall: of the step, when the part has a sibling's form.
      beyond: that minus the fall by the exchange of the control part, with p corrected
        for the number of comparisons; None for the control.
    """

    model: str
    rank: str
    part: str
    fall: Estimate
    beyond: Estimate | None

    @property
    def is_used(self) -> bool:
        """Whether the fall is larger than that of the control."""
        found = self.beyond
        significant = found is not None and found.p < statistics.ALPHA
        return bool(significant and found.verdict > 0)


def uses(models: Models) -> list[Use]:
    """Every model, rank and part, with Holm's correction over all of them."""
    found = []
    for model, runs in models.items():
        effects = runs[0].test.effects
        for rank, part in itertools.product(effects.ranks, effects.parts):
            mine = pooling.fall("step", rank, SIBLING, part)
            beyond = None
            if part != CONTROL and CONTROL in effects.parts:
                control = pooling.fall("step", rank, SIBLING, CONTROL)
                difference = pooling.minus(mine, control)
                beyond = pooling.estimate(runs, difference, test=True)
            found.append(Use(model, rank, part, pooling.estimate(runs, mine), beyond))
    tested = [use for use in found if use.beyond is not None]
    corrected = statistics.holm([use.beyond.p for use in tested])
    p_of = {id(use): float(p) for use, p in zip(tested, corrected, strict=True)}
    return [
        replace(use, beyond=replace(use.beyond, p=p_of[id(use)]))
        if use.beyond is not None
        else use
        for use in found
    ]


def effects_table(models: Models, found: Sequence[Use], evidence: Evidence) -> Result:
    """Falls of every step by every part: the matrix of causes."""
    parts = _parts(models)
    rows, answers, right = [], [], []
    for model, rank in dict.fromkeys((use.model, use.rank) for use in found):
        here = {u.part: u for u in found if (u.model, u.rank) == (model, rank)}
        rows.append((model, rank, *(here[part].fall for part in parts)))
        used = [u for u in here.values() if u.is_used]
        used.sort(key=lambda use: -use.fall.value)
        name = f"the {model} model's step to {rank}"
        if used:
            falls = [f"{spaced(u.part)} {text(u.fall)}" for u in used]
            answers.append(f"{name} uses {joined(falls)}")
        else:
            answers.append(f"{name} uses no part more than the {CONTROL}")
        if rank in evidence:
            first = used[0].part if used else None
            carrier = evidence[rank][0]
            right.append(first in (carrier, _WHOLE.get(carrier)))
    answer = "; ".join(answers)
    return Result(
        name="effects",
        title="What a step uses: the causes",
        claim="Which answers change when one part has the form of a sibling's, and "
        "which part changes them most?",
        header=("model", "step to", *map(spaced, parts)),
        rows=rows,
        answer=f"{answer[:1].upper()}{answer[1:]}.",
        note=f"{FALL} A step is log P(taxon | its parent). A part is used if its "
        f"exchange costs the step more than that of the {CONTROL} "
        "(sign-flip test over species, Holm's correction over all cells).",
        figure="causes/effects.png",
        short=f"The part that carries the trait of the rank has the largest effect of "
        f"all parts in {sum(right)} of {len(right)} steps.",
    )


def planted_table(models: Models, evidence: Evidence, correlation: float) -> Result:
    """The matrix that the generator planted, with the cells of `effects_table`."""
    parts = _parts(models)
    rows = []
    for rank in dict.fromkeys(itertools.chain(evidence)):
        cells = []
        for part in parts:
            hint = _HINTS.get((rank, part), "")
            if part == HABITAT and rank == "family" and correlation > 0:
                hint = f"correlated, {correlation:g}"
            carries = evidence[rank][0] == part
            cells.append("carries the trait" if carries else hint)
        rows.append((rank, *cells))
    carried = joined(
        [f"{spaced(part)} the {rank}" for rank, (part, _) in evidence.items()]
    )
    return Result(
        name="planted",
        title="What the generator planted",
        claim="Which part carries the trait of which rank?",
        header=("rank", *map(spaced, parts)),
        rows=rows,
        answer=f"{carried[:1].upper()}{carried[1:]}.",
        note="correlated: the share of birds in the habitat of their family, without "
        "those that are there by chance. follows from the trait: the generator fits a "
        "bird to the picture with its bill and tail, so that its size depends on them.",
    )


def scores_table(models: Models) -> Result:
    """Falls of every score, by every kind of exchange."""
    parts = _parts(models)
    rows = []
    for model, runs in models.items():
        effects = runs[0].test.effects
        every = itertools.product(effects.hows, effects.falls, effects.ranks)
        for how, score, rank in every:
            cells = [
                pooling.estimate(runs, pooling.fall(score, rank, how, part))
                for part in parts
            ]
            rows.append((model, how, score, rank, *cells))
    return Result(
        name="scores",
        title="Every score and every exchange",
        claim="How much does each score of the true taxon fall, by part and by what "
        "the part is exchanged for?",
        header=("model", "exchanged for", "score", "rank", *map(spaced, parts)),
        rows=rows,
        answer=_same_labels(models),
        note=f"{FALL} label: the logit, of a coarser rank than the head's the "
        "marginal. marginal: s_n, the logsumexp of the logits below the taxon. step: "
        "s_n minus that of its parent. log_odds: s_n minus the logsumexp of its "
        "siblings. contrast: s_n - s_m, the plain difference to the runner-up of the "
        "whole picture. Empty: there is no such exchange.",
    )


def _same_labels(models: Models) -> str:
    alike = all(
        np.allclose(
            run.test.effects.falls["label"],
            run.test.effects.falls["marginal"],
            equal_nan=True,
        )
        for runs in models.values()
        for run in runs
    )
    if alike:
        return (
            "These models have one head each, so that the label's score of a rank is "
            "the marginal."
        )
    return "The own head of a rank and the marginal of the finest head differ."


def turned_table(models: Models) -> Result:
    """Share of pictures of which the chosen child changes."""
    parts = _parts(models)
    rows, most = [], []
    for model, runs in models.items():
        effects = runs[0].test.effects
        for how, rank in itertools.product(effects.hows, effects.ranks):
            cells = [
                pooling.estimate(runs, pooling.turned(rank, how, part))
                for part in parts
            ]
            rows.append((model, how, rank, *cells))
            if how == SIBLING:
                known = [
                    (cell.value, spaced(part), cell)
                    for cell, part in zip(cells, parts, strict=True)
                    if np.isfinite(cell.value)
                ]
                _, part, cell = max(known)
                most.append(f"{rank} ({model} model): {part}, {text(cell)}")
    return Result(
        name="turned",
        title="Answers that change",
        claim="Of how many pictures is another child chosen below the true parent when "
        "a part is exchanged?",
        header=("model", "exchanged for", "child at", *map(spaced, parts)),
        rows=rows,
        answer="The form of a sibling changes most answers at " + "; ".join(most) + ".",
        note="Share of the pictures, with the child of the largest score below the "
        "true parent. Brackets: 95 % intervals, species and seeds resampled.",
    )


def _parts(models: Models) -> tuple[str, ...]:
    return next(iter(models.values()))[0].test.effects.parts
