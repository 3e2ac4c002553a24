"""Which of several questions has the best maps, on the same pictures.

The questions differ in method and layer. The ranking is by one measure:

- the lift of the energy on the object over chance, where objects of at least
  `resampling.MIN_GROUPS` groups are known;
- otherwise insertion minus deletion, the areas under the two curves.

Maps that hardly change when the weights of the model are made random do not explain the
model and cannot be the best. All others are compared with the one of the largest value,
picture by picture; those without a significant difference after Holm's correction are
the best ones.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from hiercam_keras.evaluation.compare import lift_difference
from hiercam_keras.evaluation.table import Table
from hiercam_keras.metrics import resampling, statistics
from hiercam_keras.metrics.resampling import Estimate

LIFT, FAITHFULNESS = "lift", "insertion_minus_deletion"
ENERGY, AREA = "energy_on_object", "object_area"
SIMILARITY = "random_similarity"
INSENSITIVE = "does not depend on the weights"
FEW_MAPS = "no value for most pictures"
_DIGITS = 6  # of the values of a picture, and of their means
_UNKNOWN = Estimate(float("nan"))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One question in a ranking.

    Attributes:
      name: of the question.
      lift: of the energy on the object, see `resampling.lift`.
      faithfulness: mean of insertion minus deletion.
      similarity: mean rank correlation with the maps of random weights.
      difference: of the ranking's measure, this one minus the best, over the common
        pictures; p is corrected for the number of differences. NaN for the best one and
        for those that cannot be the best.
      excluded: why it cannot be the best; "" if it can.
      among_best: whether it is the best, or not significantly different from it.
    """

    name: str
    lift: Estimate
    faithfulness: Estimate
    similarity: Estimate
    difference: Estimate = _UNKNOWN
    excluded: str = ""
    among_best: bool = False

    def value(self, measure: str) -> Estimate:
        """Of LIFT or FAITHFULNESS."""
        return self.lift if measure == LIFT else self.faithfulness


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Questions from the best to the worst, and then those that cannot be the best.

    Attributes:
      measure: LIFT or FAITHFULNESS.
      entries: by the value of the measure over the common pictures.
      pictures, groups: numbers of the common pictures, those with a value of every
        question that can be the best.
    """

    measure: str
    entries: tuple[Entry, ...]
    pictures: int
    groups: int

    @property
    def best(self) -> Entry | None:
        """The one of the largest value; None if none can be the best."""
        first = self.entries[0] if self.entries else None
        return first if first and first.among_best else None

    @property
    def best_few(self) -> tuple[Entry, ...]:
        """The best and those that are not significantly different from it."""
        return tuple(one for one in self.entries if one.among_best)

    @property
    def too_few(self) -> bool:
        """Whether there are too few groups for any claim."""
        return self.groups < resampling.MIN_GROUPS

    def of(self, name: str) -> Entry | None:
        """The entry of a question; None if there is none."""
        return next((one for one in self.entries if one.name == name), None)


def rank(
    table: Table, insensitive: float, seed: int = 0, controls: Collection[str] = ()
) -> Ranking:
    """Ranks the questions of a table.

    Args:
      table: with the values ENERGY, FAITHFULNESS and SIMILARITY, NaN where unknown, and
        AREA of the pictures.
      insensitive: least mean similarity to the maps of random weights from which on a
        question cannot be the best.
      seed: of resamples and tests.
      controls: questions with maps that are known to look at no weights.
    """
    measure = measure_of(table)
    values = _values(table, measure)
    excluded = _excluded(table, values, insensitive, controls)
    able = [k for k, why in enumerate(excluded) if not why]
    common = _common(values, able)
    estimates = {
        k: _estimate(table, measure, k, common if k in able else None, seed)
        for k in range(len(table.questions))
    }
    order = sorted(
        range(len(table.questions)),
        key=lambda k: (bool(excluded[k]), -_rounded(estimates[k].value), k),
    )
    best = order[0] if able else None
    differences = _differences(table, measure, best, able, common, seed)
    entries = []
    for k in order:
        other = FAITHFULNESS if measure == LIFT else LIFT
        found = {measure: estimates[k], other: _estimate(table, other, k, None, seed)}
        difference = differences.get(k, _UNKNOWN)
        significant = difference.p < statistics.ALPHA and not difference.too_few
        entries.append(
            Entry(
                table.questions[k],
                found[LIFT],
                found[FAITHFULNESS],
                resampling.mean(
                    table.values[SIMILARITY][:, k], table.clusters, seed=seed
                ),
                difference,
                excluded[k],
                not excluded[k] and not significant,
            )
        )
    groups = len(np.unique(table.clusters[common]))
    return Ranking(measure, tuple(entries), int(common.sum()), groups)


def measure_of(table: Table) -> str:
    """LIFT or FAITHFULNESS: the first with a value for enough groups, else for any."""
    groups = {
        measure: len(
            np.unique(table.clusters[np.isfinite(_values(table, measure)).any(1)])
        )
        for measure in (LIFT, FAITHFULNESS)
    }
    for least in (resampling.MIN_GROUPS, 1):
        for measure, count in groups.items():
            if count >= least:
                return measure
    return FAITHFULNESS


def regret(
    tables: Sequence[Table],
    measure: str,
    chosen: Sequence[str],
    among: Sequence[Sequence[str]],
    seed: int = 0,
) -> Estimate:
    """How much more the best question has than the chosen one, on these pictures.

    The best one is that of these very pictures, so the value is 0 or more and too
    large on average. Its interval finds the best one again on each resample.

    Args:
      tables: one for each training, of pictures that played no part in its choice.
      measure: LIFT or FAITHFULNESS.
      chosen: for each table, the name of the chosen question.
      among: for each table, the names of those that could be chosen.
      seed: of the resamples, of groups and, where there are several, of trainings.
    """
    parts, blocks, start = [], [], 0
    for table, mine, names in zip(tables, chosen, among, strict=True):
        rows = _known_of_all(table, measure, names)
        values = _values_of(table, measure, names)[rows]
        parts.append((table.clusters[rows], values, _sizes(table, measure)[rows]))
        blocks.append((start, start + len(names), start + list(names).index(mine)))
        start += len(names) + 1
    groups = np.concatenate([groups for groups, *_ in parts])
    sizes = np.concatenate([size for *_, size in parts])
    repeats = np.repeat(np.arange(len(parts)), [len(size) for *_, size in parts])
    columns = np.zeros((len(groups), start))
    for number, (_, values, size) in enumerate(parts):
        first, last, _ = blocks[number]
        columns[repeats == number, first : last + 1] = np.column_stack([values, size])

    def statistic(sums: np.ndarray) -> np.ndarray:
        lost = sum(sums[:, a:b].max(1) - sums[:, own] for a, b, own in blocks)
        return lost / sum(sums[:, b] for _, b, _ in blocks)

    several = repeats if len(parts) > 1 else None
    return resampling.of_sums(columns, groups, statistic, several, sizes, seed)


def best_of(table: Table, measure: str, among: Sequence[str]) -> str:
    """The question with the largest value over the pictures where all have one."""
    rows = _known_of_all(table, measure, among)
    values = _values_of(table, measure, among)[rows]
    return among[int(np.round(values.sum(0), _DIGITS).argmax())]


def difference(
    table: Table,
    measure: str,
    first: str,
    second: str,
    rows: np.ndarray | None = None,
    seed: int = 0,
) -> Estimate:
    """The measure of one question minus that of another, over the same pictures.

    Args:
      table: has both.
      measure: LIFT or FAITHFULNESS.
      first, second: names of the questions.
      rows: bool (N,), the pictures; default those with both values.
      seed: of resamples and signs. p is of a sign-flip test over groups.
    """
    values = _values(table, measure)
    a, b = (values[:, table.questions.index(name)] for name in (first, second))
    if rows is not None:
        a = np.where(rows, a, np.nan)
    if measure == LIFT:
        area = table.pictures[AREA]
        return lift_difference(a, b, area, table.clusters, seed)
    found = resampling.difference(a, b, table.clusters, seed=seed)
    p = statistics.sign_flip_test(a - b, table.clusters, seed)
    return dataclasses.replace(found, p=p)


def estimate(table: Table, measure: str, question: str, seed: int = 0) -> Estimate:
    """The measure of one question over all pictures where it is known."""
    return _estimate(table, measure, table.questions.index(question), None, seed)


def _values(table: Table, measure: str) -> np.ndarray:
    """(N, K), rounded: equal maps that differ in every picture by the rounding of the
    device in one direction would be significantly different."""
    values = table.values[ENERGY if measure == LIFT else measure]
    return np.round(np.asarray(values, np.float64), _DIGITS)


def _values_of(table: Table, measure: str, names: Sequence[str]) -> np.ndarray:
    return _values(table, measure)[:, [table.questions.index(name) for name in names]]


def _known_of_all(table: Table, measure: str, names: Sequence[str]) -> np.ndarray:
    return np.isfinite(_values_of(table, measure, names)).all(1)


def _sizes(table: Table, measure: str) -> np.ndarray:
    """(N,), what a sum of values is divided by."""
    return table.pictures[AREA] if measure == LIFT else np.ones(len(table))


def _excluded(
    table: Table, values: np.ndarray, insensitive: float, controls: Collection[str]
) -> list[str]:
    counts = np.isfinite(values).sum(0)
    found = []
    for k, count in enumerate(counts):
        known = table.values[SIMILARITY][:, k]
        known = known[np.isfinite(known)]
        alike = known.size and known.mean() >= insensitive
        if alike or table.questions[k] in controls:
            found.append(INSENSITIVE)
        else:
            few = count == 0 or 2 * count < counts.max()
            found.append(FEW_MAPS if few else "")
    return found


def _common(values: np.ndarray, able: Sequence[int]) -> np.ndarray:
    """bool (N,): the pictures with a value of every question that can be the best."""
    if not able:
        return np.zeros(len(values), bool)
    return np.isfinite(values[:, able]).all(1)


def _estimate(table, measure, k, rows, seed) -> Estimate:
    values = _values(table, measure)[:, k]
    if rows is not None:
        values = np.where(rows, values, np.nan)
    if measure == LIFT:
        area = np.where(np.isfinite(values), table.pictures[AREA], np.nan)
        return resampling.lift(values, area, table.clusters, seed=seed)
    return resampling.mean(values, table.clusters, seed=seed)


def _differences(table, measure, best, able, common, seed) -> dict[int, Estimate]:
    """Of each that can be the best to the best, with Holm's correction."""
    others = [k for k in able if k != best]
    names = table.questions
    found = [
        difference(table, measure, names[k], names[best], common, seed) for k in others
    ]
    corrected = statistics.holm([one.p for one in found])
    return {
        k: dataclasses.replace(one, p=float(p))
        for k, one, p in zip(others, found, corrected, strict=True)
    }


def _rounded(value: float) -> float:
    return round(value, _DIGITS) if np.isfinite(value) else -np.inf
