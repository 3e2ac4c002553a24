"""The command line: help, one clear line for what is wrong, and no chatter."""

import importlib.metadata
import os
import pathlib
import platform
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import runtime
from hiercam_keras.modes.usage import MODES

ROOT = pathlib.Path(__file__).parent.parent
HEAVY = ("keras", "jax", "tensorflow", "matplotlib", "scipy", "PIL")
CLASSES = (
    "00001_Animalia_Chordata_Aves_Anseriformes_Anatidae_Cygnus_olor",
    "00042_Animalia_Chordata_Aves_Piciformes_Picidae_Picus_viridis",
)
# Runs main.py in a process that tells at its end which heavy modules it imported.
TELLING = f"""
import atexit, runpy, sys
atexit.register(lambda: print("IMPORTED", [n for n in {HEAVY} if n in sys.modules]))
sys.argv[0] = {str(ROOT / "main.py")!r}
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment(home: pathlib.Path) -> dict[str, str]:
    """Of somebody who has set nothing of what the tests set."""
    ours = ("KERAS_BACKEND", "TF_", "MPLBACKEND", "XLA_", "HIERCAM_", "PYTHON", "XDG_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {**clean, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}


@pytest.fixture
def main(tmp_path):
    """Runs main.py in an empty folder."""

    def main(*args, telling=False):
        start = ["-c", TELLING] if telling else [str(ROOT / "main.py")]
        return subprocess.run(
            [sys.executable, *start, *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(tmp_path),
        )

    return main


def error_line(done: subprocess.CompletedProcess) -> str:
    """The error, after checking that it is all that was said."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


@pytest.fixture
def folder(tmp_path):
    """A data_dir of two species with two images each."""
    for k, name in enumerate(CLASSES):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.random.default_rng([k, i]).integers(0, 255, (40, 50, 3))
            path = tmp_path / "birds" / name / f"{i}.jpg"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "birds"


