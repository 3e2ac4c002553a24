"""Training and maps under kills at random moments: is anything lost, does memory grow?

    python -m benchmarks.soak --minutes=30

A small network is trained once undisturbed; then again and again, killed by SIGKILL or
SIGTERM at random moments and gone on with, until it ends, and the same with its maps.
Each time the end is compared with the undisturbed one, bit by bit. Resident memory is
read from /proc while the processes run. One core is enough.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
_CHECK = "--config.train.checkpoint_steps=1"


class Soak:
    """What was done to the runs, and what came of it."""

    def __init__(self, folder: Path, seed: int):
        sys.path.insert(0, str(ROOT / "tests"))
        import tiny_birds

        self.folder = folder
        self.random = random.Random(seed)
        self.program = tiny_birds.program()
        self.flags = [*tiny_birds.command_line(folder / "birds"), "--rank=family"]
        self.flags += [_CHECK, "--config.train.epochs=8"]
        self.counts = {"runs": 0, "SIGKILL": 0, "SIGTERM": 0, "lost": 0, "failed": 0}
        self.memory: list[tuple[float, int]] = []  # seconds, peak KiB of a process
        self.seconds = {"train": 20.0, "cam": 10.0}  # of the undisturbed run
        self.began = time.monotonic()

    def run(self, mode: str, run: Path, *flags: str, kill_after: float | None = None):
        """Starts main.py once; returns its exit status, negative for a signal."""
        command = [sys.executable, "-c", self.program, f"--mode={mode}"]
        split = ["--split=train"] if mode == "cam" else []
        log = self.folder / "last.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, f"--workdir={run}", *self.flags, *split, *flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            began, peak, sent = time.monotonic(), 0, None
            while process.poll() is None:
                peak = max(peak, _resident(process.pid))
                late = kill_after is not None and time.monotonic() - began > kill_after
                if late and sent is None:
                    sent = self.random.choice([signal.SIGKILL, signal.SIGTERM])
                    process.send_signal(sent)
                    self.counts[sent.name] += 1
                time.sleep(0.05)
        self.memory.append((time.monotonic() - self.began, peak))
        status = process.returncode
        expected = {0} | ({75, -signal.SIGKILL, -signal.SIGTERM} if sent else set())
        if status not in expected:
            self.counts["failed"] += 1
            sys.stderr.write(log.read_text(errors="replace")[-3000:])
        return status

    def undisturbed(self) -> Path:
        """The run that all others have to equal."""
        whole = self.folder / "whole"
        for mode in ("train", "cam"):
            began = time.monotonic()
            if self.run(mode, whole) != 0:
                raise SystemExit(f"the undisturbed {mode} failed")
            self.seconds[mode] = time.monotonic() - began
        return whole

    def disturbed(self, whole: Path, end: float) -> None:
        """One training and one export, killed until they end; then the comparison."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        for mode in ("train", "cam"):
            longest = 1.3 * self.seconds[mode]
            while time.monotonic() < end:
                begun = mode == "train" and (run / "config.json").exists()
                after = self.random.uniform(0.1 * self.seconds[mode], longest)
                longest *= 1.2  # a busy machine may be slower than it was
                resume = ["--resume"] if begun else []
                began = time.monotonic()
                if self.run(mode, run, *resume, kill_after=after) == 0:
                    took = time.monotonic() - began
                    self.seconds[mode] = min(self.seconds[mode], max(took, 5.0))
                    break
            else:
                return  # time is up
        self.counts["runs"] += 1
        self.counts["lost"] += differences(run, whole)
        sys.stderr.write(f"{time.monotonic() - self.began:.0f} s: {self.counts}\n")


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


def _resident(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    words = text.partition("VmRSS:")[2].split()
    return int(words[0]) if words else 0


def soak(minutes: float, seed: int, folder: Path) -> dict:
    """Runs until the time is up, and at least one run to its end.

    Returns:
      Counts of kills, of runs that ended, of differences and of failures; medians of
      the peak memory of processes in the first and the last third, MiB.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    this = Soak(folder, seed)
    whole = this.undisturbed()
    end = this.began + 60 * minutes
    while time.monotonic() < end or not this.counts["runs"]:
        first = time.monotonic() + 600  # however slow the machine, one run ends
        this.disturbed(whole, end if this.counts["runs"] else max(end, first))
    peaks = [kib / 1024 for _, kib in this.memory]
    third = max(1, len(peaks) // 3)
    return {
        **this.counts,
        "minutes": round((time.monotonic() - this.began) / 60, 1),
        "first_third_mib": round(float(np.median(peaks[:third]))),
        "last_third_mib": round(float(np.median(peaks[-third:]))),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = soak(options.minutes, options.seed, Path(place))
    print(json.dumps(found, indent=2))
    sys.exit(bool(found["lost"] or found["failed"]))
