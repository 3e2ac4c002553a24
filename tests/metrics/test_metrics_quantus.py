"""Parity with quantus 0.6.0, where it is right; docs/METRICS.md lists the differences.

Its figures are in a fixture, which `fixtures/make_quantus.py` writes: quantus needs no
less than pandas, scikit-image and scikit-learn to be imported.
"""

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras.metrics import concentration
from hiercam_keras.metrics.faithfulness import curves, fills, order, summary
from hiercam_keras.metrics.faithfulness.regions import region_curves
from hiercam_keras.metrics.localization import pointing_game

PATH = Path(__file__).parent / "fixtures" / "quantus.json"


@pytest.fixture(scope="module")
def theirs():
    found = json.loads(PATH.read_text())
    texts = {name for name, value in found.items() if isinstance(value, str)}
    plain = texts | {"drops", "entropy"}
    return {
        name: value if name in plain else np.array(value)
        for name, value in found.items()
    }


def linear(weights, images):
    return (images * jnp.asarray(weights)).sum((1, 2, 3))


@pytest.mark.parametrize("kind", ["morf", "lerf"])
def test_same_drops_region_by_region(theirs, kind):
    places = order.region_positions(theirs["maps"], side=3)
    if kind == "lerf":
        places = order.least_first(places)
    counts = order.counts(16, 16)
    images = theirs["images"].astype(np.uint8)
    fill = np.full((1, 1, 1, 3), 100.0, np.float32)
    score = functools.partial(linear, theirs["weights"])
    scores = curves.deletion(score, images, fill, places, counts)
    expected = np.array(theirs["drops"][kind])
    assert scores[:, :1] - scores[:, 1:] == pytest.approx(expected, abs=0.05)
    assert summary.aopc(scores) == pytest.approx(
        expected.mean(axis=1) * 16 / 17, abs=0.05
    )


def test_same_imputed_picture(theirs):
    gone = order.positions(theirs["maps"][0]) < 60
    found = fills.linear_fill(theirs["images"][0], gone, noise=0)
    assert found == pytest.approx(theirs["imputed"], abs=1e-3)


def test_same_gini_and_entropy(theirs):
    # Quantus adds 1e-7 to every value first.
    assert concentration.gini(theirs["shapes"]) == pytest.approx(
        theirs["gini"], abs=1e-5
    )
    own = concentration.entropy(theirs["shapes"], normalized=False)
    *known, nothing, uniform = theirs["entropy"]
    assert own[[0, 1, 3]] == pytest.approx([*known, uniform], abs=1e-8)
    # A map without energy is 0/0 there, and a uniform one here.
    assert nothing is None and own[2] == pytest.approx(np.log(144))


def test_pointing_where_it_is_right_and_where_it_is_not(theirs):
    """Spots on and off the object; a constant map; a picture without object."""
    own = pointing_game(theirs["spots"], theirs["masks"], tolerance=0)
    assert own.tolist() == [True, False, False, False]
    # NaN for the last one is written into booleans, which makes it a hit.
    assert theirs["pointing"].tolist() == [1, 0, 1, 1]
    assert theirs["pointing_weighted"].startswith("TypeError")


def test_their_road_takes_gray_pictures_only(theirs):
    assert theirs["road_of_three_channels"].startswith("IndexError")
    assert theirs["road_of_one_channel"] == ""


def test_region_curves_order_a_true_map(theirs):
    """An additive model on bright pixels, asked with its own weights as the map."""
    weights = np.abs(theirs["weights"][..., 0])
    images = np.full((2, 12, 12, 3), 255, np.uint8)
    score = functools.partial(linear, weights[..., None])
    maps = np.stack([weights, weights])
    chance = order.random_maps([1, 2], (12, 12))
    fill = fills.whole_fill(images, "random")

    def aopc(maps, **options):
        found = region_curves(score, images, fill, maps, chance, side=3, **options)
        return {name: summary.aopc(scores) for name, scores in found.items()}

    found = aopc(maps, regions=6)
    assert (found["morf"] > found["random"]).all()
    assert (found["random"] > found["lerf"]).all()
    turned = aopc(-maps, regions=6)
    assert turned["morf"] == pytest.approx(found["lerf"], rel=1e-6)
    # There are no more than sixteen regions, and both orders end on the same noise.
    whole = region_curves(score, images, fill, maps, chance, side=3)
    assert whole["morf"].shape == (2, 17)
    assert whole["morf"][:, -1] == pytest.approx(whole["lerf"][:, -1])
