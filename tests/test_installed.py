"""The program as pip installs it: a wheel, a new environment, an empty folder."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import numpy as np
import pytest
import tiny_birds
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
PARTS = ("hiercam_keras", "configs", "pyproject.toml", "setup.py", "README.md")
CLASSES = (
    "00001_Animalia_Chordata_Aves_Anseriformes_Anatidae_Cygnus_olor",
    "00042_Animalia_Chordata_Aves_Piciformes_Picidae_Picus_viridis",
)

NETWORK = (
    "import keras\n"
    "def tiny(image_size):\n"
    "    x = i = keras.Input((image_size, image_size, 3))\n"
    "    x = keras.layers.Rescaling(1 / 255)(x)\n"
    "    for k in (8, 8):\n"
    "        x = keras.layers.Conv2D(k, 3, 2, activation='relu')(x)\n"
    "    return keras.Model(i, x)\n"
)


def run(*command, cwd=None, **variables):
    """The output of a command that has to succeed."""
    ours = ("PYTHON", "KERAS_BACKEND", "HIERCAM_", "XLA_", "GLIBC_", "MALLOC_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**clean, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What pip makes of a copy of this project."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for path in [*(ROOT / name for name in PARTS), *ROOT.glob("requirements*.txt")]:
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, source / path.name, ignore=ignored)
        else:
            shutil.copy(path, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps"]
    run(*pip, "--no-build-isolation", "--wheel-dir", folder, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """The folder of the programs of an environment with the wheel."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python, "install"]
    run(*pip, "--no-deps", "--no-index", wheel)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = pathlib.Path(sysconfig.get_path("purelib", "venv", vars=paths))
    # The libraries are those of the tests; a checkout among them would hide a fault.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "shared.pth").write_text("\n".join(libraries) + "\n")
    return folder / "bin"


@pytest.fixture
def birds(tmp_path):
    """Two species with a few images each."""
    for k, name in enumerate(CLASSES):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng([k, i]).integers(0, 255, (40, 50, 3))
            path = tmp_path / "birds" / name / f"{i}.jpg"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "birds"


def test_the_wheel_holds_one_copy_of_every_config(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if "configs/" in name]
    files = ROOT.glob("configs/**/*.py")
    wanted = {f"hiercam_keras/{one.relative_to(ROOT).as_posix()}" for one in files}
    assert sorted(names) == sorted(wanted)


def test_help_and_version_of_the_three_programs(programs, tmp_path):
    version = run(programs / "hiercam", "--version", cwd=tmp_path)
    assert "hiercam_keras " in version
    module = [programs / "python", "-m", "hiercam_keras"]
    assert run(*module, "--version", cwd=tmp_path) == version
    script = [programs / "python", ROOT / "main.py"]
    assert run(*script, "--version", cwd=tmp_path) == version
    for command, name in (
        ([programs / "hiercam"], "hiercam"),
        (module, "python -m hiercam_keras"),
        (script, "python main.py"),
    ):
        text = run(*command, "--help", cwd=tmp_path)
        assert f"\n{name} --mode=train --rank=family\n" in text
        assert "--config:" in text and "--[no]overwrite:" in text


SETTINGS = """
import os
from hiercam_keras import malloc, runtime
malloc._ROOMY = 0
prepare = runtime.prepare_process
def prepare_and_say():
    print("process", os.getpid(), malloc._state.said, flush=True)
    prepare()
runtime.prepare_process = prepare_and_say
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
@pytest.mark.parametrize("way", ["hiercam", "module", "main.py"])
def test_each_program_sets_malloc_and_keeps_its_process(programs, birds, tmp_path, way):
    """The hook is imported at the start of each process of this Python."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        "import os; print('process', os.getpid(), flush=True)\n" + SETTINGS
    )
    command = {
        "hiercam": [programs / "hiercam"],
        "module": [programs / "python", "-m", "hiercam_keras"],
        "main.py": [programs / "python", ROOT / "main.py"],
    }[way]
    hook = str(tmp_path / "hook")
    prepare = ["--mode=prepare", "--data_dir=birds"]
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": hook}
    said = run(*command, *prepare, cwd=tmp_path, **home)
    first, second = said.splitlines()[:2]
    assert second.startswith(f"{first} malloc keeps freed memory")
    assert "24 image files: 24 fine as they are" in said


