"""The pretraining stream: the same batches whoever draws them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hiercam_keras.birds import PretrainStream
from hiercam_keras.birds.workers import OrderedSteps
from hiercam_keras.errors import UserError

ARGS = (5, 6, 64, 4)  # seed, trees, image size, batch size


def _take(count: int, **options) -> list:
    with PretrainStream(*ARGS, **options) as stream:
        return [next(stream) for _ in range(count)]


def _assert_same(first, second) -> None:
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def in_process():
    return _take(4, workers=0)


def test_batches_have_the_promised_shapes_and_labels(in_process):
    stream = PretrainStream(*ARGS, workers=0)
    assert stream.num_values.shape == (6, 4)
    for images, tree_index, labels in in_process:
        assert images.shape == (4, 64, 64, 3) and images.dtype == np.uint8
        assert tree_index.shape == (4,) and tree_index.dtype == np.int32
        assert labels.shape == (4, 4) and labels.dtype == np.int32
        assert (labels >= 0).all()
        assert (labels < stream.num_values[tree_index]).all()
    seen = np.concatenate([batch.images.reshape(4, -1) for batch in in_process])
    assert len(np.unique(seen, axis=0)) == 16


def test_workers_only_share_out_the_steps(in_process):
    _assert_same(_take(4, workers=2), in_process)


def test_stream_goes_on_where_it_stopped(in_process):
    _assert_same(_take(2, workers=0, start_step=2), in_process[2:])


def test_trees_depend_on_the_seed_but_not_on_how_many_there_are():
    few = PretrainStream(5, 3, 64, 4, workers=0).trees
    assert few == PretrainStream(*ARGS, workers=0).trees[:3]
    assert few != PretrainStream(6, 3, 64, 4, workers=0).trees


def test_closing_ends_the_workers_and_the_iteration():
    stream = PretrainStream(*ARGS, workers=1)
    next(stream)
    assert any(p.name == "birds-0" for p in multiprocessing.active_children())
    stream.close()
    stream.close()
    assert not any(p.name == "birds-0" for p in multiprocessing.active_children())
    with pytest.raises(StopIteration):
        next(stream)


def _double_or_fail(step: int, fail_at: int) -> int:
    if step == fail_at:
        raise UserError(f"step {step}: no room on the disk")
    return 2 * step


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_come_in_order_and_end(workers):
    with OrderedSteps(
        _double_or_fail, (-1,), start=3, stop=8, workers=workers
    ) as steps:
        assert list(steps) == [6, 8, 10, 12, 14]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_is_raised_where_it_is_waited_for(workers):
    with OrderedSteps(_double_or_fail, (1,), stop=4, workers=workers) as steps:
        assert next(steps) == 0
        with pytest.raises(UserError, match="step 1: no room"):
            next(steps)


def _end_this_process(step: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return step


def test_a_killed_worker_raises_at_once():
    with (
        OrderedSteps(_end_this_process, (), workers=1) as steps,
        pytest.raises(RuntimeError, match="step 0 has ended"),
    ):
        next(steps)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc (Linux)")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import time, multiprocessing\n"
        "from hiercam_keras.birds import PretrainStream\n"
        "if __name__ == '__main__':\n"
        "    stream = PretrainStream(0, 2, 64, 2, workers=1)\n"
        "    next(stream)\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=environment
    ) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)
