"""Tables of several seeds of one model, pooled for an estimate."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiercam_keras.evaluation.table import Table, same_pictures
from hiercam_keras.experiments.training_grid import Condition, TrainingSpec
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.resampling import Estimate

OBJECT, BACKGROUND = "energy_on_object", "background"


@dataclass(frozen=True)
class MeasuredRun:
    """A training and the table of its measurements."""

    spec: TrainingSpec
    table: Table


def pick(
    all_seen: Iterable[MeasuredRun],
    ranks: Sequence[str] | None = None,
    condition: Condition | None = None,
) -> list[MeasuredRun]:
    """The trainings of these ranks and this condition, by seed."""
    found = [
        one
        for one in all_seen
        if (ranks is None or one.spec.ranks == tuple(ranks))
        and (condition is None or one.spec.condition == condition)
    ]
    return sorted(found, key=lambda one: one.spec.seed)


def paired(
    several: Sequence[Sequence[MeasuredRun]], value: Callable[..., np.ndarray]
) -> Estimate:
    """Mean over pictures and seeds of a figure of several models at one picture.

    Args:
      several: trainings of each model; only common seeds and pictures are used.
      value: tables of each model with the same N pictures -> (N,).
    """
    cells = list(matched(several))
    if not cells:
        return Estimate(float("nan"))
    values = [np.asarray(value(*tables), np.float64) for _, tables in cells]
    groups = [tables[0].clusters for _, tables in cells]
    seeds = [np.full(len(tables[0]), seed) for seed, tables in cells]
    return resampling.mean(*map(np.concatenate, (values, groups, seeds)))


def matched(
    several: Sequence[Sequence[MeasuredRun]],
) -> Iterator[tuple[int, list[Table]]]:
    """(seed, a table of each model with the same pictures) for the common seeds."""
    common = set.intersection(
        *({one.spec.seed for one in measured} for measured in several)
    )
    for seed in sorted(common):
        chosen = [
            next(one.table for one in measured if one.spec.seed == seed)
            for measured in several
        ]
        yield seed, same_pictures(*chosen)


class Pool:
    """Pictures of several seeds, concatenated.

    Args:
      measured: trainings that differ in their seed only.
    """

    def __init__(self, measured: Sequence[MeasuredRun]):
        self._tables = [one.table for one in measured]
        self.groups = np.concatenate([table.clusters for table in self._tables])
        self.seeds = np.repeat(
            [one.spec.seed for one in measured], [len(one.table) for one in measured]
        )

    def of(self, name: str, question: str) -> np.ndarray:
        """A value under a question: (N,); "background" is the energy off the object."""
        if name == BACKGROUND:
            return 1 - self.of(OBJECT, question)
        return np.concatenate([table.of(name, question) for table in self._tables])

    def area(self, part: str) -> np.ndarray:
        """Share of each picture (N,) that a part, object or background fills."""
        if part == BACKGROUND:
            return 1 - self.area(OBJECT)
        name = "object_area" if part == OBJECT else f"{part}_area"
        return np.concatenate([table.pictures[name] for table in self._tables])

    def mean(self, values: Any) -> Estimate:
        """Mean with its interval over species and seeds."""
        return resampling.mean(values, self.groups, self.seeds)

    def accuracy(self, rank: str, predicted: str = "predicted") -> Estimate:
        """Accuracy at a rank of the answers in the column `predicted` ("predicted", or
        "rolled" for those summed up from the finest head)."""
        question = f"asked-{rank}"
        return self.mean(self.of(predicted, question) == self.of("true", question))

    def lift(self, question: str, part: str) -> Estimate:
        """Lift of a question's maps on a part, the object or the background."""
        energy = self.of(part, question)
        kept = np.isfinite(energy)
        return resampling.lift(
            energy[kept], self.area(part)[kept], self.groups[kept], self.seeds[kept]
        )

    def specificity(self, question: str, part: str, others: Sequence[str]) -> Estimate:
        """Lift on a part minus the mean of the lifts on the other parts."""
        return self._sums([question], [part, *others], _own_minus_others)

    def gain(
        self, question: str, base: str, part: str, others: Sequence[str]
    ) -> Estimate:
        """Specificity of one question minus that of another, on the same pictures."""

        def statistic(sums: np.ndarray) -> np.ndarray:
            first, second = np.split(sums, 2, axis=1)
            return _own_minus_others(first) - _own_minus_others(second)

        return self._sums([question, base], [part, *others], statistic)

    def _sums(self, questions, parts, statistic) -> Estimate:
        """A statistic of the energies, then the areas, of the parts, by question, over
        the pictures on which every question was asked."""
        areas = [self.area(part) for part in parts]
        columns = np.stack(
            [
                column
                for question in questions
                for column in [*(self.of(part, question) for part in parts), *areas]
            ],
            axis=1,
        )
        kept = np.isfinite(columns).all(axis=1)
        return resampling.of_sums(
            columns[kept], self.groups[kept], statistic, self.seeds[kept]
        )


def _own_minus_others(sums: np.ndarray) -> np.ndarray:
    """(R, 2 D) energies then areas, the own part first -> (R,)."""
    energy, area = np.split(sums, 2, axis=1)
    lifts = energy / area
    return lifts[:, 0] - lifts[:, 1:].mean(axis=1)
