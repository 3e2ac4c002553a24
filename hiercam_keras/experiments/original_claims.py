"""The sentences of the original study, each against the intervals of this one.

That study trained a network at species and one at family on photographs of birds, and
compared their maps by eye. Only what a figure of the drawn birds can decide is here.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hiercam_keras import wording
from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.experiments import accuracy_gaps
from hiercam_keras.experiments.evidence import Models, own_and_others
from hiercam_keras.experiments.pooling import MeasuredRun, Pool
from hiercam_keras.experiments.results import ORIGINAL, Result, joined
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.wording import spaced

COARSE, FINE = "family", "species"

HIGHER = (
    "At equal epochs the family model reaches a higher accuracy than the species model "
    "(0.67 against 0.56 after five epochs)."
)
BETTER = "Family trains better than species."
PART = "From such maps one could learn which part of a bird marks a {}."

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "not decided"


class Line(NamedTuple):
    """A sentence, on which data and by which figure it is judged; above 0 is for it."""

    claim: str
    data: str
    figure: str
    estimate: Estimate

    @property
    def verdict(self) -> str:
        if self.estimate.too_few:
            return wording.too_few(self.estimate.groups)
        return (UNDECIDED, SUPPORTED, CONTRADICTED)[self.estimate.verdict]


def claims_table(
    models: Models,
    evidence: Evidence,
    train_labels: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
) -> Result | None:
    """A row for each sentence, data and figure; None without any.

    Args:
      models: of one rank each, all on the same images.
      evidence: of the data.
      train_labels: rank -> labels of the training images.
      counts: rank -> number of taxa.
    """
    lines = []
    for words in dict.fromkeys(words for _, words, _ in models):
        here = {ranks[-1]: found for ranks, own, found in models if own == words}
        if {COARSE, FINE} <= here.keys():
            lines += _on_accuracy(here, words, train_labels, counts)
        for rank in (FINE, COARSE):
            if rank in here and rank in evidence:
                lines += _on_parts(here[rank], rank, words, evidence)
    if not lines:
        return None
    claims = [HIGHER, BETTER, *(PART.format(rank) for rank in (FINE, COARSE))]
    lines.sort(key=lambda line: claims.index(line.claim))  # keeps the order of the data
    return Result(
        name="original",
        title="Against the original study",
        source=ORIGINAL,
        claim="What it found and concluded, one sentence after the other.",
        header=("sentence", "data", "figure", "measured", "verdict"),
        rows=[(*line, line.verdict) for line in lines],
        answer=" ".join(
            _sentence(claim, [line for line in lines if line.claim == claim])
            for claim in claims
            if any(line.claim == claim for line in lines)
        ),
        short=_short(lines),
        note="Supported: the interval is above 0; contradicted: below; not decided: it "
        "holds 0. Accuracy, kappa and share of bits: family model at family minus "
        "species model at species; the last two are 0 for guessing. Lift on the part "
        "that carries the trait, minus that on other parts: of plain maps, each model "
        "asked for its own rank. A map on another part may be right on the network: "
        "[CAUSES.md](CAUSES.md) has which parts networks use. Drawn birds only: on "
        "photographs the parts that mark a taxon are not known. "
        "[ORIGINAL.md](ORIGINAL.md) has the sentences that other pages decide, and "
        "those that none does. Brackets: 95 % intervals, species and seeds resampled.",
    )


def _on_accuracy(
    here: Mapping[str, Sequence[MeasuredRun]], words: str, train_labels, counts
) -> list[Line]:
    found = accuracy_gaps.differences(
        here[COARSE], here[FINE], (COARSE, FINE), train_labels, counts
    )
    return [
        Line(HIGHER, words, "accuracy", found["accuracy"]),
        Line(BETTER, words, "kappa", found["kappa"]),
        Line(BETTER, words, "share of bits", found["share of most bits"]),
    ]


def _on_parts(
    measured: Sequence[MeasuredRun], rank: str, words: str, evidence: Evidence
) -> list[Line]:
    """Whether the maps prefer the part of the rank, and whether it is the first."""
    pool, key = Pool(measured), f"asked-{rank}"
    own, others = own_and_others(evidence, rank)
    if not others:
        return []
    name = spaced(evidence[rank][0])
    claim = PART.format(rank)
    found = [
        Line(claim, words, f"{name} over mean", pool.specificity(key, own, others))
    ]
    if others[1:]:
        rival = max(others, key=lambda part: pool.lift(key, part).value)
        over = spaced(evidence[rival.removeprefix("part_")][0])
        gap = pool.specificity(key, own, [rival])
        found.append(Line(claim, words, f"{name} over {over}", gap))
    return found


def _sentence(claim: str, lines: Sequence[Line]) -> str:
    by_verdict: dict[str, list[str]] = {}
    for line in lines:
        by_verdict.setdefault(line.verdict, []).append(f"{line.figure} ({line.data})")
    said = "; ".join(f"{name} by {joined(w)}" for name, w in by_verdict.items())
    return f"“{claim.rstrip('.')}” is {said}."


def _short(lines: Sequence[Line]) -> str:
    verdicts = [line.verdict for line in lines]
    named = [
        f"{verdicts.count(verdict)} {verb}"
        for verdict, verb in (
            (SUPPORTED, "support"),
            (CONTRADICTED, "contradict"),
            (UNDECIDED, "do not decide"),
        )
    ]
    return (
        f"Of {wording.count(len(lines), 'figure')} on sentences of the original study, "
        f"{joined(named)} them."
    )
