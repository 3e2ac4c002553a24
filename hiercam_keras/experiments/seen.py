"""experiments: the looks of several seeds of one model, put together for a table."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiercam_keras.experiments.looks import Looks, same_images
from hiercam_keras.experiments.pieces import Condition, Piece
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.resampling import Estimate


@dataclass(frozen=True)
class Seen:
    """A piece and what it looks at."""

    piece: Piece
    looks: Looks


def pick(
    all_seen: Iterable[Seen],
    ranks: Sequence[str] | None = None,
    condition: Condition | None = None,
) -> list[Seen]:
    """Those of these ranks and this condition, by seed."""
    found = [
        one
        for one in all_seen
        if (ranks is None or one.piece.ranks == tuple(ranks))
        and (condition is None or one.piece.condition == condition)
    ]
    return sorted(found, key=lambda one: one.piece.seed)


def paired(
    several: Sequence[Sequence[Seen]], value: Callable[..., np.ndarray]
) -> Estimate:
    """Mean of a figure of several models' looks at one image, as their difference.

    Args:
      several: pieces of each model; seeds and images that all have are taken.
      value: looks of each model at the same N images -> (N,).
    """
    common = set.intersection(*({one.piece.seed for one in seen} for seen in several))
    values, groups, seeds = [], [], []
    for seed in sorted(common):
        chosen = [
            next(one.looks for one in seen if one.piece.seed == seed)
            for seen in several
        ]
        looks = same_images(*chosen)
        values.append(np.asarray(value(*looks), np.float64))
        groups.append(looks[0].group)
        seeds.append(np.full(len(values[-1]), seed))
    if not values:
        return Estimate(float("nan"))
    return resampling.mean(*map(np.concatenate, (values, groups, seeds)))


class Pool:
    """Images of several seeds, one after the other.

    Args:
      seen: pieces that differ in their seed only.
      rank_right: keep only images whose answer at this rank is right.
    """

    def __init__(self, seen: Sequence[Seen], rank_right: str | None = None):
        several = [one.looks for one in seen]
        if rank_right is not None:
            several = [_right(one, rank_right) for one in several]
        self._several = several
        self.groups = np.concatenate([one.group for one in several])
        self.seeds = np.concatenate(
            [
                np.full(len(one.group), piece.piece.seed)
                for one, piece in zip(several, seen, strict=True)
            ]
        )
        self.area = np.concatenate([one.area for one in several])

    def energy(self, key: str) -> np.ndarray:
        """Shares of the energy (N, P) for a question."""
        return np.concatenate([one.energy[:, one.at(key)] for one in self._several])

    def hot(self, key: str) -> np.ndarray:
        """Share of the picture (N,) that is hot for a question."""
        return np.concatenate([one.hot[:, one.at(key)] for one in self._several])

    def of_rank(self, name: str, rank: str) -> np.ndarray:
        """true, predicted or log2_true (N,) at a rank."""
        return np.concatenate(
            [getattr(one, name)[:, one.rank_at(rank)] for one in self._several]
        )

    def mean(self, values: Any) -> Estimate:
        """Mean with its interval over species and seeds."""
        return resampling.mean(values, self.groups, self.seeds)

    def lift(self, key: str, parts: Sequence[int]) -> Estimate:
        """Lift of a question's maps on some parts together."""
        parts = list(parts)
        energy, kept = self._known(key)
        return resampling.lift(
            energy[:, parts].sum(1),
            self.area[kept][:, parts].sum(1),
            self.groups[kept],
            self.seeds[kept],
        )

    def specificity(self, key: str, part: int, others: Sequence[int]) -> Estimate:
        """Lift on a part minus the mean of the lifts on the other parts."""
        energy, kept = self._known(key)
        order = [part, *others]
        columns = np.concatenate([energy[:, order], self.area[kept][:, order]], axis=1)
        return resampling.of_sums(
            columns, self.groups[kept], _own_minus_others, self.seeds[kept]
        )

    def gain(self, key: str, base: str, part: int, others: Sequence[int]) -> Estimate:
        """Specificity of one question minus that of another, on the same images."""
        order = [part, *others]
        first, kept = self._known(key)
        second, also = self._known(base)
        both = kept & also
        columns = np.concatenate(
            [
                self.energy(key)[both][:, order],
                self.area[both][:, order],
                self.energy(base)[both][:, order],
                self.area[both][:, order],
            ],
            axis=1,
        )
        half = 2 * len(order)

        def statistic(sums):
            return _own_minus_others(sums[:, :half]) - _own_minus_others(sums[:, half:])

        return resampling.of_sums(
            columns, self.groups[both], statistic, self.seeds[both]
        )

    def _known(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Energies of the images where something was asked, and which they are."""
        energy = self.energy(key)
        kept = np.isfinite(energy).all(axis=1)
        return energy[kept], kept


def _right(looks: Looks, rank: str) -> Looks:
    place = looks.rank_at(rank)
    return looks.take(np.flatnonzero(looks.predicted[:, place] == looks.true[:, place]))


def _own_minus_others(sums: np.ndarray) -> np.ndarray:
    """(R, 2 D) energies then areas, the own part first -> (R,)."""
    energy, area = np.split(sums, 2, axis=1)
    lifts = energy / area
    return lifts[:, 0] - lifts[:, 1:].mean(axis=1)
