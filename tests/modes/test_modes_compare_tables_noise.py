"""Faithfulness of a picture, whatever else is measured with it."""

import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras.evaluation.faithfulness import measure_batch
from hiercam_keras.metrics.faithfulness.measure import NAMES, Choices

NOISY = Choices(
    steps=3,
    deletion_fill="random",
    insertion_fill="random",
    road_shares=(0.4,),
    regions=3,
    region_side=4,
    min_range=0.01,
    noise=0.2,
)


def test_neither_place_nor_company_in_the_batch_changes_a_number():
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    images[:, 2:6, 3:9] = 250
    weights = np.zeros((12, 12))
    weights[2:6, 3:9] = 0.001
    cams = rng.normal(size=(4, 3, 3))
    ids = [f"a/{number}.jpg" for number in range(4)]

    def score(pictures):
        return (jnp.asarray(weights) * pictures[..., 0]).sum((1, 2)) - 4

    def measured(rows):
        of = [ids[row] for row in rows]
        return measure_batch(score, images[rows], cams[rows], of, NOISY).numbers

    together = measured([0, 1, 2, 3])
    assert np.isfinite([together[name] for name in NAMES]).all()
    for rows in ([2, 0, 3, 1], [3], [1, 2]):
        found = measured(rows)
        for name in NAMES:
            expected = together[name][rows]
            assert found[name] == pytest.approx(expected, abs=1e-5), (name, rows)
