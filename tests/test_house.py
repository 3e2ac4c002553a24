"""The walls of the house: who may import what, read from the sources with ast."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "hiercam_keras"
FILES = sorted(PACKAGE.rglob("*.py"))

# Top-level module -> the only places below the package that may import it.
EXTERNAL = {
    "tensorflow": (
        "data/pipeline.py",
        "data/pipeline_window.py",
        "data/augment_tf.py",
        "data/sources/tfds_",
    ),
    "tensorflow_datasets": ("data/sources/tfds_",),
    "matplotlib": ("report/",),
    "jinja2": ("report/",),
    "jax": (
        "cam/",
        "export/",
        "training/",
        "models/xla_layers",
        "metrics/faithfulness",
        "plan/",
        "first_touch.py",
        "halves.py",
        "image_by_image.py",
        "malloc.py",
        "precision.py",
        "runtime.py",
        "multihost.py",
        "trace_cache.py",
    ),
    "keras": (
        "models/",
        "training/",
        "cam/",
        "export/",
        "plan/",
        "modes/",
        "runtime.py",
        "trace_cache.py",
        "lazy_tensorflow.py",
        "api.py",
    ),
    "jax2onnx": ("export/",),
    "onnx": ("export/",),
    "onnxruntime": ("export/",),
    "keras_hub": ("models/hub_presets.py",),
    "cv2": ("metrics/",),
    "absl.flags": ("cli.py",),
    "fcntl": ("locks.py",),
    "filelock": (),
    "platformdirs": ("cache_folder.py",),
    "torch": (),
}
_BASE = {
    "cache_folder",
    "csv_files",
    "errors",
    "file_names",
    "first_touch",
    "halves",
    "image_by_image",
    "lazy_tensorflow",
    "locks",
    "malloc",
    "maps",
    "precision",
    "processor",
    "progress",
    "signals",
    "tables",
    "trace_cache",
    "wording",
    "workdir",
    "",
}
# Room -> the rooms that it may import, besides the base.
ROOMS = {
    "api": {"cam", "config_files", "data", "models", "modes", "runs", "taxonomy"},
    "__main__": {"cli"},
    "cli": {"config_files", "modes", "multihost", "runtime"},
    "config_files": set(),
    "cache_folder": set(),
    "errors": set(),
    "file_names": set(),
    "first_touch": set(),
    "halves": set(),
    "image_by_image": set(),
    "lazy_tensorflow": set(),
    "locks": set(),
    "processor": set(),
    "trace_cache": set(),
    "workdir": set(),
    "progress": set(),
    "csv_files": set(),
    "wording": set(),
    "malloc": set(),
    "maps": set(),
    "precision": set(),
    "signals": set(),
    "runtime": set(),
    "taxonomy": set(),
    "exchange": {"taxonomy"},
    "data": {"birds", "exchange", "taxonomy"},
    "models": set(),
    "training": {"models", "multihost"},
    "cam": {"taxonomy", "models"},
    "metrics": {"taxonomy"},
    "report": set(),
    "runs": {"taxonomy", "data", "models", "training", "cam"},
    "export": {"taxonomy", "models", "cam", "runs"},
    "plan": {"cam", "data", "models", "runtime", "taxonomy", "training"},
    "birds": set(),
    "tables": set(),
    "multihost": set(),
    "evaluation": {"taxonomy", "data", "cam", "metrics"},
    "modes": {
        "birds",
        "evaluation",
        "exchange",
        "export",
        "taxonomy",
        "data",
        "models",
        "training",
        "cam",
        "metrics",
        "plan",
        "report",
        "runs",
        "multihost",
        "runtime",
    },
    "experiments": {
        "evaluation",
        "modes",
        "taxonomy",
        "data",
        "models",
        "cam",
        "metrics",
        "report",
        "runs",
        "runtime",
    },
}


@functools.cache
def _tree(path):
    """Parsed once for all tests: the package takes two seconds."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _calls(path):
    """(name of the function or method, node) of every call."""
    return tuple(
        (getattr(node.func, "attr", getattr(node.func, "id", "")), node)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
    )


@functools.cache
def _imports(path):
    """(line, dotted module) of every import, deferred ones too."""
    return tuple(_found_imports(path))


def _found_imports(path):
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def _room(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py") if parts[0] != "__init__.py" else ""


def test_every_room_is_known():
    assert {_room(path) for path in FILES} - {"", "assets"} <= ROOMS.keys()


@pytest.mark.parametrize("module", EXTERNAL)
def test_outside_modules_stay_in_their_rooms(module):
    allowed = EXTERNAL[module]
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in FILES
        for line, name in _imports(path)
        if f"{name}.".startswith(f"{module}.")
        and not str(path.relative_to(PACKAGE)).startswith(allowed or ("//",))
    ]
    assert not broken


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_arrows_between_rooms_go_one_way(room):
    allowed = ROOMS[room] | _BASE | {room}
    broken = []
    for path in FILES:
        if _room(path) != room:
            continue
        for line, name in _imports(path):
            parts = name.split(".")
            if parts[0] == "hiercam_keras" and len(parts) > 1:
                if parts[1] not in allowed | {"__version__"}:
                    broken.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not broken


