"""Ctrl-C at random moments: does each mode stop in order, and is anything lost?

    python -m benchmarks.interrupts --count=200
    python -m benchmarks.interrupts --export --count=40

main.py trains, evaluates, explains, compares and writes a guide on eighty drawn birds
with a network of three convolutions; eval reads the images with tf.data, the others
with threads. Each process is a process group of its own, as in
a terminal, and the whole group gets one SIGINT at a random moment after main.py has
taken over the signals. It has to end with status 130 and one line, "stopped: ..". The
same command is then started again, and interrupted again, until one start comes to its
end before its signal; what it leaves is compared with an undisturbed run: log, weights
and maps bit by bit, tables byte by byte.

With --export it is `--mode=export` alone, stopped by SIGINT and SIGKILL in turn, with
weights of float32 and of float16 in turn in one folder. After each stop the folder has
to be there as a whole, with the file that its model card names, or not at all.

The time until main.py has taken over the signals is measured from outside: the bits of
/proc/<pid>/status that say which signals a process blocks and handles. Linux only.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import soak

ROOT = Path(__file__).parent.parent
MODES = ("train", "eval", "cam", "compare", "guide")
EXPORTED = ("model.onnx", "taxonomy.json", "card.json", "README.md", "example.py")
_TIMEOUT = 300  # seconds until a process that does not stop counts as hanging
_RESULTS = {".csv", ".npz", ".keras", ".txt"}
_TRAINING = {
    "data.synthetic.orders": 2,
    "data.synthetic.families": 2,
    "data.synthetic.genera": 1,
    "data.synthetic.species": 2,
    "data.synthetic.images_per_species": 10,
    "data.synthetic.image_size": "(64,72)",
    "data.image_size": 48,
    "data.batch_size": 8,
    "data.pipeline": "arrays",
    "data.workers": 2,
    "model.backbone": "benchmarks.interrupts:network",
    "model.weights": "none",
    "model.output_stride": 32,
    "train.epochs": 3,
    "train.checkpoint_steps": 3,
    "cam.batch_size": 2,  # 16 maps a shard
    "cam.num_overlays": 2,
    "faithfulness.steps": 3,
    "coherence.faithfulness_images": 1,
}
_COMPARING = {
    "compare.num_images": 4,
    "compare.num_extreme": 2,
    "compare.faithfulness_images": 4,
}


def network(image_size: int) -> Any:
    """Three convolutions, for `config.model.backbone`."""
    import keras

    x = image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for filters in (8, 12, 16):
        x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Activation("relu")(x)
    return keras.Model(image, x)


@dataclass
class Ended:
    """One process: exit status, seconds until it guarded itself and from the signal to
    the end (None: it ended before its signal), and what it wrote."""

    status: int
    guarded: float
    stopping: float | None
    said: str
    told: str

    def is_noisy(self) -> bool:
        """Whether it wrote more than what an interrupted process should."""
        last = (self.told.splitlines() or [""])[-1]
        strange = re.search(r"Traceback|Error|Exception|Fatal", self.told)
        return bool(self.said or strange) or not last.startswith("stopped: Ctrl-C")


@dataclass
class Found:
    """Of one mode: interrupts, starts that came to their end, and what went wrong."""

    interrupts: int = 0
    ended: int = 0
    wrong_status: int = 0
    noise: int = 0  # tracebacks, or more than our own lines
    lost: int = 0
    guarded: list[float] = field(default_factory=list)
    stopping: list[float] = field(default_factory=list)


def start(
    command: list[str],
    delay: float | None,
    env: dict[str, str],
    number: signal.Signals = signal.SIGINT,
) -> Ended:
    """Runs main.py, with one signal `delay` seconds after it guards itself."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as told:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdout=said, stderr=told, env=env, start_new_session=True
        )
        while process.poll() is None and not is_guarded(process.pid):
            time.sleep(0.0005)
        guarded = time.monotonic() - began
        sent = None
        try:
            process.wait(_TIMEOUT if delay is None else delay)
        except subprocess.TimeoutExpired:
            sent = time.monotonic()
            os.killpg(process.pid, number)
        try:
            process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        stopping = None if sent is None else time.monotonic() - sent
        for file in (said, told):
            file.seek(0)
        return Ended(process.returncode, guarded, stopping, said.read(), told.read())


