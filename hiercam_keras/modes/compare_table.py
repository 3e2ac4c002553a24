"""What the page reads of a comparison: numbers.csv, summary.csv and others.

The page is made from the tables alone, so that every figure of it can be made again
from them. Columns that are there are shown, whatever they are; docs/METRICS.md tells
what they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hiercam_keras.report import tables

# Columns of numbers.csv that are no measure of a map.
_KEYS = (
    "example_id",
    "species",
    "model",
    "rank",
    "true_label",
    "predicted_label",
    "probability",
    "correct",
    "degenerate",
    "object",
    "coherence",
    "coherence_basis",
)
# Columns that are the picture's and the same for every model, and `part_<rank>_area`.
_SHARED = ("agreement", "chance", "bird_area")
# Names of a measure's column: what the page calls it.
NAMES = {
    "heatmap_area": "heatmap area",
    "area_at_50": "area of half the energy",
    "num_blobs": "hot spots",
    "energy_on_object": "energy on the bird",
    "energy_on_bird": "energy on the bird",
    "centroid_x": "center, x",
    "centroid_y": "center, y",
    "drop": "average drop",
    "increase": "increase in confidence",
    "deletion_gain": "deletion, gain over chance",
    "insertion_gain": "insertion, gain over chance",
    "road_gain": "ROAD, gain over chance",
    "drop_gain": "average drop, gain over chance",
    "aopc_morf": "AOPC, most relevant first",
    "aopc_lerf": "AOPC, least relevant first",
    "aopc_random": "AOPC, random order",
}


@dataclass(frozen=True)
class Numbers:
    """The rows of numbers.csv as arrays over N pictures.

    Attributes:
      example_ids: N, in order.
      species: (N,) text, the unit of resampling.
      models: names of the questions.
      predicted, correct, degenerate, probability: model -> (N,).
      coherent: model -> list of N True, False or None; empty where it is not known.
      measures: measure -> model -> (N,) float, NaN where not known.
      shared: measures that are the picture's and no map's -> (N,).
    """

    example_ids: list[str]
    species: np.ndarray
    models: tuple[str, ...]
    predicted: dict[str, np.ndarray]
    correct: dict[str, np.ndarray]
    degenerate: dict[str, np.ndarray]
    probability: dict[str, np.ndarray]
    coherent: dict[str, list[bool | None]]
    measures: dict[str, dict[str, np.ndarray]]
    shared: dict[str, np.ndarray]

    def first(self, *names: str) -> dict[str, np.ndarray] | None:
        """The first of these measures that is known of any picture."""
        for name in names:
            found = self.measures.get(name)
            if found and any(np.isfinite(values).any() for values in found.values()):
                return found
        return None

    def of_picture(self, *names: str) -> np.ndarray:
        """The first of these shared measures that is there; NaN if none is."""
        for name in names:
            if name in self.shared:
                return self.shared[name]
        return np.full(len(self.example_ids), np.nan)


def read(path: Path) -> Numbers:
    """Reads numbers.csv; rows of one picture stand in the order of the models."""
    columns = tables.read_csv(path)
    names = np.array(columns["model"], object)
    models = tuple(dict.fromkeys(columns["model"]))
    ids = list(dict.fromkeys(columns["example_id"]))
    rows = {model: np.flatnonzero(names == model) for model in models}

    def split(cells: list[str]) -> dict[str, np.ndarray]:
        values = np.array([_number(cell) for cell in cells])
        return {model: values[places] for model, places in rows.items()}

    measures, shared = {}, {}
    for name, cells in columns.items():
        if name in _KEYS:
            continue
        by_model = split(cells)
        if name in _SHARED or re.fullmatch("part_.*_area", name):
            shared[name] = by_model[models[0]]
        else:
            measures[name] = by_model
    species = columns.get("species") or [
        example_id.rpartition("/")[0] for example_id in columns["example_id"]
    ]
    return Numbers(
        example_ids=ids,
        species=np.array(species, object)[rows[models[0]]],
        models=models,
        predicted={
            model: values.astype(int)
            for model, values in split(columns["predicted_label"]).items()
        },
        correct={m: v > 0 for m, v in split(columns["correct"]).items()},
        degenerate={m: v > 0 for m, v in split(columns["degenerate"]).items()},
        probability=split(columns["probability"]),
        coherent=_coherent(columns, rows),
        measures=measures,
        shared=shared,
    )


def _coherent(columns: dict, rows: dict) -> dict[str, list[bool | None]]:
    if "coherence" not in columns:
        return {}
    known = {"coherent": True, "incoherent": False}
    return {
        model: [known.get(columns["coherence"][place]) for place in places]
        for model, places in rows.items()
    }


def read_optional(path: Path) -> list[dict[str, str]]:
    """Rows of a table that may not be there."""
    if not path.is_file():
        return []
    columns = tables.read_csv(path)
    return [
        dict(zip(columns, cells, strict=True))
        for cells in zip(*columns.values(), strict=True)
    ]


def own(summary: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The rows of models that are asked for a rank that they were trained at."""
    return [row for row in summary if not row["asked_of"]]


def answers(summary: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """One row for each run and rank: its maps by another method are no other answer."""
    first: dict[tuple[str, str], Mapping[str, str]] = {}
    for row in summary:
        first.setdefault((row["run"], row["rank"]), row)
    return list(first.values())


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def title(measure: str) -> str:
    """What the page calls a measure."""
    if measure.startswith("part_"):
        return f"energy on the part of the {measure.removeprefix('part_')}"
    return NAMES.get(measure, measure.replace("_", " "))
