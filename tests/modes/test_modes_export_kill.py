"""An export that is killed by SIGKILL, restarted, and ends as if nothing had been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras.cam import store

ROOT = Path(__file__).parent.parent.parent
SPECIES = (
    "00001_Animalia_Chordata_Aves_Anseriformes_Anatidae_Cygnus_olor",
    "00002_Animalia_Chordata_Aves_Anseriformes_Anatidae_Anser_anser",
    "00003_Animalia_Chordata_Aves_Piciformes_Picidae_Picus_viridis",
    "00004_Animalia_Chordata_Aves_Piciformes_Picidae_Jynx_torquilla",
)
SIZE = 32
# argv: run folder, split, batch size, method, and the shard to kill at (or -1).
CODE = """
import os, signal, sys
folder, split, batch, method, fatal = sys.argv[1:]
import tiny_birds
tiny_birds.register()
from pathlib import Path
config = tiny_birds.make_config(Path(folder), Path(folder))
rename, seen = os.replace, []
def replace(source, target):
    if Path(target).name.startswith("shard-"):
        seen.append(target)
        if len(seen) == int(fatal):
            os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
fields = {
    "cam.batch_size": int(batch), "cam.method": method, "cam.num_overlays": 0
}
flags = {"workdir": folder, "split": split}
print(tiny_birds.run("cam", config, rank=("species",), fields=fields, **flags))
"""


def start(run: Path, split: str, batch: int, method: str, fatal: int = -1):
    """An export in a process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(run), split, str(batch), method, str(fatal)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def finish(process) -> str:
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    return said


def shards(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """All arrays of all shards of a store."""
    found = {}
    for path in sorted(folder.glob("shard-*.npz")):
        with np.load(path, allow_pickle=False) as shard:
            found[path.name] = {name: shard[name] for name in shard.files}
    return found


def assert_identical(one: Path, other: Path) -> None:
    """The same files, and in the shards the same bits."""
    assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}
    left, right = shards(one), shards(other)
    assert left and left.keys() == right.keys()
    for name, arrays in left.items():
        assert arrays.keys() == right[name].keys()
        for field, array in arrays.items():
            again = right[name][field]
            assert (array.dtype, array.shape) == (again.dtype, again.shape)
            assert array.tobytes() == again.tobytes(), (name, field)


def test_killed_before_a_rename(trained):
    """The worst moment: the shard's content is there, its name is not yet."""
    run = trained.path("species")
    before = set((run / "maps").glob("*"))
    asked = run, "train", 4, "xgradcam"  # a store that no other test makes
    killed = start(*asked, fatal=2)
    killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL
    (folder,) = set((run / "maps").glob("*")) - before
    assert [one.name for one in folder.glob("shard-*")] == ["shard-00000.npz"]
    (leftover,) = folder.glob(".shard-00001.*.tmp*")
    assert not store.open(folder).complete

    said = finish(start(*asked))
    num_images = len((run / "split" / "train.txt").read_text().splitlines())
    told = f"{num_images} maps of the train split, {num_images - 32} of them made now"
    assert said.startswith(told)
    assert store.open(folder).complete and not leftover.exists()

    interrupted = folder.rename(run / "interrupted")
    fields = {"cam.batch_size": 4, "cam.method": "xgradcam", "cam.num_overlays": 0}
    flags = {"workdir": str(run), "split": "train", "fields": fields}
    tiny_birds.run("cam", trained.config, rank=("species",), **flags)
    assert_identical(folder, interrupted)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A run with over 2,000 test pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for name in SPECIES:
        (folder / "birds" / name).mkdir(parents=True)
        for number in range(520):
            pixels = rng.integers(0, 256, (SIZE, SIZE + 4, 3), dtype=np.uint8)
            path = folder / "birds" / name / f"{number}.png"
            Image.fromarray(pixels).save(path)
    config = tiny_birds.make_config(folder, folder / "none")
    config.data.update({"source": "image_folder", "root": "", "image_size": SIZE})
    config.data.fractions = (0.02, 0.01, 0.97)
    config.train.epochs = 1
    run = folder / "run"
    flags = {"data_dir": str(folder / "birds"), "workdir": str(run)}
    tiny_birds.run("train", config, rank=("species",), **flags)
    return run


def watch(process, run: Path, until: int, rng) -> list[tuple[int, int]]:
    """(shards on disk, resident kB) while it runs, until it ends or has so many."""
    seen, status = [], Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        count = len(list(run.glob("maps/*/shard-*.npz")))
        if status.exists():
            words = status.read_text().partition("VmRSS:")[2].split()
            seen += [(count, int(words[0]))] if words else []
        if count >= until:
            time.sleep(rng.uniform(0, 0.05))
            break
        time.sleep(0.003)
    return seen


@pytest.mark.slow  # five processes and a training
def test_killed_three_times_at_random_moments(many):
    rng = np.random.default_rng(2)
    asked = many, "test", 8, "gradcam"
    process = start(*asked)
    memory = watch(process, many, 10**6, rng)
    said = finish(process)
    (folder,) = (many / "maps").iterdir()
    total = len(shards(folder))
    assert f"{len(store.open(folder))} of them made now" in said
    undisturbed = folder.rename(many / "undisturbed")
    assert len(store.open(undisturbed)) > 2000

    for _ in range(3):
        until = len(list(folder.glob("shard-*"))) + int(rng.integers(1, 8))
        process = start(*asked)
        watch(process, many, until, rng)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        done = store.open(folder)
        assert len(done) > 0 and not done.complete
    finish(start(*asked))
    assert store.open(folder).complete
    assert_identical(folder, undisturbed)

    first = [kb for count, kb in memory if 1 <= count <= 8]
    last = [kb for count, kb in memory if count >= total - 8]
    growth = (np.median(last) - np.median(first)) / 1024
    assert growth < 40, f"{growth:.0f} MiB more over {total} shards"
