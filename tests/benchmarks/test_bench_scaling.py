"""The estimate of time and cost, by hand; what a compiled program sends."""

import pytest
import tiny_birds

from benchmarks import scaling

ROUND = scaling.Assumptions(
    images_per_second=1000,
    images_per_chip=100,
    parameters=2.5e6,
    near=1e9,
    far=1e8,
    chips_per_host=4,
    decode_per_core=1000,
    cores_per_host=10,
    dollars_per_chip_hour=3,
    epochs=1,
)


def test_a_step_by_hand():
    assert scaling.step_seconds(1, ROUND) == pytest.approx(0.1)
    # Two chips: 2 * 1/2 * 10 MB at 1 GB/s; eight: 2 * 7/8 * 10 MB at 0.1 GB/s.
    assert scaling.step_seconds(2, ROUND) == pytest.approx(0.1 + 0.01)
    assert scaling.step_seconds(8, ROUND) == pytest.approx(0.1 + 0.175)


def test_hours_and_dollars_by_hand():
    hours, dollars = scaling.estimate(3_600_000, 1, ROUND)
    assert (hours, dollars) == (pytest.approx(1.0), pytest.approx(3.0))


def test_slow_decoding_is_the_bound():
    slow = scaling.Assumptions(decode_per_core=1, cores_per_host=10)
    assert scaling.step_seconds(8, slow) == pytest.approx(8 * 128 / 10)


def test_bytes_of_all_reduces_are_counted():
    text = (
        "  %a = f32[3,4]{1,0} all-reduce(f32[3,4] %x), channel_id=1\n"
        "  %b = (f32[5]{0}, bf16[2]{0}) all-reduce(%y, %z), channel_id=2\n"
        "  %c = f32[9]{0} add(%p, %q)\n"
    )
    assert scaling.sent_bytes(text) == 48 + 20 + 4


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
