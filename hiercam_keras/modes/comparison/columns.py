"""comparison: what is compared, and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hiercam_keras.metrics.coherence import Coherence
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes.load import RunData


@dataclass(frozen=True)
class Column:
    """One question put to one model.

    Attributes:
      name: unique among the columns.
      rank: whose taxa are asked for.
      depth: sorts finer ranks first.
      asked_of: the rank that the model was trained at, where it is not `rank`.
      data: the run with its images.
      maps: folder of its map store.
      faithfulness: example_id -> name -> value, of some of the pictures.
    """

    name: str
    rank: str
    depth: int
    asked_of: str | None
    data: RunData
    maps: Path
    faithfulness: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The CAM method of its maps."""
        return self.data.config.cam.method


@dataclass(frozen=True)
class ColumnNumbers:
    """Of one column, arrays over N pictures. Shares and probabilities are 0..1.

    Attributes:
      predicted, true: int32 labels at the column's rank.
      probability: of the prediction.
      degenerate: bool, no heatmap.
      heatmap_area: share of the picture above HOT.
      energy_on_bird: share of the energy on the object, NaN where it is not known.
      part_energy: part label -> share of the energy on it, where parts are known.
      measures: further columns of numbers.csv by name, NaN where not known.
      coherence: the verdict on each map.
      accuracy: over all pictures, species resampled.
      chance: accuracy of always the commonest taxon of the training images.
    """

    predicted: np.ndarray
    true: np.ndarray
    probability: np.ndarray
    degenerate: np.ndarray
    heatmap_area: np.ndarray
    energy_on_bird: np.ndarray
    part_energy: dict[int, np.ndarray]
    measures: dict[str, np.ndarray]
    coherence: Coherence
    accuracy: Estimate
    chance: float


@dataclass(frozen=True)
class Numbers:
    """Of all columns over the same N pictures.

    Attributes:
      example_ids: N.
      by_column: by the column's name.
      bird_area: share of the picture that is the object, NaN where it is not known.
      part_area: part label -> share of the picture.
      agreement: mean Pearson correlation between the heatmaps of two models, each
        asked for its own rank, by the method of the first column.
      species: N lineage paths of the finest rank, the unit of resampling.
      object_kind: N times "mask", "box" or "".
      pairs: (name, name) of two columns -> measure -> (N,), how alike their heatmaps
        are.
    """

    example_ids: list[str]
    by_column: dict[str, ColumnNumbers]
    bird_area: np.ndarray
    part_area: dict[int, np.ndarray]
    agreement: np.ndarray
    species: np.ndarray = field(default_factory=lambda: np.array([], str))
    object_kind: np.ndarray = field(default_factory=lambda: np.array([], str))
    pairs: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)


def mean_or_none(values: np.ndarray) -> float | None:
    """Mean of what is known, None if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
