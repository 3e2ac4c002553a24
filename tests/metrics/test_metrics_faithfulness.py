"""Faithfulness on models with curves in closed form."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.metrics.faithfulness import curves, fills, order, summary
from hiercam_keras.metrics.faithfulness.measure import NAMES, Choices, measure

SIDE = 6


def additive(weights, images):
    """f(x) = sum of weight times the pixel's first channel."""
    return (jnp.asarray(weights) * images[..., 0]).sum((1, 2))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_places_by_hand_with_ties_in_reading_order():
    maps = np.array([[3.0, 1.0], [3.0, 2.0]])
    assert order.positions(maps).tolist() == [[0, 3], [1, 2]]
    assert order.least_first(order.positions(maps)).tolist() == [[3, 0], [2, 1]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(0, 99))
def test_steps_take_exact_counts_whatever_ties(h, w, steps, seed):
    """A map of few values, or of one: every step takes as many as it should."""
    maps = np.random.default_rng(seed).integers(0, 1 + seed % 3, (h, w)).astype(float)
    places = order.positions(maps)
    steps = min(steps, h * w)
    counts = order.counts(h * w, steps)
    assert counts[0] == 0 and counts[-1] == h * w and (np.diff(counts) >= 1).all()
    assert [(places < n).sum() for n in counts] == counts.tolist()
    left = maps[places >= counts[1]]
    assert left.size == 0 or maps[places < counts[1]].min() >= left.max()
    reverse = order.least_first(places)
    assert [(reverse < n).sum() for n in counts] == counts.tolist()


def test_regions_by_hand():
    """4 x 5 pixels, regions of 2: the last column of regions is cut in half."""
    maps = np.zeros((4, 5))
    maps[0, 0] = 4.0  # mean 1
    maps[2:, 4] = 3.0  # mean 3, though its sum is 6 over two pixels only
    maps[2:, :2] = 1.25
    places = order.region_positions(maps, side=2)
    assert places[::2, ::2].tolist() == [[2, 3, 4], [1, 5, 0]]
    assert (places[2:, 4] == 0).all() and (places[2:, :2] == 1).all()
    assert places.shape == (4, 5)


