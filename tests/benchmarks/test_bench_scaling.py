"""What a compiled train step computes and sends."""

import tiny_birds

from benchmarks import scaling


def test_a_train_step_is_measured():
    """Forward: 311,040 multiplications and additions of an image in three convolutions.

    Training takes two to three times that, and what stands between them; one device
    sends nothing.
    """
    tiny_birds.register()
    found = scaling.measure(1, 48, 2, backbone="tiny")
    forward = 2 * 2 * (24**2 * 27 * 8 + 12**2 * 72 * 12 + 6**2 * 108 * 16) / 1e9
    assert 2 * forward < found["gflop_per_device"] < 6 * forward
    assert (found["devices"], found["images"]) == (1, 2)
    assert found["all_reduce_mb"] == found["all_gathers"] == 0
