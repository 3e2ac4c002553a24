"""The answer of a comparison: three sentences and tables, computed from its numbers.

No sentence is canned: which way a difference goes, whether one was seen at all, and how
sure that is are read off the numbers. A difference whose 95 % interval covers 0 is told
as none that was seen.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hiercam_keras.metrics import statistics
from hiercam_keras.metrics.ratios import ratio_interval
from hiercam_keras.modes import compare_table
from hiercam_keras.modes.compare_steps import Steps
from hiercam_keras.modes.compare_table import Numbers
from hiercam_keras.report import schema

_OBJECT = ("energy_on_object", "energy_on_bird")
_CHANCE = ("chance", "bird_area")

# A model of the summary: name, rank, the name of the model asked, or None.
Lifts = dict[str, dict[str, tuple[float, float, float]]]


def sentences(
    numbers: Numbers,
    summary: Sequence[Mapping[str, str]],
    lifts: Lifts,
    steps: Steps | None,
    evidence: Mapping[str, tuple[str, int]],
) -> tuple[str, ...]:
    """Three sentences: how right the models are, where they look, what the steps say.

    Args:
      numbers: of all pictures.
      summary: rows of summary.csv, the models trained at their rank first.
      lifts: of the plain maps, see `plain_lifts`.
      steps: of some of the pictures.
      evidence: rank -> (part, label), where the data set knows.
    """
    own = [row for row in summary if " asked for " not in row["model"]]
    third = _steps_sentence(steps, evidence, lifts)
    return (
        _accuracy_sentence(numbers, summary, own),
        _place_sentence(numbers, own),
        third or _agreement_sentence(numbers),
    )


def _accuracy_sentence(numbers: Numbers, summary, own) -> str:
    said = [
        f"the {row['model']} model names the right {row['rank']} in "
        f"{_percent(float(row['accuracy']))} ({_percent(float(row['low']))} to "
        f"{_percent(float(row['high']))}; guessing: {_percent(float(row['chance']))})"
        for row in own
    ]
    text = f"Of {len(numbers.example_ids)} pictures that no model had learned from, "
    text += " and ".join(said)
    asked = [row for row in summary if row not in own]
    for row in asked:
        trained = next((one for one in own if one["rank"] == row["rank"]), None)
        if trained is None:
            continue
        told = difference(
            numbers.correct[row["model"]],
            numbers.correct[trained["model"]],
            numbers.species,
        )
        text += f"; the {row['model']} is right in {_percent(float(row['accuracy']))}, "
        text += told
    return text + "."


def _place_sentence(numbers: Numbers, own) -> str:
    names = [row["model"] for row in own]
    inside = numbers.first(*_OBJECT)
    chance = numbers.of_picture(*_CHANCE)
    if inside is None:
        area = numbers.first("heatmap_area")
        if area is None:
            return _agreement_sentence(numbers)
        what, of = "The hot part of the heatmap covers", area
        first = (
            f"{what} {_percent(np.nanmean(of[names[0]]))} of the picture when asked "
        )
    else:
        of = inside
        first = (
            f"On the bird, which fills {_percent(np.nanmean(chance))} of the picture, "
            f"lie {_percent(np.nanmean(of[names[0]]))} of the evidence when asked "
        )
    first += f"for the {own[0]['rank']}"
    for row in own[1:]:
        values = of[row["model"]]
        first += (
            f", and {_percent(np.nanmean(values))} when asked for the {row['rank']}: "
            + difference(values, of[names[0]], numbers.species)
        )
    return first + "."


def _agreement_sentence(numbers: Numbers) -> str:
    values = numbers.of_picture("agreement")
    mean, low, high = statistics.mean_interval(values, numbers.species)
    return (
        f"On the same picture the heatmaps of the models correlate at {mean:.2f} on "
        f"average{_interval(low, high, '{:.2f}')}, and at less than 0.5 in "
        f"{_percent(np.mean(values < 0.5))} of the pictures."
    )


def _steps_sentence(steps, evidence, lifts) -> str:
    """Whether each step looks at the part that carries its rank, more than chance."""
    if steps is None or not steps.lifts:
        return ""
    said, seen = [], 0
    ranks = [rank for rank in steps.ranks if rank in evidence]
    for rank in ranks:
        part = evidence[rank][0]
        lift, low, high = steps.lifts[rank][part]
        seen += low > 1
        said.append(
            f"{lift:.2f} times chance on the {word(part)} for the {rank}"
            f"{_interval(low, high, '{:.2f}')}"
        )
    if not said:
        return ""
    return (
        f"Asked step by step what tells a taxon from its siblings, the {steps.model} "
        f"model looks at the part that carries the trait more than chance at {seen} of "
        f"{len(ranks)} ranks: {', '.join(said)}."
    )


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
    word = "more" if points > 0 else "fewer"
    return f"{abs(points):.1f} points {word} ({few:.1f} to {many:.1f})"


def plain_lifts(numbers: Numbers, evidence: Mapping[str, tuple[str, int]]) -> Lifts:
    """Lift of each model's maps on each part, over all pictures; from part_<rank>."""
    found: Lifts = {}
    for rank, (part, _) in evidence.items():
        energy = numbers.measures.get(f"part_{rank}")
        area = numbers.of_picture(f"part_{rank}_area")
        if energy is None:
            continue
        for model, values in energy.items():
            found.setdefault(model, {})[part] = ratio_interval(
                values, np.where(np.isfinite(values), area, np.nan), numbers.species
            )
    return found


