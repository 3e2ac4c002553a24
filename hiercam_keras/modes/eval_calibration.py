"""Calibration of a model's probabilities at every rank, as tables and a figure.

One temperature for each rank is fitted on the validation split, never on the reported
split, and only on `MIN_IMAGES` or more. The tables have the measures before and after
temperature scaling.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import file_names, tables, wording, workdir
from hiercam_keras.metrics import calibration
from hiercam_keras.report import reliability

HEADER = (
    "rank",
    "images",
    "accuracy",
    "confidence",
    "ece",
    "nll",
    "brier",
    "temperature",
    "ece_scaled",
    "nll_scaled",
    "brier_scaled",
    "val_images",  # that the temperature was fitted on, or that were too few
)
BINS = 15  # of equal width in confidence
MIN_IMAGES = 10  # of a fitted temperature, and of a point of the curve
FEW_IMAGES = 30  # up to which a sentence says what a temperature rests on


def write(
    folder: Path,
    logits: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    val_logits: Mapping[str, np.ndarray] | None,
    val_labels: Mapping[str, np.ndarray] | None,
) -> list[list[Any]]:
    """Writes calibration.csv and .json, reliability_<rank>.csv and reliability.png.

    Args:
      folder: of the files.
      logits: (N, taxa) by rank.
      labels: (N,) by rank.
      val_logits, val_labels: the same for the validation split; None for no
        temperature.

    Returns:
      Rows of HEADER.
    """
    rows, panels = [], []
    for rank, scores in logits.items():
        truth = labels[rank]
        temperature = None
        val_images = 0 if val_labels is None else len(val_labels[rank])
        if val_images >= MIN_IMAGES:
            temperature = calibration.fit_temperature(
                val_logits[rank], val_labels[rank]
            )
        before = _measure(scores, truth)
        after = dict.fromkeys(before)
        bins = {"as it is": _bins(scores, truth)}
        if temperature is not None:
            after = _measure(scores / temperature, truth)
            name = f"temperature {calibration.temperature_text(temperature)}"
            bins[name] = _bins(scores / temperature, truth)
        rows.append(
            [
                rank,
                len(truth),
                before["accuracy"],
                before["confidence"],
                *(before[name] for name in ("ece", "nll", "brier")),
                temperature,
                *(after[name] for name in ("ece", "nll", "brier")),
                val_images,
            ]
        )
        points = {name: calibration.points(bins[name], MIN_IMAGES) for name in bins}
        panels.append(
            reliability.Panel(
                rank,
                before["ece"],
                after["ece"],
                bins,
                points,
                len(truth),
                MIN_IMAGES,
            )
        )
        name = file_names.file_name(f"reliability_{rank}", ".csv")
        _write_bins(folder / name, bins)
    tables.write_csv(folder / "calibration.csv", HEADER, rows)
    about = [dict(zip(HEADER, row, strict=True)) for row in rows]
    workdir.write_json(folder / "calibration.json", {"bins": BINS, "ranks": about})
    reliability.save_reliability(folder / "reliability.png", panels)
    return rows


def sentences(rows: list[list[Any]]) -> tuple[str, str]:
    """What limits the temperatures, see the functions below; "" for nothing."""
    return few_sentence(rows), limit_sentence(rows)


def few_sentence(rows: list[list[Any]]) -> str:
    """A sentence on temperatures of few validation images, or none; "" without."""
    at, val = HEADER.index("temperature"), HEADER.index("val_images")
    few = [f"{row[val]} ({row[0]})" for row in rows if 0 < row[val] < FEW_IMAGES]
    if not few:
        return ""
    missing = [row[0] for row in rows if row[val] and row[at] is None]
    text = f"Few validation images to fit a temperature on: {', '.join(few)}."
    if missing:
        ranks = wording.listed(missing)
        text += f" There is none at {ranks}: it takes {MIN_IMAGES} images."
    return text


def limit_sentence(rows: list[list[Any]]) -> str:
    """A sentence on temperatures at a limit of the search; "" if there are none."""
    column = HEADER.index("temperature")
    at_limit = [
        f"{row[column]:g} ({row[0]})"
        for row in rows
        if row[column] is not None and calibration.at_limit(row[column])
    ]
    if not at_limit:
        return ""
    return (
        f"A temperature at a limit of the search, not a minimum: {', '.join(at_limit)}."
    )


def _measure(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    confidence, correct = calibration.confidence_and_correct(logits, labels)
    return {
        "accuracy": float(correct.mean()),
        "confidence": float(confidence.mean()),
        "ece": calibration.expected_calibration_error(confidence, correct, BINS),
        "nll": calibration.negative_log_likelihood(logits, labels),
        "brier": calibration.brier_score(logits, labels),
    }


def _bins(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    confidence, correct = calibration.confidence_and_correct(logits, labels)
    return calibration.reliability(confidence, correct, BINS)


def _write_bins(path: Path, bins: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    header = ("probabilities", "low", "high", "count", "confidence", "accuracy")
    rows = [
        [name, *(column[i] for column in (table[key] for key in header[1:]))]
        for name, table in bins.items()
        for i in range(BINS)
    ]
    tables.write_csv(path, header, rows)
