"""The ranking of questions by their maps, on tables that were made by hand."""

import dataclasses

import numpy as np
import pytest

from hiercam_keras.evaluation import ranking, table
from hiercam_keras.evaluation.ranking import FAITHFULNESS, LIFT
from hiercam_keras.evaluation.table import Table
from hiercam_keras.metrics import statistics

NAMES = ("a", "b", "c")


def make(energies, gaps=None, alike=None, area=0.2, groups=None, names=NAMES) -> Table:
    """A table of N pictures and K questions, each picture of its own group."""
    energies = np.asarray(energies, float)
    nothing = np.full(energies.shape, np.nan)
    count = len(energies)
    return Table(
        np.array([f"{i}.jpg" for i in range(count)]),
        np.arange(count).astype(str) if groups is None else groups,
        names,
        ("species",) * len(names),
        {
            ranking.ENERGY: energies,
            FAITHFULNESS: nothing if gaps is None else np.asarray(gaps, float),
            ranking.SIMILARITY: nothing if alike is None else np.asarray(alike, float),
        },
        {ranking.AREA: np.full(count, area)},
    )


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(0, 0.02, (20, 3))


def test_the_largest_lift_is_best_and_ties_are_the_best_few(noise):
    found = ranking.rank(make([0.5, 0.8, 0.8] + noise), insensitive=0.5)
    assert found.measure == LIFT and (found.pictures, found.groups) == (20, 20)
    means = ([0.5, 0.8, 0.8] + noise).mean(0) / 0.2
    order = sorted(range(3), key=lambda k: -means[k])
    assert [one.name for one in found.entries] == [NAMES[k] for k in order]
    for one, k in zip(found.entries, order, strict=True):
        assert one.lift.value == pytest.approx(means[k])
    assert found.best.name in "bc" and {e.name for e in found.best_few} == {"b", "c"}
    worst = found.of("a")
    assert worst.difference.value == pytest.approx(means[0] - means.max())
    assert worst.difference.high < 0 and not worst.among_best
    # Holm's correction of the two differences to the best.
    values = [0.5, 0.8, 0.8] + noise
    deltas = values[:, order[1:]] - values[:, order[:1]]
    p = statistics.holm([statistics.sign_flip_test(delta) for delta in deltas.T])
    corrected = [one.difference.p for one in found.entries[1:]]
    assert corrected == pytest.approx(list(p), rel=1e-2)


def test_equal_maps_are_a_tie_and_the_first_is_taken(noise):
    rows = 0.6 + noise[:, [0, 0, 0]]
    found = ranking.rank(make(rows + np.array([0, 1e-9, 0])), insensitive=0.5)
    assert [one.name for one in found.entries] == list(NAMES)
    assert len(found.best_few) == 3


def test_what_does_not_depend_on_the_weights_cannot_be_the_best(noise):
    alike = np.tile([0.1, 0.6, np.nan], (20, 1))
    table_ = make([0.5, 0.9, 0.7] + noise, alike=alike)
    found = ranking.rank(table_, insensitive=0.5)
    assert [one.name for one in found.entries] == ["c", "a", "b"]
    last = found.entries[-1]
    assert last.excluded == ranking.INSENSITIVE and not last.among_best
    assert np.isnan(last.difference.p) and last.lift.value > 4
    assert last.similarity.value == pytest.approx(0.6)
    assert ranking.rank(table_, insensitive=0.7).best.name == "b"
    without = ranking.rank(table_, insensitive=0.7, controls=("b",))
    assert without.best.name == "c" and without.of("b").excluded == ranking.INSENSITIVE
    nothing = ranking.rank(make(noise, alike=np.ones((20, 3))), 0.5)
    assert nothing.best is None and nothing.best_few == () and nothing.pictures == 0


def test_faithfulness_decides_where_fewer_than_ten_groups_have_objects(noise):
    energies = [0.5, 0.9, 0.7] + noise
    gaps = [0.4, 0.1, 0.2] + noise
    energies[10:] = np.nan
    assert ranking.rank(make(energies, gaps), 0.5).measure == LIFT
    energies[9] = np.nan
    found = ranking.rank(make(energies, gaps), 0.5)
    assert found.measure == FAITHFULNESS and found.best.name == "a"
    assert found.best.lift.n == 9 and found.best.faithfulness.n == 20
    # Neither has enough groups: boxes decide, without a claim.
    few = ranking.rank(make(energies, gaps).take(range(5)), 0.5)
    assert few.measure == LIFT and few.too_few and few.best.name == "b"
    assert len(few.best_few) == 3


