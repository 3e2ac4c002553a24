"""Training, maps and the page in a process that cannot import TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CODE = '''
import resource, sys
from pathlib import Path

class Without:
    """A finder of modules that finds no TensorFlow, as where it is not installed."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *args):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
            return None
        return self.finder.find_spec(name, *args)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
folder, data = map(Path, sys.argv[1:])
from hiercam_keras import runtime
runtime.prepare_process()
import tiny_birds
tiny_birds.register()
config = tiny_birds.make_config(folder, data)
config.data.pipeline = "auto"
config.train.epochs = 1
print(tiny_birds.run("train", config, rank=("order",)))
print(tiny_birds.run("cam", config, rank=("order",)))
assert "tensorflow" not in sys.modules

from hiercam_keras.errors import UserError
def refused(**flags):
    try:
        tiny_birds.run("train", config, rank=("order",), **flags)
    except UserError as error:
        print("refused:", error)
refused(fields={"data.pipeline": "tfdata", "seed": 1})
# As if the disk were full: no file may grow beyond 30 kB.
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
refused(fields={"seed": 2})
'''


@pytest.fixture(scope="module")
def blocked(tmp_path_factory, trained, birds):
    folder = tmp_path_factory.mktemp("blocked")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), str(birds)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done, folder / "runs" / "mini" / "order"


def test_it_trains_and_explains(blocked):
    done, runs = blocked
    assert (runs / "seed0" / "model.keras").is_file()
    assert "9 maps of the test split, 9 of them made now" in done.stdout
    assert len(list(runs.glob("seed0/maps/*/shard-*.npz"))) == 1
    assert "TensorFlow cannot be imported: images are read with Pillow" in done.stderr


def test_asking_for_tfdata_is_a_clear_error(blocked):
    done, _ = blocked
    assert "refused: data.pipeline=tfdata needs TensorFlow" in done.stdout
    assert "--config.data.pipeline=arrays" in done.stdout


def test_a_full_disk_leaves_nothing_that_is_taken_for_a_run(blocked):
    done, runs = blocked
    line = done.stdout.splitlines()[-1]
    assert line.startswith("refused: ") and "File too large" in line
    assert str(runs / "seed2") in line and "--workdir" in line
    written = [one.name for one in (runs / "seed2").rglob("*") if one.is_file()]
    assert "model.keras" not in written
    assert not [name for name in written if name.startswith(".")]
    assert not [name for name in written if name.endswith(".keras")]