def test_curves_of_an_additive_model_in_closed_form(rng):
    """Removing pixel after pixel takes its weight times (pixel - fill) away."""
    weights = rng.normal(size=(SIDE, SIDE))
    images = rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    fill = fills.whole_fill(images, "mean")
    places = order.positions(rng.normal(size=(2, SIDE, SIDE)))
    counts = order.counts(SIDE * SIDE, 9)
    score = functools.partial(additive, weights)
    down = curves.deletion(score, images, fill, places, counts)
    up = curves.insertion(score, images, fill, places, counts)
    for i in range(2):
        parts = (weights * (images[i, ..., 0] - fill[i, ..., 0])).ravel()
        taken = np.cumsum(np.append(0, parts[np.argsort(places[i].ravel())]))[counts]
        whole = (weights * images[i, ..., 0]).sum()
        blank = (weights * fill[i, ..., 0]).sum()
        assert down[i] == pytest.approx(whole - taken, abs=1e-3)
        assert up[i] == pytest.approx(blank + taken, abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_true_order_of_an_additive_model_is_the_best(seed):
    """MoRF of the true map falls fastest, LeRF slowest, any other order is in
    between."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    weights = rng.normal(size=(SIDE, SIDE))
    fill = fills.whole_fill(images, "mean")
    true = weights * (images[..., 0] - fill[..., 0])
    counts = order.counts(SIDE * SIDE, 6)
    score = functools.partial(additive, weights)
    morf = order.positions(true)
    chance = order.positions(order.random_maps([seed], (SIDE, SIDE)))

    def run(places):
        return curves.deletion(score, images, fill, places, counts)[0]

    best, worst, between = run(morf), run(order.least_first(morf)), run(chance)
    assert (best <= between + 1e-2).all() and (between <= worst + 1e-2).all()
    # What is taken by the one order is what the other one still has.
    assert best + worst[::-1] == pytest.approx(best[0] + best[-1], abs=0.1)
    assert summary.aopc(best) >= summary.aopc(between) - 1e-2
    assert summary.aopc(between) >= summary.aopc(worst) - 1e-2


def test_areas_and_aopc_by_hand():
    scores = np.array([1.0, 0.5, 0.25, 0.0])
    assert summary.area_under(scores, [0, 0.25, 0.5, 1]) == pytest.approx(
        0.25 * 0.75 + 0.25 * 0.375 + 0.5 * 0.125
    )
    assert summary.aopc(scores) == pytest.approx((0 + 0.5 + 0.75 + 1) / 4)
    with pytest.raises(ValueError, match="rising"):
        summary.area_under(scores, [0, 0.5, 0.5, 1])


def test_normalized_curves_by_hand_and_where_there_is_no_range():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.95, 0.85], [0.2, 0.6, 0.9]])
    found = summary.normalized(scores, scores[:, 0], scores[:, -1])
    assert found[0] == pytest.approx([1, 0.5, 0])
    # 0.05 of range is below 0.1, and a blank picture must not score higher.
    assert np.isnan(found[1:]).all()
    loose = summary.normalized(scores, scores[:, 0], scores[:, -1], min_range=0.01)
    assert loose[1] == pytest.approx([1, 2, 0])
    # A rank of a single taxon has infinite odds: nothing was asked.
    endless = np.full((1, 3), np.inf)
    assert np.isnan(summary.normalized(endless, endless[:, 0], endless[:, 2])).all()


@given(st.floats(-5, 5), st.floats(0.2, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_normalized_curves_forget_scale_and_offset(offset, scale, seed):
    """Hence ranks with other base rates can be set side by side."""
    scores = np.random.default_rng(seed).uniform(size=5)
    scores[0], scores[-1] = 2.0, -1.0
    changed = offset + scale * scores
    first = summary.normalized(scores, scores[0], scores[-1])
    second = summary.normalized(changed, changed[0], changed[-1])
    assert second == pytest.approx(first, abs=1e-9)


def test_drop_and_increase_by_hand():
    whole, kept = [0.8, 0.5, 0.5, 0.0], [0.2, 0.5, 0.7, 0.1]
    assert summary.drop(whole, kept)[:3].tolist() == pytest.approx([0.75, 0, 0])
    assert np.isnan(summary.drop(whole, kept)[3])
    assert summary.increase(whole, kept).tolist() == [0, 0, 1, 1]


def test_blending_keeps_what_is_hot_and_goes_to_the_mean_color():
    images = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    heat = np.zeros((1, 2, 4))
    heat[0, 0, 0], heat[0, 1, 3] = 1, 0.5
    found = np.asarray(curves.blended(images, heat))
    mean = images.mean((0, 1, 2))
    assert found[0, 0, 0].tolist() == images[0, 0, 0].tolist()
    assert found[0, 1, 3] == pytest.approx((images[0, 1, 3] + mean) / 2)
    assert found[0, 0, 1] == pytest.approx(mean)


@pytest.fixture
def measured(rng):
    """A logistic model on the sum of a bright patch, with maps good, bad and none."""
    images = np.full((4, 8, 8, 3), 40, np.uint8)
    images += rng.integers(0, 8, images.shape, dtype=np.uint8)
    images[:, 2:4, 2:4] = 240
    weights = np.zeros((8, 8))
    weights[2:4, 2:4] = 0.012

    def score(pictures):
        return additive(weights, pictures) - 6

    maps = np.zeros((4, 8, 8))
    maps[0, 2:4, 2:4] = 1  # on the patch
    maps[1, 6:, 6:] = 1  # elsewhere
    maps[1, 2:4, 2:4] = -1  # and against it
    maps[3, 2:4, 2:4] = 1
    images[3] = 40  # nothing to see
    chance = order.random_maps(range(4), (8, 8))
    choices = Choices(insertion_fill="mean", road_shares=(0.25, 0.5))
    return measure(score, images, maps, chance, np.maximum(maps, 0), choices)


def test_a_map_of_the_evidence_beats_chance_and_one_beside_it_does_not(measured):
    assert set(NAMES) - set(measured) == {"aopc_morf", "aopc_lerf", "aopc_random"}
    for name in ("deletion_gain", "insertion_gain", "road_gain"):
        assert measured[name][0] > 0.1 > measured[name][1], name
    assert measured["deletion"][1] > 0.8 and measured["insertion"][1] < 0.2
    assert measured["drop"][0] < 0.01 and measured["drop"][1] > 0.9


@pytest.fixture
def halves():
    """4 x 4 pixels, left 200 and right 100; the left half's brightness is the score.

    Log-odds are 0.01 * sum(left) - 14: 2 of the picture, -2 where all is mean (150).
    """
    images = np.full((3, 4, 4, 3), 100, np.uint8)
    images[:, :, :2] = 200
    weights = np.zeros((4, 4))
    weights[:, :2] = 0.01
    maps = np.zeros((3, 4, 4))
    maps[0, :, :2] = maps[1, :, 2:] = maps[2, :, :2] = 1
    chance = np.zeros((3, 4, 4))
    chance[:2, :, 2:] = chance[2, :2] = 1  # the right half twice, and the upper one

    def run(sign=1.0, choices=None):
        def score(pictures):
            return sign * (additive(weights, pictures) - 14)

        return measure(score, images, maps, chance, maps, choices)

    return run


def test_drop_against_chance_and_increase_by_hand(halves):
    found = halves()
    # Left kept: nothing is lost. Right kept: all is as in the blank picture.
    low, high = summary.probability([-2, 2])
    assert found["drop"] == pytest.approx([0, (high - low) / high, 0], abs=1e-6)
    # The third's chance keeps the upper half: log-odds 0, half-way between the ends.
    assert found["drop_gain"] == pytest.approx([1, 0, 0.5], abs=1e-6)
    assert found["increase"].tolist() == [0, 0, 0]
    turned = halves(-1.0)  # now the left half's brightness speaks against it
    assert turned["increase"].tolist() == [0, 1, 0]
    assert turned["drop"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert np.isnan(turned["drop_gain"]).all()  # blank pictures score higher


def test_aopc_by_hand(halves):
    """Regions of 2 x 2, two of them on the left: each takes half of the range."""
    assert not {"aopc_morf", "road", "road_gain"} & set(halves())
    choices = Choices(regions=2, region_side=2, region_fill="mean", score="log_odds")
    found = halves(choices=choices)
    # Lost are 0, 1/2 and 1 where the left half goes first, and nothing elsewhere.
    assert found["aopc_morf"] == pytest.approx([0.5, 0, 0.5], abs=1e-6)
    assert found["aopc_lerf"] == pytest.approx([0, 0.5, 0], abs=1e-6)
    # The third's chance takes the upper two regions, the left one of them first.
    assert found["aopc_random"] == pytest.approx([0, 0, 1 / 3], abs=1e-6)


def test_rearranged_by_hand():
    maps = np.array([[3.0, 1.0], [0.0, 2.0]])
    places = np.array([[2, 0], [3, 1]])
    assert order.rearranged(maps, places).tolist() == [[1, 3], [0, 2]]


def test_no_map_and_no_evidence_are_unknown_not_zero(measured):
    for name, values in measured.items():
        assert np.isnan(values[2]), name
    for name in ("deletion", "insertion_gain", "road", "road_gain"):
        assert np.isnan(measured[name][3]), name


def test_wrong_choices_are_refused(rng):
    images = np.zeros((1, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="expected mean, blur or random"):
        fills.whole_fill(images, "black")
    with pytest.raises(ValueError, match="17 steps over 16 places"):
        order.counts(16, 17)
    with pytest.raises(ValueError, match="NaN"):
        order.positions(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="probability or log_odds"):
        measure(None, images, images[..., 0], images[..., 0], 0, Choices(score="p"))
