"""Similarity of maps before and after weights are made random."""

import numpy as np
import pytest

from hiercam_keras.metrics import sanity


def test_equal_reversed_and_turned_maps_by_hand():
    maps = np.arange(1.0, 17).reshape(1, 4, 4)
    same = sanity.similarity(maps, 3 * maps)
    assert [same[name][0] for name in sanity.MEASURES] == pytest.approx([1, 1, 1])
    turned = sanity.similarity(maps, 17 - maps)
    assert turned["spearman"][0] == pytest.approx(-1)
    # Half of the signed map is below 0, where the clipped one is flat.
    signed = maps - 8.5
    found = sanity.similarity(signed, -signed)
    assert found["spearman_signed"][0] == pytest.approx(-1)
    assert found["spearman"][0] > -1


def test_constant_maps_are_unknown():
    maps = np.random.default_rng(0).normal(size=(3, 5, 5))
    maps[1] = -np.abs(maps[1])  # nothing is left after clipping
    maps[2] = 2.0
    found = sanity.similarity(maps, maps)
    assert np.isnan(found["spearman"]).tolist() == [False, True, True]
    assert np.isnan(found["ssim"]).tolist() == [False, True, True]
    assert np.isnan(found["spearman_signed"]).tolist() == [False, False, True]


def test_table_starts_with_the_trained_model_and_takes_stages_one_by_one():
    rng = np.random.default_rng(0)
    trained = rng.normal(size=(30, 6, 6))
    taken = []

    def stages():
        for noise in (0.5, 50.0):
            taken.append(noise)
            yield f"layer{noise}", trained + noise * rng.normal(size=trained.shape)

    rows = sanity.sanity_table(trained, stages(), groups=np.arange(30) // 3)
    assert taken == [0.5, 50.0] and len(rows) == 9
    spearman = [row for row in rows if row["measure"] == "spearman"]
    assert [row["stage"] for row in spearman] == [0, 1, 2]
    means = [row["mean"] for row in spearman]
    assert means[0] == pytest.approx(1) and means[0] > means[1] > means[2]
    assert spearman[2]["low"] < 0.1 and spearman[2]["count"] == 30
