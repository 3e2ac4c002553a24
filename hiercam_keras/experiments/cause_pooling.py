"""Numbers of causes of several trainings, pooled for an estimate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hiercam_keras.evaluation.causal_effects import Effects
from hiercam_keras.evaluation.cause_measures import CAUSE_MEASURES, Parts
from hiercam_keras.experiments.cause_measurements import Caused
from hiercam_keras.experiments.training_grid import TrainingSpec
from hiercam_keras.metrics import resampling, statistics
from hiercam_keras.metrics.resampling import Estimate

View = tuple[str, str]


@dataclass(frozen=True)
class CausedRun:
    """A training with its numbers on two splits: one to choose by, one to report."""

    spec: TrainingSpec
    val: Caused
    test: Caused

    def on(self, split: str) -> Caused:
        """Numbers on "val", or on "test": the split that is reported."""
        return self.val if split == "val" else self.test


Value = Callable[[Caused], np.ndarray]


def estimate(
    runs: Sequence[CausedRun], value: Value, split: str = "test", test: bool = False
) -> Estimate:
    """Mean of a figure over pictures and trainings, species and trainings resampled.

    Args:
      runs: the trainings.
      value: numbers of N pictures -> (N,), NaN where unknown.
      split: see `CausedRun.on`.
      test: also p, of a sign-flip test over species.
    """
    values, groups, repeats = [], [], []
    for run in runs:
        found = run.on(split)
        values.append(np.asarray(value(found), np.float64))
        groups.append(found.effects.groups)
        name = f"{run.spec.name} {run.spec.seed}"
        repeats.append(np.full(len(found), name))
    pooled = [np.concatenate(each) for each in (values, groups, repeats)]
    result = resampling.mean(*pooled)
    if test:
        result = replace(result, p=statistics.sign_flip_test(pooled[0], pooled[1]))
    return result


def fall(score: str, rank: str, how: str, part: str) -> Value:
    """Fall of a score when a part is exchanged."""

    def value(found: Caused) -> np.ndarray:
        effects = found.effects
        return effects.of(score, rank, how)[:, effects.parts.index(part)]

    return value


def turned(rank: str, how: str, part: str) -> Value:
    """1 where the exchange of a part changes the chosen child, else 0."""

    def value(found: Caused) -> np.ndarray:
        one = found.effects
        place = one.ranks.index(rank), one.parts.index(part), one.hows.index(how)
        return one.turned[:, place[0], place[1], place[2]]

    return value


def lifts(
    runs: Sequence[CausedRun], view: View, target: tuple[str, str]
) -> dict[str, Estimate]:
    """Lift of the maps of one target on each part, see `resampling.lift`."""
    energy, area, groups, repeats = [], [], [], []
    for run in runs:
        parts = parts_of(run.test, view, target)
        energy.append(parts.energy)
        area.append(parts.area)
        groups.append(run.test.effects.groups)
        repeats.append(np.full(len(run.test), run.spec.seed))
    energy, area, *labels = map(np.concatenate, (energy, area, groups, repeats))
    return {
        part: resampling.lift(energy[:, place], area[:, place], *labels)
        for place, part in enumerate(runs[0].test.maps.parts)
    }


def parts_of(found: Caused, view: View, target: tuple[str, str]) -> Parts:
    """Maps of one target by one method and layer, with the effects on its score."""
    kind, rank = target
    maps = found.maps
    energy = maps.energy[maps.views.index(view), :, maps.targets.index(target)]
    effects = {
        how: _of_parts(found.effects, kind, rank, how, maps.parts)
        for how in found.effects.hows
    }
    return Parts(energy, maps.area, effects)


def _of_parts(
    effects: Effects, score: str, rank: str, how: str, parts: Sequence[str]
) -> np.ndarray:
    """Falls of a score by these parts: (N, P); NaN for one that nobody exchanged."""
    falls = effects.of(score, rank, how)
    unknown = np.full(len(falls), np.nan)
    columns = [
        falls[:, effects.parts.index(part)] if part in effects.parts else unknown
        for part in parts
    ]
    return np.stack(columns, axis=1)


def agreement(measure: str, view: View, targets: Sequence[tuple[str, str]]) -> Value:
    """A measure of `CAUSE_MEASURES`, as mean over those targets that there are."""

    def value(found: Caused) -> np.ndarray:
        compute = CAUSE_MEASURES[measure].compute
        known = [target for target in targets if target in found.maps.targets]
        each = [compute(parts_of(found, view, target)) for target in known]
        return mean_of_known(each)

    return value


def mean_of_known(each: Sequence[np.ndarray]) -> np.ndarray:
    """Mean (N,) over the arrays (N,) without NaN; NaN where all are."""
    stacked = np.stack(each)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0.0).sum(0)
    with np.errstate(invalid="ignore"):
        return total / known.sum(0)


def minus(first: Value, second: Value) -> Value:
    """The difference of two figures, which pairs the pictures."""
    return lambda found: first(found) - second(found)
