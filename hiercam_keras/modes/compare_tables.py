"""The tables that the compare page shows, from those in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hiercam_keras.metrics import statistics
from hiercam_keras.modes import compare_table
from hiercam_keras.modes.compare_lifts import Evidence, Lift
from hiercam_keras.modes.compare_table import Numbers
from hiercam_keras.modes.parts import word
from hiercam_keras.report import schema


def make(
    out: Path, numbers: Numbers, lifts: Sequence[Lift], evidence: Evidence
) -> tuple[schema.Table, ...]:
    """All tables that have rows."""
    rows = compare_table.read_optional(out / "statistics.csv")
    made = (
        lift_table(lifts),
        measure_table(numbers, evidence),
        statistics_table(rows, evidence),
    )
    return tuple(table for table in made if table.rows)


def lift_table(lifts: Sequence[Lift]) -> schema.Table:
    """Lifts of plain maps and steps on the parts, with intervals."""
    parts = {one.part: one.rank for one in lifts}
    by_map: dict[str, dict[str, Lift]] = {}
    for one in lifts:
        by_map.setdefault(one.map, {})[one.part] = one
    rows = []
    for name, known in by_map.items():
        cells = []
        for part, rank in parts.items():
            one = known.get(part)
            if one is None:
                cells.append(None)
                continue
            cell = with_interval(one.lift, one.low, one.high, "{:.2f}")
            if cell and one.step == rank and np.isfinite(one.gain):
                gain = with_interval(one.gain, one.gain_low, one.gain_high, "{:+.2f}")
                cell = f"{cell}, {gain} to the plain map"
            cells.append(cell)
        rows.append((name, *cells))
    return schema.Table(
        "Where the evidence lies, in numbers",
        ("map", *(f"{word(part)} (tells the {r})" for part, r in parts.items())),
        tuple(rows),
        "Share of the map's energy on a part, divided by the part's share of the "
        "picture: 1 is chance; of a step, on the part of its own rank, also the "
        "difference to the same model's plain map on the same pictures. In brackets "
        "95 % intervals, species resampled. lifts.csv has all of it.",
    )


def measure_table(numbers: Numbers, evidence: Evidence) -> schema.Table:
    """Mean of every measure for every model, with intervals."""
    rows = []
    for name, by_model in numbers.measures.items():
        if not any(np.isfinite(values).any() for values in by_model.values()):
            continue
        cells = [
            with_interval(
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


def title(measure: str, evidence: Evidence) -> str:
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
                with_interval(mean, low, high, "{:+.3g}"),
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


def with_interval(mean: float, low: float, high: float, form: str) -> str | None:
    """`1.20 (1.10 to 1.30)`; None where the mean is not known."""
    if not np.isfinite(mean):
        return None
    return form.format(mean) + interval(low, high, form)


def interval(low: float, high: float, form: str) -> str:
    """` (1.10 to 1.30)`; nothing where it is not known."""
    if not np.isfinite([low, high]).all():
        return ""
    return f" ({form.format(low)} to {form.format(high)})"


def _float(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return float("nan")
