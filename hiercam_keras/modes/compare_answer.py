"""The answer of a comparison: three sentences, computed from its tables.

Which way a difference goes, whether it is significant, and its interval are read off
the numbers. Significant is what the test says that is corrected for the number of tests
(`compare_claims`); with too few groups the sentences make no claim.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras import wording
from hiercam_keras.metrics import resampling
from hiercam_keras.modes import compare_claims, unseen
from hiercam_keras.modes.compare_claims import Tested
from hiercam_keras.modes.compare_lifts import Lift
from hiercam_keras.modes.comparison.measure import Compared
from hiercam_keras.wording import spaced

# What the models know of the pictures of a split.
_SEEN = {
    "train": "that the models had learned from",
    "val": "that no model had learned from, though they chose the epoch that is kept",
    "test": "that no model had learned from",
}

Row = Mapping[str, Any]


def own_rows(summary: Sequence[Row]) -> list[Row]:
    """The rows of models that are asked for a rank that they were trained at."""
    return [row for row in summary if not row["asked_of"]]


def answers(summary: Sequence[Row]) -> list[Row]:
    """One row for each run and rank: maps by another method give no other answer."""
    first: dict[tuple[str, str], Row] = {}
    for row in summary:
        first.setdefault((row["run"], row["rank"]), row)
    return list(first.values())


def question(summary: Sequence[Row]) -> str:
    """What was asked, by the ranks of the models."""
    ranks = dict.fromkeys(row["rank"] for row in own_rows(summary))
    first, *others = ranks
    if not others:
        return (
            f"What does a network look at when it is asked for the {first}, and does "
            "another one look at the same?"
        )
    return (
        f"What does a network look at when it is asked for the {first}, and what when "
        f"it is asked for the {others[-1]}, of the same picture?"
    )


def sentences(
    compared: Compared,
    summary: Sequence[Row],
    lifts: Sequence[Lift],
    split: str = "test",
    statistics: Sequence[Row] = (),
    noun: str = "object",
) -> tuple[str, ...]:
    """Three sentences: how right the models are, where they look, what the steps say.

    Args:
      compared: the numbers of all pictures.
      summary: rows of summary.csv, the models trained at their rank first.
      lifts: of the plain maps and the steps.
      split: of the pictures.
      statistics: rows of `comparison.differences`.
      noun: what the pictures show.
    """
    own, tested = own_rows(summary), Tested(statistics)
    found = (
        accuracy_sentence(compared, summary, split, tested),
        place_sentence(compared, summary, tested, noun),
        steps_sentence(lifts, _model(own[0], own)) or agreement_sentence(compared),
    )
    return tuple(dict.fromkeys(filter(None, found)))


def accuracy_sentence(
    compared: Compared, summary: Sequence[Row], split: str, tested: Tested
) -> str:
    """How often each model is right; a model that is there by two methods, once."""
    rows = answers(summary)
    own = own_rows(rows)
    imported = any(row.get("imported") for row in own)
    seen = "of which the imported models may have learned" if imported else _SEEN[split]
    text = f"Of {wording.count(len(compared.table), 'picture')} {seen}, "
    text += " and ".join(
        f"{_model(row, own)} names the right {row['rank']} in "
        f"{_accuracy(row, len(compared.table))}{_gap(row, own, tested)}"
        if row["pictures"]
        else f"{_model(row, own)} knows the {row['rank']} of none"
        for row in own
    )
    for row in rows:
        trained = next((one for one in own if one["rank"] == row["rank"]), None)
        if row in own or trained is None:
            continue
        found = tested.difference("correct", row["model"], trained["model"])
        model, _, asked = row["model"].partition(" asked for ")
        name = f"the {model} model asked for the {asked}" if asked else model
        text += f"; {name} is right in {_percent(row['accuracy'])}, "
        text += compare_claims.points(found)
    groups = len(np.unique(compared.table.clusters))
    if groups < resampling.MIN_GROUPS:
        text += f"; too few species for intervals (n = {groups})"
    constant = [
        _model(row, own)
        for row in own
        if len(compared.table) > 1
        and len(np.unique(compared.table.of("predicted", row["model"]))) == 1
    ]
    if constant:
        text += f"; {' and '.join(constant)} gave all of them one answer"
    blind = unseen.sentence(compared.unseen or {}, len(compared.table))
    return f"{text}. {blind}".strip()


def _accuracy(row: Row, total: int) -> str:
    """`90.0 % (85.0 % to 94.0 %; guessing: 10.0 %)`.

    With the number of pictures that count, where the model does not know the true taxon
    of all.
    """
    low, high = (100 * row[name] for name in ("low", "high"))
    span = wording.interval(low, high, "{:.1f} %").strip(" ()")
    remarks = [span] if span else []
    chance = "unknown" if np.isnan(row["chance"]) else _percent(row["chance"])
    remarks.append(f"guessing: {chance}")
    if row["pictures"] < total:
        counted = wording.count(row["pictures"], "picture")
        remarks.insert(0, f"{counted} of a {row['rank']} that it knows")
    return f"{_percent(row['accuracy'])} ({'; '.join(remarks)})"


def _gap(row: Row, own: Sequence[Row], tested: Tested) -> str:
    """`, 1.3 points more (0.2 to 2.4)`, against the first model of the same rank.

    "" for that one, and with too few groups.
    """
    first = next(one for one in own if one["rank"] == row["rank"])
    found = tested.difference("correct", row["model"], first["model"])
    if found is None or found.too_few:
        return ""
    return f", {compare_claims.points(found)}"


def _model(row: Row, rows: Sequence[Row]) -> str:
    """`the family model`, or with its name where there are several of that rank."""
    alone = [one["rank"] for one in rows].count(row["rank"]) == 1
    return f"the {row['rank']} model" if alone else f"the model {row['model']}"


def _asked(row: Row, rows: Sequence[Row]) -> str:
    alone = [one["rank"] for one in rows].count(row["rank"]) == 1
    return f"when asked for the {row['rank']}" if alone else f"by {row['model']}"


def place_sentence(
    compared: Compared, summary: Sequence[Row], tested: Tested, noun: str = "object"
) -> str:
    """Energy of the plain maps on the object; "" where it is not known."""
    own = own_rows(summary)
    table = compared.table
    inside = compared.known("energy_on_object")
    measure = "energy_on_object" if inside else "heatmap_area"
    if inside:
        share = _percent(np.nanmean(table.pictures["object_area"]))
        text = f"On the {noun}, which fills {share} of the picture, is "
        what = "of the energy"
    elif compared.known(measure):
        text, what = "The hot part of the heatmap covers ", "of the picture"
    else:
        return ""
    base = table.of(measure, own[0]["model"])
    text += f"{_percent(np.nanmean(base))} {what} {_asked(own[0], own)}"
    for row in own[1:]:
        mean = _percent(np.nanmean(table.of(measure, row["model"])))
        found = tested.difference(measure, row["model"], own[0]["model"])
        text += f", and {mean} {_asked(row, own)}: {compare_claims.points(found)}"
    known = np.isfinite(base)
    groups = len(np.unique(table.groups[known]))
    counted = f"{wording.count(int(known.sum()), 'picture')} of "
    return f"{text} (means over {counted}{wording.count(groups, 'species')})."


def agreement_sentence(compared: Compared) -> str:
    """How alike the models' heatmaps are; "" where no two can be compared."""
    values = compared.table.pictures["agreement"]
    known = values[np.isfinite(values)]
    if not known.size:
        return ""
    found = resampling.mean(values, compared.table.clusters)
    span = wording.interval(found.low, found.high, "{:.2f}")
    if found.too_few:
        span = f" (interval: {wording.too_few(found.groups)})"
    return (
        "On the same picture the heatmaps of the models correlate at "
        f"{wording.number(found.value, '{:.2f}')} on average{span}, and at less than "
        f"0.5 in {_percent(np.mean(known < 0.5))} of the "
        f"{wording.count(found.n, 'picture')}."
    )