def seconds_of_children() -> float:
    """CPU time, which the load of the machine does not stretch."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("flag", ["--help", "-h", "--mode=tarin", "--no_such_flag=1"])
def test_help_and_wrong_flags_answer_at_once(main, flag):
    before = seconds_of_children()
    done = main(flag, telling=True)
    assert seconds_of_children() - before < 5
    assert "Traceback" not in done.stderr
    assert done.stdout.endswith("IMPORTED []\n")


def test_version_prints_what_a_bug_report_needs_and_imports_nothing(main):
    done = main("--version", telling=True)
    assert done.returncode == 0 and done.stderr == ""
    *lines, imported = done.stdout.splitlines()
    assert imported == "IMPORTED []"
    found = dict(line.split(" ", 1) for line in lines)
    assert found == runtime.versions()
    assert found["python"] == platform.python_version()
    for name in ("jax", "keras", "numpy", "scipy"):
        assert found[name] == importlib.metadata.version(name)
    assert {"platform", "hiercam_keras", "jaxlib", "orbax-checkpoint"} <= found.keys()


def test_help_lists_every_flag_and_how_to_begin(main):
    done = main("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "python main.py --mode=train --rank=family" in done.stdout
    defined = re.findall(
        r"DEFINE_\w+\(\s*\"(\w+)\"", (ROOT / "hiercam_keras" / "cli.py").read_text()
    )
    assert {"config", "mode", "rank", "ranks", "workdir", "multihost"} <= set(defined)
    for flag in defined:
        assert f"--{flag}:" in done.stdout or f"--[no]{flag}:" in done.stdout
    words = "".join(done.stdout.split())  # a list of modes may fill two lines
    assert f"<{'|'.join(MODES)}>" in words


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--mode=tarin"], ["tarin", "train", "eval", "compare"]),
        (["--rnk=family"], ["rnk", "--help"]),
        (["--config.train.epochz=3"], ["epochz", "configs/default.py"]),
        (["--config.trian.epochs=3"], ["trian"]),
        (["--config.train.epochs=many"], ["epochs", "many"]),
        (["--config=no_such_file.py"], ["no_such_file.py"]),
        (["--config=broken.py"], ["broken.py"]),
        (["--top_k=0"], ["top_k"]),
        (["--split=all"], ["split", "train|val|test"]),
        (["--rank="], ["--rank is empty"]),
        (["--mode=eval", "--top_k=3"], ["--top_k has no effect", "predict"]),
        (["--mode=prepare", "--config.train.epochs=1"], ["train.epochs has no effect"]),
        (["train"], ["'train' is no flag", "--mode=train"]),
    ],
)
def test_a_wrong_command_is_one_line(main, tmp_path, args, words):
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    line = error_line(main(*args))
    for word in words:
        assert word in line


def test_a_missing_data_dir(main, tmp_path):
    """The folder that was searched is named, for who thinks to be in another one."""
    line = error_line(main("--mode=prepare", "--data_dir=nowhere"))
    assert f"--data_dir nowhere (in {tmp_path}) does not exist" in line


def test_missing_detections(main, folder):
    """The path in full, as for images."""
    line = error_line(main("--mode=prepare", f"--data_dir={folder}", "--detections=no"))
    assert f"{folder.parent / 'no'} does not exist: expected MegaDetector JSON" in line


def test_missing_runs_name_the_folder_that_was_searched(main, tmp_path):
    line = error_line(main("--mode=eval"))
    assert f"under runs (in {tmp_path})" in line


def test_an_empty_data_dir(main, tmp_path):
    (tmp_path / "empty").mkdir()
    line = error_line(main("--mode=prepare", "--data_dir=empty"))
    assert "no images in empty" in line and "03113_Animalia" in line


def test_folder_names_of_the_wrong_form(main, folder):
    (folder / CLASSES[0]).rename(folder / "Cygnus olor")
    line = error_line(main("--mode=prepare", f"--data_dir={folder}"))
    assert "Cygnus olor" in line


def test_prepare_has_no_chatter_and_needs_no_network(main, folder, tmp_path):
    (folder / CLASSES[1] / "bad.jpg").write_bytes(b"")
    done = main("--mode=prepare", f"--data_dir={folder}", telling=True)
    assert done.returncode == 0, done.stderr
    assert "5 image files: 4 fine as they are" in done.stdout
    assert f"Left out {CLASSES[1]}/bad.jpg" in done.stdout
    assert "2 at order, 2 at family, 2 at genus, 2 at species" in done.stdout
    assert "keras" not in done.stdout.splitlines()[-1]
    for line in done.stderr.splitlines():
        assert re.match(r"Scanning 5|warning: 1 of 5 image files are left out", line), (
            line
        )
    # What was learned lies in the cache, and nothing beside the images.
    assert {one.name for one in tmp_path.iterdir()} == {"birds", "cache"}
    assert sorted(one.name for one in folder.iterdir()) == sorted(CLASSES)


OURS = re.compile(
    r"Drawing procedural birds|Drew \d+|Scanning \d+ image files|\d+ of \d+ species"
    r"|network tiny at|training tiny on|each epoch leaves out|epoch \d+/\d+: "
    r"|kept epoch|\d+ val images are too few|resuming after"
    r"|\d+ devices share each batch"
    r"|.*boxes.csv: \d+ boxes are read as"
    r"|(prepare|maps|overlays|eval \w+): \d+/\d+, "
)


def test_a_training_says_only_what_is_ours(tmp_path):
    """With TensorFlow reading the images, where it is installed."""
    config = tiny_birds.make_config(pathlib.Path("."), tmp_path / "data" / "birds")
    tiny = [
        f"--config.data.synthetic.{name}={value}"
        for name, value in config.data.synthetic.items()
        if name in ("orders", "families", "genera", "species", "images_per_species")
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            tiny_birds.program(),
            "--mode=train",
            "--rank=order",
            *tiny,
            "--config.data.synthetic.image_size=(64,72)",
            "--config.data.image_size=32",
            "--config.model.backbone=tiny",
            "--config.model.weights=none",
            "--config.model.output_stride=32",
            "--config.train.epochs=1",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wrote runs/synthetic_birds/order/seed0/model.keras")
    assert "the last of 1 epoch was kept: accuracy" in done.stdout
    first, *others = done.stderr.splitlines()
    assert first == (
        "network tiny at 32 px, output stride 32, from weights 'none'; 1 epoch"
    )
    (line,) = [one for one in others if one.startswith("training tiny")]
    assert re.search(r"\d taxa at order \(\d+ (to \d+ )?images of each", line)
    strange = [line for line in done.stderr.splitlines() if not OURS.match(line)]
    assert strange == []


def test_an_interrupt_says_how_to_go_on(tmp_path):
    code = TELLING.replace(
        "runpy.run_path",
        "import hiercam_keras.modes.prepare as mode\n"
        "def interrupted(settings): raise KeyboardInterrupt\n"
        "mode.run = interrupted\nrunpy.run_path",
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--mode=prepare"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    assert (done.returncode, done.stderr) == (
        130,
        "stopped: Ctrl-C. The index keeps what was read: run the same command again.\n",
    )


@pytest.mark.slow
def test_the_default_backbone_goes_all_the_way(tmp_path):
    """EfficientNetB0 with its fast layers: train, resume when finished, eval, cam."""
    small = [
        f"--config.data.synthetic.{name}=2"
        for name in ("orders", "families", "genera", "species")
    ]
    small += [
        "--config.data.synthetic.images_per_species=6",
        "--config.data.synthetic.image_size=(64,72)",
        "--config.data.image_size=64",
        "--config.data.batch_size=16",
        "--config.model.weights=none",
        "--config.train.epochs=1",
        "--rank=order",
    ]

    def main(*args):
        done = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(tmp_path),
        )
        assert done.returncode == 0, done.stderr
        names = OURS.pattern.replace("tiny", "efficientnet_b0")
        strange = [one for one in done.stderr.splitlines() if not re.match(names, one)]
        assert strange == []
        return done.stdout

    assert "model.keras" in main("--mode=train", *small)
    assert "model.keras" in main("--mode=train", "--resume", *small)
    assert "order" in main("--mode=eval", "--rank=order")
    assert "10 maps of the test split, 10 of them" in main("--mode=cam", "--rank=order")
