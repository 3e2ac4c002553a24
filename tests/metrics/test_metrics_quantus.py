"""Parity with quantus 0.6.0, whose figures are in a fixture: it needs no less than
pandas, scikit-image, scikit-learn and torchvision to be imported.

`made_with` in the fixture says which calls made them, of a linear model. Two things
differ by definition. Quantus leaves f(x_0) - f(x_0) = 0 out of its curve, so a mean
over it is (L + 1)/L times the AOPC of Samek's equation 12. And it pads pictures that
its regions do not fit, and sums over them; ours start at the corner, and regions that
the edge cuts count by their mean. On 12 x 12 pixels regions of 3 fit.
"""

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras.metrics.faithfulness import curves, fills, order, summary
from hiercam_keras.metrics.faithfulness.regions import region_curves

PATH = Path(__file__).parent / "fixtures" / "quantus_regions.json"


@pytest.fixture(scope="module")
def theirs():
    found = json.loads(PATH.read_text())
    arrays = {name: found[name] for name in ("images", "weights", "maps", "imputed")}
    arrays = {name: np.array(values) for name, values in arrays.items()}
    return arrays | {"drops": found["drops"]}


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