def test_a_training_and_its_answers_from_an_empty_folder(programs, birds, tmp_path):
    """With an experiment by name, and a network of the user's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "network.py").write_text(NETWORK)
    home = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(tmp_path / "mine"),
    }
    work = tmp_path / "work"
    work.mkdir()
    fields = {
        "model.backbone": "network:tiny",
        "model.weights": "none",
        "data.image_size": tiny_birds.SIZE,
        "data.batch_size": 8,
        "data.pipeline": "arrays",
        "train.epochs": 1,
    }
    said = run(
        programs / "hiercam",
        "--config=inat2021_birds",
        f"--data_dir={birds}",
        "--config.data.source=image_folder",
        "--mode=train",
        "--rank=order",
        *(f"--config.{name}={value}" for name, value in fields.items()),
        cwd=work,
        **home,
    )
    assert (
        said.startswith("wrote runs/birds-") and "the last of 1 epoch was kept" in said
    )
    assert sorted(one.name for one in work.iterdir()) == ["runs"]
    photo = birds / CLASSES[0] / "0.jpg"
    module = [programs / "python", "-m", "hiercam_keras"]
    ask = ["--mode=predict", "--rank=order", f"--image={photo}"]
    said = run(*module, *ask, cwd=work, **home)
    (table,) = (work / "runs").rglob("predict/*.csv")
    assert str(table.relative_to(work)) in said and "Anseriformes" in table.read_text()


EXPORT = """
import sys
import numpy as np
import hiercam_keras as hc
from hiercam_keras.export import graph
network = hc.load_run(sys.argv[1]).network
path = graph.write_onnx(graph.build(network), sys.argv[2])
photos = np.random.default_rng(0).integers(0, 255, (3, 48, 48, 3)).astype("uint8")
parity = graph.compare(network, path, photos)
print(parity, parity.within())
"""


@pytest.mark.slow
def test_an_export_next_to_a_training_that_is_resumed(wheel, birds, tmp_path):
    """What docs/INSTALL.md says for ONNX files, in an environment of its own: the
    converter and the checkpoints want different releases of Orbax."""
    page = (ROOT / "docs" / "INSTALL.md").read_text()
    (row,) = (one for one in page.splitlines() if one.startswith("| ONNX files"))
    commands = re.findall(r"`pip (install [^`]+)`", row)
    assert len(commands) == 2 and "--no-deps" in commands[1]
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    for command in commands:
        parts = shlex.split(command.replace('".[export]"', f"'{wheel}[export]'"))
        run(python, "-m", "pip", "--quiet", *parts)
    (tmp_path / "network.py").write_text(NETWORK)
    home = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(tmp_path),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
    }
    fields = {
        "model.backbone": "network:tiny",
        "model.weights": "none",
        "data.image_size": 48,
        "data.batch_size": 8,
        "data.source": "image_folder",
        "data.pipeline": "arrays",
    }
    train = [python, "-m", "hiercam_keras", "--config=inat2021_birds", "--mode=train"]
    train += [f"--data_dir={birds}", "--rank=order", f"--workdir={tmp_path / 'run'}"]
    train += [f"--config.{name}={value}" for name, value in fields.items()]
    run(*train, "--config.train.epochs=1", cwd=tmp_path, **home)
    said = run(*train, "--config.train.epochs=2", "--resume", cwd=tmp_path, **home)
    assert "of 2 epochs was kept" in said
    file = tmp_path / "model.onnx"
    export = [python, "-c", EXPORT, tmp_path / "run", file]
    assert run(*export, cwd=tmp_path, **home).strip().endswith("True")
    assert file.stat().st_size > 0
