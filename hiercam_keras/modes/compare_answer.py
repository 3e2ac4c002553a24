"""The answer of a comparison: three sentences, computed from its tables.

No sentence is canned: which way a difference goes, whether one was seen at all, and how
sure that is are read off the numbers. A difference whose 95 % interval covers 0 is told
as none that was seen.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hiercam_keras.metrics import statistics
from hiercam_keras.modes import compare_table
from hiercam_keras.modes.compare_lifts import Lift
from hiercam_keras.modes.compare_table import Numbers
from hiercam_keras.modes.compare_tables import interval
from hiercam_keras.modes.parts import word

_OBJECT = ("energy_on_object", "energy_on_bird")
_CHANCE = ("chance", "bird_area")
# What the models know of the pictures of a split.
_SEEN = {
    "train": "that the models had learned from",
    "val": "that no model had learned from, though they chose the epoch that is kept",
    "test": "that no model had learned from",
}

Row = Mapping[str, str]


def question(summary: Sequence[Row]) -> str:
    """What was asked, by the ranks of the models."""
    ranks = dict.fromkeys(row["rank"] for row in compare_table.own(summary))
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
    numbers: Numbers, summary: Sequence[Row], lifts: Sequence[Lift], split: str = "test"
) -> tuple[str, ...]:
    """Three sentences: how right the models are, where they look, what the steps say.

    Args:
      numbers: of all pictures.
      summary: rows of summary.csv, the models trained at their rank first.
      lifts: of the plain maps and the steps.
      split: of the pictures.
    """
    own = compare_table.own(summary)
    told = (
        accuracy_sentence(numbers, summary, split),
        place_sentence(numbers, summary),
        steps_sentence(lifts, _model(own[0], own)) or agreement_sentence(numbers),
    )
    return tuple(dict.fromkeys(filter(None, told)))


def accuracy_sentence(numbers: Numbers, summary: Sequence[Row], split: str) -> str:
    """How often each model is right; a model that is there by two methods, once."""
    rows = compare_table.answers(summary)
    own = compare_table.own(rows)
    said = [
        f"{_model(row, own)} names the right {row['rank']} in "
        f"{_percent(float(row['accuracy']))} ({_percent(float(row['low']))} to "
        f"{_percent(float(row['high']))}; guessing: {_percent(float(row['chance']))})"
        for row in own
    ]
    text = f"Of {len(numbers.example_ids)} pictures {_SEEN[split]}, "
    text += " and ".join(said)
    for row in rows:
        trained = next((one for one in own if one["rank"] == row["rank"]), None)
        if row in own or trained is None:
            continue
        told = difference(
            numbers.correct[row["model"]],
            numbers.correct[trained["model"]],
            numbers.species,
        )
        text += f"; the {row['model']} is right in {_percent(float(row['accuracy']))}, "
        text += told
    return text + "."


def _model(row: Row, rows: Sequence[Row]) -> str:
    """`the family model`, or with its name where there are several of that rank."""
    alone = [one["rank"] for one in rows].count(row["rank"]) == 1
    return f"the {row['rank']} model" if alone else f"the model {row['model']}"


def _asked(row: Row, rows: Sequence[Row]) -> str:
    alone = [one["rank"] for one in rows].count(row["rank"]) == 1
    return f"when asked for the {row['rank']}" if alone else f"by {row['model']}"


def place_sentence(numbers: Numbers, summary: Sequence[Row]) -> str:
    """Where the plain maps lie; "" where that is not known."""
    own = compare_table.own(summary)
    inside, area = numbers.first(*_OBJECT), numbers.first("heatmap_area")
    if inside is not None:
        of = inside
        share = _percent(np.nanmean(numbers.of_picture(*_CHANCE)))
        text = f"On the bird, which fills {share} of the picture, lie "
        what = "of the evidence"
    elif area is not None:
        of = area
        text, what = "The hot part of the heatmap covers ", "of the picture"
    else:
        return ""
    base = of[own[0]["model"]]
    text += f"{_percent(np.nanmean(base))} {what} {_asked(own[0], own)}"
    for row in own[1:]:
        values = of[row["model"]]
        told = difference(values, base, numbers.species)
        text += f", and {_percent(np.nanmean(values))} {_asked(row, own)}: {told}"
    return text + "."


def agreement_sentence(numbers: Numbers) -> str:
    """How alike the models' heatmaps are; "" where no two can be compared."""
    values = numbers.of_picture("agreement")
    known = values[np.isfinite(values)]
    if not known.size:
        return ""
    mean, low, high = statistics.mean_interval(values, numbers.species)
    return (
        f"On the same picture the heatmaps of the models correlate at {mean:.2f} on "
        f"average{interval(low, high, '{:.2f}')}, and at less than 0.5 in "
        f"{_percent(np.mean(known < 0.5))} of the pictures."
    )


def steps_sentence(lifts: Sequence[Lift], whose: str) -> str:
    """Whether each step looks at the part that carries its rank more than the same
    model's plain map does; "" without steps into a rank that a part carries.

    Args:
      lifts: of plain maps and steps.
      whose: the model of the steps, as "the species model".
    """
    steps = [one for one in lifts if one.step == one.rank and math.isfinite(one.gain)]
    if not steps:
        return ""
    more = sum(one.gain_low > 0 for one in steps)
    less = sum(one.gain_high < 0 for one in steps)
    said = [
        f"{one.lift:.2f} times chance on the {word(one.part)} for the {one.rank}, "
        f"{_gain(one)}"
        for one in steps
    ]
    text = (
        f"Asked step by step what tells a taxon from its siblings, {whose} looks at "
        f"the part that carries the trait more than its plain map does at {more} of "
        f"{len(steps)} ranks"
    )
    text += f", and less at {less}: " if less else ": "
    return text + "; ".join(said) + "."


def _gain(one: Lift) -> str:
    low, high = sorted((abs(one.gain_low), abs(one.gain_high)))
    if one.gain_low > 0:
        return f"{one.gain:.2f} more than the plain map ({low:.2f} to {high:.2f})"
    if one.gain_high < 0:
        return f"{-one.gain:.2f} less than the plain map ({low:.2f} to {high:.2f})"
    told = interval(one.gain_low, one.gain_high, "{:+.2f}")
    return f"no difference from the plain map seen: {one.gain:+.2f}{told}"


def difference(a: np.ndarray, b: np.ndarray, groups: np.ndarray) -> str:
    """a - b of shares as words: "4.2 points fewer (1.0 to 7.4)", or none seen."""
    found = statistics.paired_difference(
        np.asarray(a, float), np.asarray(b, float), groups
    )
    low, high = 100 * found.low, 100 * found.high
    points = 100 * found.difference
    if not np.isfinite([low, high]).all():
        return f"{abs(points):.1f} points {'more' if points > 0 else 'fewer'}"
    if low <= 0 <= high:
        return f"no difference seen ({points:+.1f} points, {low:+.1f} to {high:+.1f})"
    few, many = sorted((abs(low), abs(high)))
    way = "more" if points > 0 else "fewer"
    return f"{abs(points):.1f} points {way} ({few:.1f} to {many:.1f})"


def _percent(share: float) -> str:
    return "–" if not np.isfinite(share) else f"{100 * share:.1f} %"