def is_guarded(pid: int) -> bool:
    """Whether SIGINT is blocked, or SIGTERM handled: Python does neither by itself."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    masks = {
        name: int(bits, 16) for name, bits in re.findall(r"Sig(\w+):\s(\w+)", text)
    }
    if not masks:  # it has ended
        return False
    blocked = masks["Blk"] >> (signal.SIGINT - 1) & 1
    return bool(blocked or masks["Cgt"] >> (signal.SIGTERM - 1) & 1)


class Interrupts:
    """All modes, each in a folder of its own below `folder`."""

    def __init__(self, folder: Path, seed: int, python: str = sys.executable):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # not to be inherited
        self.folder, self.random, self.python = folder, random.Random(seed), python
        self.env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        self.found = {mode: Found() for mode in MODES}
        self.seconds: dict[str, float] = {}

    def command(self, mode: str, place: Path) -> list[str]:
        """The command of a mode, or of "species", the other training of compare.

        Args:
          mode: one of MODES, or species.
          place: folder of all that it reads and writes.
        """
        fields: dict[str, Any] = {}
        flags: dict[str, Any] = {"mode": mode, "workdir": place / "family"}
        if mode in ("train", "species"):
            rank = {"train": "family"}.get(mode, mode)
            fields = {**_TRAINING, "data.root": self.folder / "birds"}
            flags = {"mode": "train", "rank": rank, "workdir": place / rank}
        elif mode == "compare":
            del flags["workdir"]
            flags["runs"] = f"{place / 'family'},{place / 'species'}"
            fields = _COMPARING
        elif mode == "cam":
            flags["split"] = "train"
        elif mode == "eval":
            fields["data.pipeline"] = "tfdata"
        if mode in ("eval", "compare", "guide"):
            flags["out"] = place / mode
        command = [self.python, str(ROOT / "main.py")]
        command += [f"--{name}={value}" for name, value in flags.items()]
        command += [f"--config.{name}={value}" for name, value in fields.items()]
        return command + (["--resume"] if flags["mode"] == "train" else [])

    def undisturbed(self) -> None:
        """The runs that all others have to equal, and how long each mode takes."""
        whole = self.folder / "whole"
        for mode in ("species", *MODES):
            place = whole / mode
            if mode in MODES[1:]:
                self._copy_runs(place)
            began = time.monotonic()
            ended = start(self.command(mode, place), None, self.env)
            self.seconds[mode] = time.monotonic() - began
            if ended.status:
                raise SystemExit(f"the undisturbed {mode} failed\n{ended.told}")

    def _copy_runs(self, place: Path) -> None:
        """The two trained runs, without their checkpoints, in a new folder."""
        place.mkdir(parents=True)
        for mode, rank in (("train", "family"), ("species", "species")):
            ignore = shutil.ignore_patterns("checkpoints")
            source = self.folder / "whole" / mode / rank
            shutil.copytree(source, place / rank, ignore=ignore)

    def once(self, mode: str) -> bool:
        """Starts a mode with a signal on its way.

        Returns:
          Whether the signal came before its end.
        """
        found, place = self.found[mode], self.folder / "part" / mode
        if not place.exists() and mode != "train":
            self._copy_runs(place)
        had = _kept(mode, place)
        delay = self.random.uniform(0, self.seconds[mode])
        ended = start(self.command(mode, place), delay, self.env)
        found.guarded.append(ended.guarded)
        if ended.stopping is None or ended.status == 0:
            self._whole(mode, ended)
            return False
        found.interrupts += 1
        found.stopping.append(ended.stopping)
        found.lost += not _keeps(mode, place, had)
        found.noise += ended.is_noisy()
        found.wrong_status += ended.status != 130
        if ended.is_noisy() or ended.status != 130:
            _tell(mode, ended)
        return True

    def _whole(self, mode: str, ended: Ended) -> None:
        """A start that came to its end: the result is that of an undisturbed run."""
        found, place = self.found[mode], self.folder / "part" / mode
        found.ended += 1
        if ended.status != 0:
            found.wrong_status += 1
            _tell(mode, ended)
        elif different := compared(self.folder / "whole" / mode, place):
            found.lost += 1
            sys.stderr.write(f"--- {mode}: other than undisturbed: {different}\n")
        shutil.rmtree(place)

    def run(self, count: int, note: Callable[[dict], None] | None = None) -> None:
        """Interrupts the modes in turn; in the end each comes to its end once."""
        number = 0
        while number < count:
            number += self.once(MODES[number % len(MODES)])
            if note:
                note(self.report())
        for mode in MODES:
            place = self.folder / "part" / mode
            if place.exists():
                self._whole(mode, start(self.command(mode, place), None, self.env))

    def report(self) -> dict[str, Any]:
        """The figures, by mode and over all of them."""
        every = list(self.found.values())
        names = ("interrupts", "ended", "wrong_status", "noise", "lost")
        table = {
            mode: {name: getattr(one, name) for name in names}
            for mode, one in self.found.items()
        }
        table["all"] = {
            name: sum(getattr(one, name) for one in every) for name in names
        }
        for name in ("guarded", "stopping"):
            values = sorted(value for one in every for value in getattr(one, name))
            if values:
                table[f"seconds_{name}"] = {
                    "count": len(values),
                    "median": round(statistics.median(values), 3),
                    "p95": round(values[int(0.95 * (len(values) - 1))], 3),
                    "max": round(values[-1], 3),
                }
        return table


def _kept(mode: str, place: Path) -> Any:
    """What no later start may make again: the newest checkpoint, or the shards."""
    if mode == "train":
        return soak.newest(place / "family")
    return {str(path): path.stat().st_ino for path in place.rglob("maps/*/shard-*")}


def _keeps(mode: str, place: Path, had: Any) -> bool:
    now = _kept(mode, place)
    if mode == "train":
        return had is None or (now is not None and now[2] >= had[2])
    return had.items() <= now.items()


def _tell(mode: str, ended: Ended) -> None:
    sys.stderr.write(f"--- {mode} {ended.status}\n{ended.said}{ended.told}---\n")


def compared(whole: Path, other: Path) -> list[str]:
    """Names of the results in `whole` that `other` lacks, or has otherwise."""
    names = []
    for path in sorted(whole.rglob("*")):
        name = path.relative_to(whole)
        if path.suffix not in _RESULTS or "checkpoints" in name.parts:
            continue
        twin = other / name
        same = twin.is_file() and (
            _without(path, whole) == _without(twin, other) or _same_arrays(path, twin)
        )
        names += [] if same else [str(name)]
    return names


def _without(path: Path, place: Path) -> bytes:
    """The bytes of a file without the name of the folder that it is in."""
    return path.read_bytes().replace(str(place).encode(), b"")


def _same_arrays(one: Path, other: Path) -> bool:
    """Whether two files of arrays, or models, hold the same bits."""
    if one.suffix == ".keras":
        os.environ.setdefault("KERAS_BACKEND", "jax")
        import keras

        models = [keras.saving.load_model(path, compile=False) for path in (one, other)]
        arrays = [model.get_weights() for model in models]
        return all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))
    if one.suffix != ".npz":
        return False
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(
            a[name].tobytes() == b[name].tobytes() for name in a.files
        )


def interrupts(
    count: int, seed: int, folder: Path, note: Callable[[dict], None] | None = None
) -> dict[str, Any]:
    """Interrupts main.py so many times.

    Args:
      count: of interrupts, over all modes.
      seed: of the moments.
      folder: empty, for the runs.
      note: called with the report after each start.

    Returns:
      See `Interrupts.report`.
    """
    this = Interrupts(folder, seed)
    this.undisturbed()
    this.run(count, note)
    return this.report()


def exported(folder: Path) -> str | None:
    """The dtype of the weights of a whole export; None if the folder is not there.

    Raises:
      AssertionError: the folder is there and not whole.
    """
    if not folder.exists():
        return None
    names = {path.name for path in folder.iterdir()}
    assert names == set(EXPORTED), f"found {sorted(names)}"
    card = json.loads((folder / "card.json").read_text())
    about = json.loads((folder / "taxonomy.json").read_text())
    data = (folder / "model.onnx").read_bytes()
    assert card["files"]["model.onnx"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert card["network"]["weights_dtype"] == about["weights_dtype"]
    assert (folder / "README.md").read_text().startswith("# ")
    return about["weights_dtype"]


def export_interrupts(
    count: int, seed: int, run: Path, out: Path, seconds: float | None = None
) -> dict[str, Any]:
    """Stops --mode=export so many times, by SIGINT and SIGKILL in turn.

    Args:
      count: of stops.
      seed: of the moments.
      run: folder of a finished run.
      out: folder of the export; need not exist.
      seconds: within which the signals come; None for those of a whole export, which
        then comes first.

    Returns:
      Counts: `stopped`, `ended` (before the signal), `wrong_status`, `noise`, `half`
      (folders that are not whole), `left` (hidden folders after an export that ended).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not to be inherited
    moments = random.Random(seed)
    names = ("stopped", "ended", "wrong_status", "noise", "half", "left")
    found, starts = dict.fromkeys(names, 0), 0

    def command(dtype: str) -> list[str]:
        flags = {"workdir": run, "out": out, "weights_dtype": dtype}
        options = [f"--{name}={value}" for name, value in flags.items()]
        return [sys.executable, str(ROOT / "main.py"), "--mode=export", *options]

    if seconds is None:
        began = time.monotonic()
        whole = start(command("float16"), None, {**os.environ})
        seconds = time.monotonic() - began
        if whole.status:
            raise SystemExit(f"the undisturbed export failed\n{whole.told}")
    while found["stopped"] < count:
        number = (signal.SIGINT, signal.SIGKILL)[starts % 2]
        dtype = ("float32", "float16")[starts // 2 % 2]
        starts += 1
        moment = moments.uniform(0, seconds)
        ended = start(command(dtype), moment, {**os.environ}, number)
        stopped = ended.stopping is not None and ended.status != 0
        found["stopped" if stopped else "ended"] += 1
        wanted = 0 if not stopped else 130 if number == signal.SIGINT else -number
        noisy = wanted == 130 and ended.is_noisy()
        found["wrong_status"] += ended.status != wanted
        found["noise"] += noisy
        if ended.status != wanted or noisy:
            _tell("export", ended)
        try:
            now = exported(out)
            assert stopped or now == dtype, f"{dtype} weights ended as {now}"
        except (AssertionError, KeyError, OSError, ValueError) as error:
            sys.stderr.write(f"--- export after {number.name}: {error!r}\n")
            found["half"] += 1
        if not stopped:
            left = [path for path in out.parent.iterdir() if path.suffix == ".tmp"]
            found["left"] += len(left)
    return found


def _only_export(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """`export_interrupts` of a network that is trained before, in an empty folder."""
    this = Interrupts(folder, seed)
    trained = start(this.command("train", folder / "whole"), None, this.env)
    if trained.status:
        raise SystemExit(f"the training failed\n{trained.told}")
    run, out = folder / "whole" / "family", folder / "onnx"
    return export_interrupts(count, seed, run, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", action="store_true", help="--mode=export alone")
    parser.add_argument(
        "--report", type=Path, help="file that holds the figures so far"
    )
    options = parser.parse_args()

    def note(report: dict[str, Any]) -> None:
        if options.report:
            options.report.write_text(json.dumps(report, indent=2))

    if options.export:
        with tempfile.TemporaryDirectory() as place:
            found = _only_export(options.count, options.seed, Path(place))
        print(json.dumps(found, indent=2))
        bad = ("wrong_status", "noise", "half", "left")
        sys.exit(any(found[name] for name in bad))
    with tempfile.TemporaryDirectory() as place:
        found = interrupts(options.count, options.seed, Path(place), note)
    print(json.dumps(found, indent=2))
    total = found["all"]
    sys.exit(bool(total["wrong_status"] or total["noise"] or total["lost"]))
