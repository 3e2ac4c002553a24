"""Training and maps under kills at random moments: is anything lost, does memory grow?

    python -m benchmarks.soak --minutes=30

A small network is trained once undisturbed; then again and again, killed by SIGKILL or
SIGTERM and gone on with, until it ends, and the same with its maps. Most kills come
after a random number of new checkpoints or shards, one in eight during the start. Each
start has to say that it goes on from the newest checkpoint on disk, and may make no
shard anew; each end is compared with the undisturbed one, bit by bit. The memory of the
processes with their children is that of those that came to an end, and its growth that
of one longer training and one longer export. One core is enough.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import soak_watch
from benchmarks.soak_watch import Kill, Seen

ROOT = Path(__file__).parent.parent
MODES = ("train", "cam")
_STEPS = 78  # 624 images in batches of 8, as 100 of each of 8 species give
_BOOT = 2.0  # seconds until main.py can be trusted to look after signals
_RESUMED = re.compile(r"resuming after step (\d+) of epoch (\d+), from .*/(\d+)\n")
_MADE = re.compile(r"(\d+) maps of the train split, (\d+) of them made now")


class Soak:
    """What was done to the runs, and what came of it."""

    def __init__(self, folder: Path, seed: int):
        sys.path.insert(0, str(ROOT / "tests"))
        import tiny_birds

        self.folder = folder
        self.random = random.Random(seed)
        self.program = tiny_birds.program()
        self.flags = [*tiny_birds.command_line(folder / "birds"), "--rank=family"]
        self.flags += [
            "--config.data.synthetic.images_per_species=100",
            "--config.data.batch_size=8",
            "--config.train.checkpoint_steps=1",
            "--config.cam.batch_size=2",  # 16 images a shard, 39 shards
        ]
        self.counts = dict.fromkeys(
            ("runs", "SIGKILL", "SIGTERM", "at_start", "at_work", "resumed"), 0
        )
        self.counts |= dict.fromkeys(("lost", "failed", "orphans"), 0)
        self.memory: dict[str, list[int]] = {mode: [] for mode in MODES}  # KiB
        self.startup = {"train": 8.0, "cam": 6.0}  # seconds to the first file
        self.began = time.monotonic()

    def run(self, mode: str, run: Path, *flags: str, kill: Kill | None = None) -> Seen:
        """Starts main.py once, and checks its exit status."""
        command = [sys.executable, "-c", self.program, f"--mode={mode}"]
        split = ["--split=train"] if mode == "cam" else []
        seen = soak_watch.run(
            [*command, f"--workdir={run}", *self.flags, *split, *flags],
            self.folder / "last.log",
            lambda: progress(mode, run),
            kill,
            {**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.counts["orphans"] += seen.orphans
        expected = {0}
        if seen.sent:
            self.counts[seen.sent.name] += 1
            work = kill.files > 0
            self.counts["at_work" if work else "at_start"] += 1
            expected |= {75 if seen.sent == signal.SIGTERM else -signal.SIGKILL}
            if not work and kill.delay < _BOOT:  # Python itself was still starting
                expected.add(-seen.sent)
        if seen.status not in expected:
            self.counts["failed"] += 1
            sys.stderr.write(f"{mode} ended with {seen.status}\n{seen.words[-3000:]}")
        elif seen.status == 0:
            self.memory[mode].append(seen.peak)
        return seen

    def undisturbed(self) -> Path:
        """The run that all others have to equal."""
        whole = self.folder / "whole"
        for mode in MODES:
            if self.run(mode, whole, *epochs(2)).status:
                raise SystemExit(f"the undisturbed {mode} failed")
        return whole

    def disturbed(self, whole: Path, end: float) -> None:
        """One training and one export, killed until they end; then the comparison."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        for mode in MODES:
            while time.monotonic() < end:
                had, where = shards(run), newest(run)
                resume = ["--resume"] if (run / "config.json").exists() else []
                flags = [*epochs(2), *(resume if mode == "train" else [])]
                seen = self.run(mode, run, *flags, kill=self.aim(mode))
                self.counts["lost"] += lost(mode, seen, had, where, shards(run))
                self.counts["resumed"] += bool(seen.before)
                if seen.status == 0:
                    break
            else:
                return  # time is up
        self.counts["runs"] += 1
        self.counts["lost"] += differences(run, whole)
        sys.stderr.write(f"{time.monotonic() - self.began:.0f} s: {self.counts}\n")

    def aim(self, mode: str) -> Kill:
        """When the next process is killed: mostly while there is work to lose."""
        number = self.random.choice([signal.SIGKILL, signal.SIGTERM])
        if self.random.random() < 1 / 8:
            return Kill(number, 0, self.random.uniform(0, self.startup[mode]))
        most = (2 * _STEPS if mode == "train" else 39) // 2
        return Kill(number, self.random.randint(1, most), self.random.uniform(0, 0.2))

    def longer(self, minutes: float) -> dict[str, float]:
        """How memory grows in one longer training and one longer export."""
        count, found = max(3, round(minutes / 3)), {}
        run = self.folder / "long"
        every = {"train": epochs(count), "cam": ["--config.cam.method=scorecam"]}
        units = {"train": 1, "cam": 16}  # a checkpoint is a step, a shard 16 images
        for mode, flags in every.items():
            seen = self.run(mode, run, *flags)
            each, total = soak_watch.slope(seen.samples)
            found[f"{mode}_kib_per_{'step' if mode == 'train' else 'image'}"] = round(
                each / units[mode], 2
            )
            found[f"{mode}_growth_mib"] = round(total, 1)
            found[f"{mode}_counted"] = units[mode] * (seen.after - seen.before)
        return found


