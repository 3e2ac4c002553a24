"""The host stays a few batches ahead of the device, and no more."""

import threading

import pytest

from hiercam_keras.training.callbacks import Pace


def test_host_waits_for_the_device_after_a_few_batches():
    pace = Pace(ahead=3)
    started = []

    def host():
        for batch in range(5):
            pace.on_train_batch_begin(batch)
            started.append(batch)

    thread = threading.Thread(target=host)
    thread.start()
    thread.join(0.2)
    assert started == [0, 1, 2]  # the fourth waits
    pace.on_train_batch_end(0)
    pace.on_train_batch_end(1)
    thread.join(5)
    assert started == [0, 1, 2, 3, 4]


def test_ends_of_batches_may_be_called_in_a_thread():
    assert Pace.async_safe  # Keras would turn the figures into numbers at every step


@pytest.mark.parametrize(("backend", "ahead"), [("cpu", 1), ("gpu", 4), ("tpu", 4)])
def test_a_cpu_takes_one_batch_at_a_time(monkeypatch, backend, ahead):
    """Two steps in a row would hold their temporary arrays twice."""
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    pace = Pace()
    taken = [pace.slots.acquire(blocking=False) for _ in range(5)]
    assert taken == [True] * ahead + [False] * (5 - ahead)