def lift_table(lifts: Lifts, evidence: Mapping[str, tuple[str, int]]) -> schema.Table:
    """Lifts of plain maps and steps on the parts, with intervals."""
    parts = {part: rank for rank, (part, _) in evidence.items()}
    header = ("map", *(f"{word(part)} (tells the {r})" for part, r in parts.items()))
    rows = tuple(
        (name, *(_with_interval(*by_part[part], "{:.2f}") for part in parts))
        for name, by_part in lifts.items()
    )
    caption = (
        "Share of the map's energy on a part, divided by the part's share of the "
        "picture: 1 is chance. In brackets 95 % intervals, species resampled."
    )
    return schema.Table("Where the evidence lies, in numbers", header, rows, caption)


def measure_table(
    numbers: Numbers, evidence: Mapping[str, tuple[str, int]]
) -> schema.Table:
    """Mean of every measure for every model, with intervals."""
    rows = []
    for name, by_model in numbers.measures.items():
        if not any(np.isfinite(values).any() for values in by_model.values()):
            continue
        cells = [
            _with_interval(
                *statistics.mean_interval(values, numbers.species, resamples=2000),
                "{:.3g}",
            )
            for values in by_model.values()
        ]
        rows.append((title(name, evidence), *cells))
    return schema.Table(
        "The measures",
        ("mean over the pictures", *numbers.models),
        tuple(rows),
        "In brackets 95 % intervals, species resampled. docs/METRICS.md tells how each "
        "is made.",
    )


def title(measure: str, evidence: Mapping[str, tuple[str, int]]) -> str:
    """What the page calls a measure; parts by their names."""
    rank = measure.removeprefix("part_")
    if measure.startswith("part_") and rank in evidence:
        return f"energy on the {word(evidence[rank][0])}"
    return compare_table.title(measure)


def statistics_table(rows: Sequence[Mapping[str, str]], evidence) -> schema.Table:
    """The paired differences of statistics.csv, where it was written."""
    told = []
    for row in rows:
        if row.get("comparison") not in ("rank", "asked"):
            continue
        low, high = _float(row.get("low")), _float(row.get("high"))
        mean = _float(row.get("difference"))
        told.append(
            (
                title(row["measure"], evidence),
                f"{row['model_a']} − {row['model_b']}",
                _with_interval(mean, low, high, "{:+.3g}"),
                _float(row.get("p_holm")),
                _float(row.get("effect_size")),
            )
        )
    header = ("measure", "models", "difference", "p (Holm)", "effect size")
    caption = (
        "Differences on the same picture. In brackets 95 % intervals, species "
        "resampled; p of a sign-flip test over species, corrected for the number of "
        "tests; effect size: mean over standard deviation of the differences."
    )
    return schema.Table("Paired differences", header, tuple(told), caption)


def _with_interval(mean: float, low: float, high: float, form: str) -> str | None:
    if not np.isfinite(mean):
        return None
    return form.format(mean) + _interval(low, high, form)


def _interval(low: float, high: float, form: str) -> str:
    if not np.isfinite([low, high]).all():
        return ""
    return f" ({form.format(low)} to {form.format(high)})"


def _float(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return float("nan")


def _percent(share: float) -> str:
    return "–" if not np.isfinite(share) else f"{100 * share:.1f} %"


def word(part: str) -> str:
    """A part's name as one says it."""
    return part.replace("_", " and ") if part == "bill_tail" else part.replace("_", " ")