def epochs(count: int) -> list[str]:
    """Flags for a training of so many."""
    return [f"--config.train.epochs={count}"]


def progress(mode: str, run: Path) -> int:
    """Number of the newest checkpoint that is whole, or of shards of maps."""
    if mode == "cam":
        return len(shards(run))
    try:
        names = os.listdir(run / "checkpoints")
    except FileNotFoundError:
        return 0
    return max((int(name) for name in names if name.isdigit()), default=0)


def newest(run: Path) -> tuple[int, int, int] | None:
    """Step and epoch (from 1) of the newest checkpoint, and its number."""
    number = progress("train", run)
    if not number:
        return None
    path = run / "checkpoints" / str(number) / "meta" / "metadata"
    meta = json.loads(path.read_text())["meta"]
    return meta["step"], meta["epoch"] + 1, number


def shards(run: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each shard of maps: they change if it was written again."""
    found = {}
    for path in run.glob("maps/*/shard-*.npz"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def lost(
    mode: str,
    seen: Seen,
    had: dict[str, tuple[int, int]],
    where: tuple[int, int, int] | None,
    have: dict[str, tuple[int, int]],
) -> int:
    """How much of the work that was on disk a process did again, or threw away.

    Args:
      mode: train or cam.
      seen: the process.
      had, have: the shards before and after it.
      where: the newest checkpoint before it, see `newest`.
    """
    if mode == "cam":
        again = sum(have.get(name) != file for name, file in had.items())
        said = _MADE.search(seen.words)
        if said and int(said[2]) > int(said[1]) - 16 * len(had):
            again += 1  # it says that it made more than what was missing
        return again
    said = _RESUMED.search(seen.words)
    if where is None or (said is None and seen.status != 0):
        return seen.after < seen.before
    return said is None or tuple(map(int, said.groups())) != where


def differences(one: Path, other: Path) -> int:
    """How many of log, weights and maps of two runs are not the same bits."""
    import keras

    different = (one / "log.csv").read_bytes() != (other / "log.csv").read_bytes()
    models = [
        keras.saving.load_model(path / "model.keras", compile=False).get_weights()
        for path in (one, other)
    ]
    different += sum(not np.array_equal(a, b) for a, b in zip(*models, strict=True))
    folders = [next((path / "maps").iterdir()) for path in (one, other)]
    names = [sorted(p.name for p in folder.glob("shard-*")) for folder in folders]
    different += names[0] != names[1]
    for name in names[1]:
        with np.load(folders[0] / name) as a, np.load(folders[1] / name) as b:
            different += any(a[k].tobytes() != b[k].tobytes() for k in b.files)
    return int(different)


def soak(minutes: float, seed: int, folder: Path) -> dict:
    """Kills for so many minutes, and at least until one run has come to its end.

    What all runs are compared with, and what grows, is made before that.

    Returns:
      Counts of kills, of runs that ended, of differences and of failures; medians of
      the peak memory, MiB, of processes that did their whole work, by mode, with their
      number; and the growth of memory in longer ones.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    this = Soak(folder, seed)
    whole = this.undisturbed()
    growth = this.longer(minutes)
    began = time.monotonic()
    end = began + 60 * minutes
    while time.monotonic() < end or not this.counts["runs"]:
        first = time.monotonic() + 600  # however slow the machine, one run ends
        this.disturbed(whole, end if this.counts["runs"] else max(end, first))
    found = {**this.counts, "minutes": round((time.monotonic() - began) / 60, 1)}
    for mode, kib in this.memory.items():
        found[f"{mode}_peaks_mib"] = [round(one / 1024) for one in kib]
    return {**found, **growth}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = soak(options.minutes, options.seed, Path(place))
    print(json.dumps(found, indent=2))
    sys.exit(bool(found["lost"] or found["failed"] or found["orphans"]))
