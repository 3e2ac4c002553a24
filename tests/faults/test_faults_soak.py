"""The soak test, short."""

import pytest

from benchmarks import soak


@pytest.mark.slow  # a minute and a half and more of processes
def test_nothing_is_lost_under_random_kills(tmp_path):
    found = soak.soak(1.5, 3, tmp_path)
    assert found["runs"] >= 1 and found["SIGKILL"] + found["SIGTERM"] >= 1
    assert found["lost"] == found["failed"] == 0
    assert found["last_third_mib"] < 1.2 * found["first_third_mib"]


def test_the_comparison_sees_a_bit(trained_twice):
    one, other, change = trained_twice
    assert soak.differences(one, other) == 0
    change()
    assert soak.differences(one, other) == 1


@pytest.fixture
def trained_twice(tmp_path):
    """A run folder, its copy, and a function that changes a bit of the copy's maps."""
    import shutil

    import keras
    import numpy as np

    one = tmp_path / "one"
    (one / "maps" / "key").mkdir(parents=True)
    (one / "log.csv").write_text("epoch,loss\n1,0.5\n")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(one / "model.keras")
    np.savez(one / "maps" / "key" / "shard-00000.npz", cam=np.ones(3, np.float32))
    other = shutil.copytree(one, tmp_path / "other")

    def change():
        changed = np.ones(3, np.float32)
        changed[1] = np.nextafter(np.float32(1), np.float32(2))
        np.savez(other / "maps" / "key" / "shard-00000.npz", cam=changed)

    return one, other, change