def test_all_are_compared_over_the_same_pictures(noise):
    """A question that leaves out the hard pictures gains nothing by it."""
    gaps = [0.3, 0.31, 0.2] + noise
    hard = np.arange(20) >= 14
    gaps[hard] -= 0.5
    with_gaps = gaps.copy()
    with_gaps[hard, 2] = np.nan
    found = ranking.rank(make(np.full((20, 3), np.nan), with_gaps), 0.5)
    assert found.pictures == 14
    for k, name in enumerate(NAMES):
        value = found.of(name).faithfulness
        assert value.n == 14 and value.value == pytest.approx(gaps[:14, k].mean())
    with_gaps[6:, 2] = np.nan  # and one with few maps is left out
    found = ranking.rank(make(np.full((20, 3), np.nan), with_gaps), 0.5)
    assert found.pictures == 20
    assert found.of("c").excluded == ranking.FEW_MAPS and found.entries[-1].name == "c"


def test_groups_and_not_pictures_are_resampled():
    """Forty pictures of four groups are four groups."""
    energies = np.tile([0.5, 0.8, 0.7], (40, 1))
    groups = np.repeat(list("wxyz"), 10)
    found = ranking.rank(make(energies, groups=groups), 0.5)
    assert found.groups == 4 and found.too_few and np.isnan(found.best.lift.low)


def test_the_loss_of_a_choice_by_hand():
    whole = make(np.tile([0.5, 0.8, 0.7], (12, 1)))
    assert ranking.best_of(whole, LIFT, NAMES) == "b"
    assert ranking.best_of(whole, LIFT, ("a", "c")) == "c"
    lost = ranking.regret([whole], LIFT, "c", [NAMES])
    assert lost.value == pytest.approx(0.5) and lost.low == pytest.approx(0.5)
    assert (lost.n, lost.groups) == (12, 12)
    lost = ranking.regret([whole], LIFT, "b", [NAMES])
    assert (lost.value, lost.low, lost.high) == (0, 0, 0)
    assert ranking.regret([whole], LIFT, "c", [("a", "c")]).value == 0


def test_the_losses_of_several_trainings():
    """Each has a best of its own, and they are resampled too."""
    first = make(np.tile([0.5, 0.8, 0.7], (12, 1)))
    second = make(np.tile([0.6, 0.5], (12, 1)), names=("a", "b"))
    tables, among = [first, second], [NAMES, ("a", "b")]
    lost = ranking.regret(tables, LIFT, ["c", "b"], among)
    assert lost.value == pytest.approx((0.1 + 0.1) / 0.4)
    lost = ranking.regret(tables, LIFT, ["b", "b"], among)
    assert lost.value == pytest.approx(0.25)
    assert (lost.low, lost.high) == pytest.approx((0, 0.5))  # one of both, or the other
    assert (lost.n, lost.groups) == (24, 12)


def test_the_interval_of_a_loss_finds_the_best_on_each_resample(noise):
    """Of equal questions the loss is above 0 by chance alone, and its interval starts
    near 0."""
    gaps = 0.3 + 10 * noise
    worst = NAMES[int(gaps.mean(0).argmin())]
    whole = make(np.full((20, 3), np.nan), gaps)
    assert ranking.best_of(whole, FAITHFULNESS, NAMES) == NAMES[gaps.mean(0).argmax()]
    lost = ranking.regret([whole], FAITHFULNESS, [worst], [NAMES])
    assert lost.value == pytest.approx(np.ptp(gaps.mean(0)), rel=1e-4)
    assert 0 <= lost.low < lost.value < lost.high


def test_tables_of_single_questions_are_put_together(noise):
    whole = make(0.5 + noise, alike=noise)
    parts = []
    for k, name in enumerate(NAMES):
        values = {key: value[:, [k]] for key, value in whole.values.items()}
        if k == 1:
            values["more"] = noise[:, :1]
        parts.append(
            dataclasses.replace(
                whole, questions=(name,), ranks=("species",), values=values
            ).take(np.random.default_rng(k).permutation(20))
        )
    found = table.combined(parts)
    (expected,) = table.same_pictures(whole)
    assert found.questions == NAMES and found.ranks == ("species",) * 3
    assert found.example_ids.tolist() == expected.example_ids.tolist()
    assert set(found.values) == set(whole.values)
    for key, value in expected.values.items():
        np.testing.assert_array_equal(found.values[key], value)
