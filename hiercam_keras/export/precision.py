"""What narrower weights change: answers and maps of two files, picture by picture."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras.export.function import MAPS, PATH, STEPS, probabilities_name
from hiercam_keras.export.parity import LEAST_AGREEMENT, LEAST_CORRELATION

_MAPS = (MAPS, STEPS)


class Change(NamedTuple):
    """What N pictures say about two files.

    Attributes:
      pictures: N.
      agreement: by rank the share of pictures with the same most probable taxon.
      correlation: by name of maps and rank the mean of Pearson's correlation, over the
        pictures with one path in both files and maps that are not constant.
      lowest: the smallest of these correlations, by name of maps.
    """

    pictures: int
    agreement: Mapping[str, float]
    correlation: Mapping[str, Mapping[str, float]]
    lowest: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "pictures": self.pictures,
            "top1_agreement": dict(self.agreement),
            "map_correlation": {
                name: {"mean": dict(means), "lowest": self.lowest[name]}
                for name, means in self.correlation.items()
            },
        }

    def faults(self) -> list[str]:
        """What is below its bound, in words."""
        found = [
            f"the answer at {rank} is another one for {1 - share:.1%} of "
            f"{self.pictures} pictures (bound {1 - LEAST_AGREEMENT:.0%})"
            for rank, share in self.agreement.items()
            if share < LEAST_AGREEMENT
        ]
        found += [
            f"maps of {rank} correlate by {value:.5f} (bound {LEAST_CORRELATION})"
            for rank, value in self.correlation.get(MAPS, {}).items()
            if value < LEAST_CORRELATION
        ]
        return found


def change(
    outputs: Iterable[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
    ranks: Sequence[str],
    path: Sequence[str],
) -> Change:
    """Compares two files by their outputs.

    Args:
      outputs: of batches, pairs of the outputs of both files by name.
      ranks: that are compared.
      path: R ranks of the files' paths and maps.
    """
    same: dict[str, list[np.ndarray]] = {rank: [] for rank in ranks}
    alike: dict[str, list[np.ndarray]] = {}
    pictures = 0
    for one, other in outputs:
        pictures += len(one[PATH])
        for rank in ranks:
            name = probabilities_name(rank)
            same[rank].append(one[name].argmax(-1) == other[name].argmax(-1))
        for name in _MAPS:
            if name in one:
                found = correlation(one[name], other[name])
                found[one[PATH] != other[PATH]] = np.nan
                alike.setdefault(name, []).append(found)
    values = {name: np.concatenate(parts) for name, parts in alike.items()}
    return Change(
        pictures,
        {rank: float(np.concatenate(parts).mean()) for rank, parts in same.items()},
        {
            name: {
                rank: float(np.mean(known))
                for rank, column in zip(path, rows.T, strict=True)
                if rank in ranks and (known := column[~np.isnan(column)]).size
            }
            for name, rows in values.items()
        },
        {
            name: float(np.nanmin(rows)) if not np.isnan(rows).all() else 1.0
            for name, rows in values.items()
        },
    )


def correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's correlation of maps (..., h, w): (...), NaN of a constant map."""
    flat = [
        maps.reshape(*maps.shape[:-2], -1).astype(np.float64) for maps in (one, other)
    ]
    x, y = (values - values.mean(-1, keepdims=True) for values in flat)
    size = [
        np.sqrt((centered**2).sum(-1)) / np.maximum(np.abs(values).max(-1), 1e-30)
        for centered, values in zip((x, y), flat, strict=True)
    ]
    constant = (size[0] < 1e-6) | (size[1] < 1e-6)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.where(constant, np.nan, found)
