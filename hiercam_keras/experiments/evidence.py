"""Tables on how much energy a map has on the part that carries a rank's trait."""

import math
from collections.abc import Mapping, Sequence

from hiercam_keras import wording
from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.experiments.pooling import (
    BACKGROUND,
    OBJECT,
    MeasuredRun,
    Pool,
    pick,
)
from hiercam_keras.experiments.results import ORIGINAL, Result, joined, text, verdict
from hiercam_keras.wording import spaced

# A model: its ranks, the name of the condition, its trainings.
Models = Sequence[tuple[tuple[str, ...], str, list[MeasuredRun]]]

LIFT = (
    "Lift: share of the map's energy (resized ReLU of the map, divided by its sum) on "
    "a part over the part's share of the picture, as means over the test images; 1 is "
    "chance. Brackets: 95 % intervals, species and seeds resampled."
)


def own_rank_table(models: Models, evidence: Evidence) -> Result:
    """Lift of each model on the part of its own rank, in maps of its own question."""
    rows, answers, missing = [], [], []
    for ranks, condition, measured in models:
        rank = ranks[-1]
        pool = Pool(measured)
        key = f"asked-{rank}"
        lifts = [pool.lift(key, part) for part in parts_of(evidence)]
        rows.append(
            (
                rank,
                condition,
                *lifts,
                pool.lift(key, OBJECT),
                pool.lift(key, BACKGROUND),
            )
        )
        if rank not in evidence:
            continue
        part, _ = evidence[rank]
        own = pool.specificity(key, *own_and_others(evidence, rank))
        if own.verdict < 1 and not own.too_few:
            missing.append(
                f"asked for its own rank, the {rank} model ({condition}) does not "
                f"prefer {spaced(part)} to the other parts: {text(own)}."
            )
        answers.append(
            f"{rank} model, {condition}: its lift on {spaced(part)} is "
            f"{text(pool.lift(key, own_and_others(evidence, rank)[0]))}, which is "
            + verdict(
                own,
                "above the mean of the other parts",
                "below the mean of the other parts",
                "not significantly different from the mean of the other parts",
            )
        )
    header = ("model", "data", *_part_titles(evidence), "whole bird", "background")
    return Result(
        name="own-rank",
        title="Where a model looks, asked for the rank that it was trained at",
        claim="From such maps one could learn which part of a bird marks a species: "
        "does the species model look at the species' part, and the family model at "
        "the family's?",
        header=header,
        rows=rows,
        answer=". ".join(_capital(one) for one in answers) + ".",
        note=LIFT,
        source=ORIGINAL,
        missing=tuple(_capital(one) for one in missing),
    )


def steps_table(models: Models, evidence: Evidence) -> Result:
    """Lift of every question of a model on every part."""
    rows = []
    for ranks, condition, measured in models:
        pool = Pool(measured)
        for key in measured[0].table.questions:
            kind, rank = key.split("-", 1)
            lifts = [pool.lift(key, part) for part in parts_of(evidence)]
            name = f"{'step to' if kind == 'step' else 'asked for'} {rank}"
            on_object = pool.lift(key, OBJECT)
            rows.append(("+".join(ranks), condition, name, *lifts, on_object))
    return Result(
        name="parts",
        title="Every question on every part",
        claim="Where is the energy of one model's maps, asked at each rank, and asked "
        "for each step (this family within its order)?",
        header=("model", "data", "map", *_part_titles(evidence), "whole bird"),
        rows=rows,
        answer=_highest(rows, evidence),
        note=LIFT,
        figure="study/parts.png",
        short=_highest(rows, evidence),
        missing=lower_steps(rows, evidence),
    )


def lower_steps(rows: Sequence[tuple], evidence: Evidence) -> tuple[str, ...]:
    """Sentence on the steps with the highest lift on a part of another rank, if any."""
    step = _count_highest(rows, evidence)["step to"]
    if step[0] == step[1]:
        return ()
    return (
        f"{step[1] - step[0]} of {step[1]} step maps have their highest lift on a "
        "part that carries another rank.",
    )


def _highest(rows: Sequence[tuple], evidence: Evidence) -> str:
    counts = _count_highest(rows, evidence)
    plain, step = counts["asked for"], counts["step to"]
    return (
        f"The part of the asked rank has the highest lift of all parts in {step[0]} of "
        f"{step[1]} step maps and in {plain[0]} of {plain[1]} plain maps."
    )