def steps_sentence(lifts: Sequence[Lift], model: str) -> str:
    """Whether each step looks at the part that carries its rank more than the same
    model's plain map does; "" without steps into a rank that a part carries.

    Args:
      lifts: of plain maps and steps.
      model: of the steps, as "the species model".
    """
    steps = [
        one for one in lifts if one.step == one.rank and math.isfinite(one.gain.value)
    ]
    if not steps:
        return ""
    text = (
        f"Asked step by step what distinguishes a taxon from its siblings, {model} "
        "looks at the part that carries the trait more than its plain map does"
    )
    fewest = min(one.gain.groups for one in steps)
    if all(one.gain.too_few for one in steps):
        text += f": {wording.too_few(fewest)}. It looks at "
        return text + "; ".join(map(_lift, steps)) + "."
    way = [_way(one) for one in steps]
    text += f" at {way.count(1)} of {wording.count(len(steps), 'rank')}"
    text += f", and less at {way.count(-1)}: " if -1 in way else ": "
    return text + "; ".join(f"{_lift(one)}, {_gain(one)}" for one in steps) + "."


def _way(one: Lift) -> int:
    """1 or -1 for a significant gain or loss, 0 for none."""
    if not compare_claims.significant(one.gain):
        return 0
    return 1 if one.gain.value > 0 else -1


def _lift(one: Lift) -> str:
    return (
        f"{one.lift.value:.2f} times chance on the {spaced(one.part)} for the "
        f"{one.rank} ({wording.count(one.lift.n, 'picture')})"
    )


def _gain(one: Lift) -> str:
    found = one.gain
    if found.too_few:
        return f"for the plain map {wording.too_few(found.groups)}"
    way = _way(one)
    if way:
        which = "more" if way > 0 else "less"
        span = compare_claims.span(found.low, found.high, ".2f")
        return f"{abs(found.value):.2f} {which} than the plain map{span}"
    span = wording.interval(found.low, found.high, "{:+.2f}")
    return (
        f"{compare_claims.none_found(found, ' from the plain map')}: "
        f"{wording.number(found.value, '{:+.2f}')}{span}"
    )


def _percent(share: float) -> str:
    return "–" if not np.isfinite(share) else f"{100 * share:.1f} %"