def test_experiments_measure_without_the_modes():
    """They train with --mode=train, and take a command line and a run's images."""
    found = {
        name.removeprefix("hiercam_keras.modes.").split(".")[0]
        for path in FILES
        if _room(path) == "experiments"
        for _, name in _imports(path)
        if name.startswith("hiercam_keras.modes.")
    }
    assert found == {"load", "settings", "train"}


def test_walls_are_seen_when_they_are_broken(tmp_path):
    """The reader finds plain, aliased, deferred and nested imports."""
    source = (
        "import os\ndef f():\n    from jax import numpy as x\n    import a.b as c\n"
    )
    path = tmp_path / "one.py"
    path.write_text(source)
    assert list(_imports(path)) == [(1, "os"), (3, "jax.numpy"), (4, "a.b")]


def test_no_print_in_the_package():
    """But in the program, for what it was asked to say, and in that of an export."""
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        if path.name not in ("cli.py", "example.py")
        for name, node in _calls(path)
        if name == "print" and isinstance(node.func, ast.Name)
    ]
    assert not calls


def test_jpegs_are_decoded_by_the_accurate_transform():
    """TensorFlow's default differs from Pillow's by up to 20 levels."""
    calls = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node))
        for path in [*FILES, *(ROOT / "benchmarks").rglob("*.py")]
        for name, node in _calls(path)
        if re.fullmatch(r"decode_(\w*jpeg|image)", name)
        and isinstance(node.func, ast.Attribute)
    ]
    assert calls
    wrong = [place for place, text in calls if "'INTEGER_ACCURATE'" not in text]
    assert not wrong


def _modules_after(code):
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in result.stdout.split()}


HEAVY = {"keras", "jax", "tensorflow", "matplotlib", "scipy", "PIL"}


def test_importing_the_package_is_light():
    assert not HEAVY & _modules_after("import hiercam_keras")


def test_importing_the_data_room_needs_no_tensorflow():
    """What TFDS has unpacked is read where there is no TFDS."""
    loaded = _modules_after(
        "import hiercam_keras.data.loader, hiercam_keras.data.sources\n"
        "from hiercam_keras.data.sources import tfds_cub200, tfds_inat2021"
    )
    assert not {"tensorflow", "tensorflow_datasets", "etils", "jax", "keras"} & loaded


def test_importing_the_cam_room_starts_no_training_code():
    loaded = _modules_after("from hiercam_keras import cam; cam.targets, cam.store")
    assert not {"tensorflow", "keras", "jax"} & loaded


def _defined(path):
    """Names of the functions, classes and constants at the top of a module."""
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (t.id for t in node.targets if isinstance(t, ast.Name))


@pytest.mark.parametrize(
    ("name", "homes"),
    [
        ("is_degenerate", ["maps.py"]),
        ("energy", ["cam/heatmaps.py", "maps.py"]),  # of resized maps, by the other
        ("minmax", ["maps.py"]),
        ("heatmap", ["cam/heatmaps.py"]),
        ("same_shape", ["data/geometry.py"]),
        ("try_lock", ["locks.py"]),
        ("user_cache", ["cache_folder.py"]),
        ("HOT", ["maps.py"]),
        ("Estimate", ["metrics/resampling.py"]),
        ("too_few", ["wording.py"]),
        ("box_accuracy", ["metrics/localization.py"]),
        ("pxap_of", ["metrics/localization.py"]),
        ("points_at", ["metrics/localization.py"]),
        ("as_json", ["runs/recorded_config.py"]),
    ],
)
def test_there_is_one_definition(name, homes):
    """Underscores in front do not make it another one."""
    found = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        if name in {one.lstrip("_") for one in _defined(path)}
    ]
    assert found == homes


def _callers(*names):
    """Files that call a function or method of one of the names."""
    return {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name in names for name, _ in _calls(path))
    }


def test_csv_files_are_read_in_one_place():
    """With its delimiters, encodings and errors."""
    readers = ("reader", "DictReader", "genfromtxt", "loadtxt")
    assert _callers(*readers) == {"csv_files.py"}


def test_files_are_locked_in_one_place():
    """Who imports fcntl is among the outside modules, above."""
    assert _callers("flock", "lockf") == {"locks.py"}


def test_intervals_are_made_in_one_place():
    """Quantiles of distributions, and resamples, are those of intervals."""
    found = _callers("ppf", "ndtri", "stdtrit", "multinomial")
    assert found == {"metrics/resampling.py", "metrics/classification.py"}
