"""The tables that the compare page shows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras import wording
from hiercam_keras.evaluation.measures import MEASURES
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes.compare_lifts import Evidence, Lift
from hiercam_keras.modes.comparison.measure import Compared
from hiercam_keras.report import schema
from hiercam_keras.wording import spaced

_SHARES = ("increase",)  # measures that are 0 or 1 for a picture
_FAITHFULNESS = {
    "drop": "average drop",
    "increase": "increase in confidence",
    "deletion_gain": "deletion, gain over chance",
    "insertion_gain": "insertion, gain over chance",
    "road": "ROAD",
    "road_gain": "ROAD, gain over chance",
    "drop_gain": "average drop, gain over chance",
    "aopc_morf": "AOPC, most relevant first",
    "aopc_lerf": "AOPC, least relevant first",
    "aopc_random": "AOPC, random order",
}


def make(
    compared: Compared,
    tested: Sequence[Mapping[str, Any]],
    lifts: Sequence[Lift],
    evidence: Evidence,
    noun: str = "object",
) -> tuple[schema.Table, ...]:
    """All tables that have rows.

    Args:
      compared: the numbers.
      tested: rows of `comparison.differences`.
      lifts: of plain maps and steps.
      evidence: which part carries which rank.
      noun: what the pictures show.
    """
    made = (
        lift_table(lifts, compared.table.resampled),
        measure_table(compared, evidence, noun),
        statistics_table(tested, evidence, noun, compared.table.resampled),
    )
    return tuple(table for table in made if table.rows)


def lift_table(lifts: Sequence[Lift], resampled: str = "species") -> schema.Table:
    """Lifts of plain maps and steps on the parts, with intervals."""
    parts = {one.part: one.rank for one in lifts}
    by_map: dict[str, dict[str, Lift]] = {}
    for one in lifts:
        by_map.setdefault(one.map, {})[one.part] = one
    rows = []
    for name, known in by_map.items():
        cells = [_lift_cell(known.get(part), rank) for part, rank in parts.items()]
        rows.append((name, _range(one.lift.n for one in known.values()), *cells))
    brackets = _intervals((one.lift.groups for one in lifts), resampled)
    titles = (f"{spaced(part)} (marks the {rank})" for part, rank in parts.items())
    return schema.Table(
        "Energy of the maps on the parts, in numbers",
        ("map", "pictures", *titles),
        tuple(rows),
        "Share of the map's energy on a part, divided by the part's share of the "
        "picture: 1 is chance; of a step, on the part of its own rank, also the "
        "difference to the same model's plain map on the same pictures. "
        f"{brackets} lifts.csv has all of it.",
    )


def _lift_cell(one: Lift | None, rank: str) -> str | None:
    if one is None or not np.isfinite(one.lift.value):
        return None
    cell = with_interval(one.lift, "{:.2f}")
    if one.step == rank and np.isfinite(one.gain.value):
        gain = with_interval(one.gain, "{:+.2f}")
        cell = f"{cell}, {gain} to the plain map"
    return cell


def measure_table(
    compared: Compared, evidence: Evidence, noun: str = "object"
) -> schema.Table:
    """Mean of every measure for every model, with intervals."""
    rows, groups, table = [], [], compared.table
    for name in filter(compared.known, compared.measures):
        mean = resampling.share if name in _SHARES else resampling.mean
        found = [mean(table.of(name, one), table.clusters) for one in table.questions]
        cells = [with_interval(one, _three_digits(one)) for one in found]
        named = title(name, evidence, noun)
        rows.append((named, _range(one.n for one in found), *cells))
        groups += [one.groups for one in found if one.n]
    return schema.Table(
        "The measures",
        ("mean over the pictures", "pictures", *table.questions),
        tuple(rows),
        f"{_intervals(groups, table.resampled)} docs/METRICS.md has the definitions.",
    )


def _range(counts: Iterable[int]) -> str:
    """`40`, or `38 to 40` where the counts differ."""
    counts = list(counts)
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _intervals(groups: Iterable[int], resampled: str) -> str:
    """What the brackets are, and where they are missing."""
    text = f"In brackets 95 % intervals, {resampled} resampled."
    fewest = min(groups, default=resampling.MIN_GROUPS)
    if fewest < resampling.MIN_GROUPS:
        text += (
            f" There is none of fewer than {resampling.MIN_GROUPS} species: "
            f"{wording.too_few(fewest)}."
        )
    return text


def title(measure: str, evidence: Evidence, noun: str = "object") -> str:
    """What the page calls a measure; parts by their names."""
    rank = measure.removeprefix("part_")
    if measure.startswith("part_") and rank in evidence:
        return f"energy on the {spaced(evidence[rank][0])}"
    if measure in MEASURES:
        return MEASURES[measure].title.format(noun=noun)
    return _FAITHFULNESS.get(measure, measure.replace("_", " "))


def statistics_table(
    rows: Sequence[Mapping[str, Any]],
    evidence: Evidence,
    noun: str = "object",
    resampled: str = "species",
) -> schema.Table:
    """The paired differences of statistics.csv: of two ranks or networks; where there
    are none, of two trainings at one rank."""
    shown = [row for row in rows if row["comparison"] in ("rank", "asked", "network")]
    shown = shown or [row for row in rows if row["comparison"] == "seed"]
    told = []
    for row in shown:
        found = Estimate(row["difference"], row["low"], row["high"])
        told.append(
            (
                title(row["measure"], evidence, noun),
                f"{row['model_a']} − {row['model_b']}",
                with_interval(found, _three_digits(found, "+")),
                *(row[name] for name in ("count", "groups", "p_holm")),
                row["effect_size"] if row["groups"] >= resampling.MIN_GROUPS else None,
            )
        )
    header = (
        "measure",
        "models",
        "difference",
        "pictures",
        "species",
        "p (Holm)",
        "effect size",
    )
    groups = [row[4] for row in told]
    caption = (
        f"Differences on the same picture. {_intervals(groups, resampled)} p of a "
        f"sign-flip test over {resampled}, corrected for the number of tests; effect "
        "size: mean over standard deviation of the differences, where there is an "
        "interval."
    )
    return schema.Table("Paired differences", header, tuple(told), caption)


def _three_digits(found: Estimate, sign: str = "") -> str:
    """The form of a figure and its interval, which have as many decimals: three digits
    for the largest of them, and at most five decimals."""
    values = np.array([found.value, found.low, found.high])
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    decimals = 2 if largest == 0 else 2 - int(np.floor(np.log10(largest)))
    return f"{{:{sign}.{min(max(decimals, 0), 5)}f}}"


def with_interval(found: Estimate, form: str) -> str | None:
    """`1.20 (1.10 to 1.30)`; None where the value is not known."""
    if not np.isfinite(found.value):
        return None
    text = wording.number(found.value, form)
    return text + wording.interval(found.low, found.high, form)
