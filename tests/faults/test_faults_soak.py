"""The soak test, short."""

import signal
import sys

import pytest

from benchmarks import soak, soak_watch
from benchmarks.soak_watch import Kill, Seen


@pytest.mark.slow  # two minutes and more of processes
def test_nothing_is_lost_under_random_kills(tmp_path):
    found = soak.soak(1.5, 3, tmp_path)
    assert found["runs"] >= 1 and found["at_work"] >= 1 and found["resumed"] >= 1
    assert found["lost"] == found["failed"] == found["orphans"] == 0
    # Within one process; malloc may hold pieces, so it is not nothing.
    assert found["train_growth_mib"] < 100 and found["cam_growth_mib"] < 100


AT = (5, 2, 17)  # step, epoch and number of the newest checkpoint


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        ("resuming after step 5 of epoch 2, from /x/checkpoints/17\n", 0, 0),
        ("resuming after step 4 of epoch 2, from /x/checkpoints/17\n", 0, 1),
        ("resuming after step 5 of epoch 2, from /x/checkpoints/16\n", -9, 1),
        ("training tiny on 624 images\n", 0, 1),  # from the beginning
        ("training tiny on 624 images\n", -9, 0),  # killed before it could say
    ],
)
def test_a_training_that_goes_on_from_elsewhere_is_seen(words, status, expected):
    seen = Seen(status=status, before=17, after=20, words=words)
    assert soak.lost("train", seen, {}, AT, {}) == expected


def test_shards_that_were_made_anew_are_seen():
    had = {"shard-00000.npz": (1, 1), "shard-00001.npz": (2, 1)}
    more = {**had, "shard-00002.npz": (3, 2)}
    said = "48 maps of the train split, 16 of them made now"
    assert soak.lost("cam", Seen(words=said), had, None, more) == 0
    assert soak.lost("cam", Seen(words=said.replace(" 16 ", " 32 ")), had, None, more)
    again = {**more, "shard-00000.npz": (9, 2)}
    assert soak.lost("cam", Seen(status=-9), had, None, again) == 1
    assert soak.lost("cam", Seen(status=-9), had, None, {}) == 2


def test_growth_is_that_of_the_later_work():
    """1,000 KiB at the start, then 2 KiB a step: over steps 25 to 100, 150 KiB."""
    samples = [(0, 50)] + [(step, 1000 + 2 * step) for step in range(20, 101)]
    each, total = soak_watch.slope(samples)
    assert each == pytest.approx(2) and total == pytest.approx(150 / 1024)
    assert soak_watch.slope([(0, 10), (0, 20)]) == (0, 0)
    assert soak_watch.slope([(0, 10), (3, 20), (3, 30), (4, 90)]) == (0, 0)


def test_what_follows_the_work_is_no_growth():
    """The network's file and its curves take memory once, for as long as they take."""
    samples = [(step, 1000 + 2 * step) for step in range(100)]
    for count in (1, 300):
        each, total = soak_watch.slope(samples + [(100, 350_000)] * count)
        assert each == pytest.approx(2) and total == pytest.approx(150 / 1024)


# Holds 60 MB itself and 30 MB in a child, and writes a file every 50 ms.
WORK = """
import subprocess, sys, time
from pathlib import Path
child = "import time; x = bytearray(b'x' * 30_000_000); time.sleep(0.5)"
held = bytearray(b"x" * 60_000_000)
other = subprocess.Popen([sys.executable, "-c", child])
for number in range(20):
    Path(sys.argv[1], str(number)).touch()
    time.sleep(0.05)
other.wait()
print("done")
"""


@pytest.mark.parametrize("kill", [None, Kill(signal.SIGKILL, 5, 0.0)])
def test_a_process_is_watched_and_killed_where_it_was_aimed(tmp_path, kill):
    folder = tmp_path / "files"
    folder.mkdir()
    seen = soak_watch.run(
        [sys.executable, "-c", WORK, str(folder)],
        tmp_path / "log",
        lambda: len(list(folder.iterdir())),
        kill,
    )
    assert seen.before == 0 and seen.orphans == 0
    if kill:
        assert seen.status == -signal.SIGKILL == -seen.sent
        assert 5 <= seen.after < 20 and seen.words == ""
    else:
        assert (seen.status, seen.sent, seen.after) == (0, None, 20)
        assert seen.peak > 90_000 and seen.words == "done\n"


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