def _count_highest(rows: Sequence[tuple], evidence: Evidence) -> dict[str, list[int]]:
    """Numbers of maps with the highest lift on their own part, and of all maps."""
    counts = {"asked for": [0, 0], "step to": [0, 0]}
    for row in rows:
        kind, _, rank = row[2].rpartition(" ")
        if rank not in evidence:
            continue
        values = [cell.value for cell in row[3 : 3 + len(evidence)]]
        if not all(map(math.isfinite, values)):
            continue  # the taxa of this rank have no siblings
        hit = values.index(max(values)) == list(evidence).index(rank)
        counts[kind][0] += hit
        counts[kind][1] += 1
    return counts


def specificity_table(models: Models, evidence: Evidence) -> Result:
    """Own part against the other parts, steps against plain maps."""
    rows = []
    better, worse, same, few = [], [], [], []
    for ranks, condition, measured in models:
        pool = Pool(measured)
        for rank, (part, _) in evidence.items():
            step, asked = f"step-{rank}", f"asked-{rank}"
            if step not in measured[0].table.questions:
                continue
            own = own_and_others(evidence, rank)
            gain = pool.gain(step, asked, *own)
            if not math.isfinite(gain.value):
                continue  # every child of this rank is an only child
            rows.append(
                (
                    "+".join(ranks),
                    condition,
                    rank,
                    spaced(part),
                    pool.specificity(asked, *own),
                    pool.specificity(step, *own),
                    gain,
                )
            )
            name = f"{rank} ({'+'.join(ranks)} model, {condition})"
            way = {1: better, -1: worse, 0: same}[gain.verdict]
            (few if gain.too_few else way).append(name)
    return Result(
        name="specificity",
        title="Do steps point at the part that carries the trait of their rank?",
        claim="Do the step CAMs point at the part that carries the trait of their rank "
        "where plain CAMs do not?",
        header=(
            "model",
            "data",
            "rank",
            "its part",
            "plain map",
            "step map",
            "step minus plain",
        ),
        rows=rows,
        answer=_summary(better, worse, same, few),
        short=_counts(better, worse, same, few),
        missing=unlike_plain(worse, same),
        note="Each figure is the lift on the rank's own part minus the mean lift on "
        "the other parts: 0 means that the map does not prefer its part. Brackets as "
        "above; the last column pairs the images.",
    )


def unlike_plain(worse: list[str], same: list[str]) -> tuple[str, ...]:
    """Sentences on the steps that do not prefer their part more than plain maps do."""
    named = []
    if worse:
        named.append(
            f"steps to {joined(worse)} prefer their part less than plain maps."
        )
    if same:
        named.append(
            f"steps to {joined(same)} do not differ significantly from plain maps."
        )
    return tuple(_capital(one) for one in named)


def _counts(better: list, worse: list, same: list, few: list) -> str:
    total = len(better) + len(worse) + len(same) + len(few)
    text = (
        f"Of {wording.count(total, 'step')}, {len(better)} prefer the part of their "
        f"rank more than the plain map does, {len(worse)} less, {len(same)} do not "
        "differ significantly"
    )
    return text + (f", {len(few)} have too few species to say." if few else ".")


def _summary(better: list, worse: list, same: list, few: list) -> str:
    parts = []
    for names, words in (
        (better, "prefer their own part more than plain maps do"),
        (worse, "prefer it less"),
        (same, "do not differ significantly from plain maps"),
        (few, "have too few species to say"),
    ):
        if names:
            parts.append(f"steps to {joined(names)} {words}")
    return _capital("; ".join(parts)) + "." if parts else "There are no steps."


def parts_of(evidence: Evidence) -> list[str]:
    """Names of the parts in tables, "part_<rank>"."""
    return [f"part_{rank}" for rank in evidence]


def own_and_others(evidence: Evidence, rank: str) -> tuple[str, list[str]]:
    """The part that carries a rank, and the parts that carry the others."""
    label = evidence[rank][1]
    others = {
        other: f"part_{name}" for name, (_, other) in evidence.items() if other != label
    }
    return f"part_{rank}", list(others.values())


def _part_titles(evidence: Evidence) -> list[str]:
    return [f"{spaced(part)} ({rank})" for rank, (part, _) in evidence.items()]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def by_model(
    all_seen: Sequence[MeasuredRun], names: Mapping, heads: Sequence[tuple[str, ...]]
) -> Models:
    """Trainings by model and condition; `names` maps a condition to its name."""
    return [
        (ranks, words, measured)
        for condition, words in names.items()
        for ranks in heads
        if (measured := pick(all_seen, ranks, condition))
    ]
