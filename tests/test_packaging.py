"""What pyproject.toml puts into the package is all that lies on disk."""

import pathlib
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "hiercam_keras"
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


EXTRAS = SETUPTOOLS["dynamic"]["optional-dependencies"]


def _requirements(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    texts = [line.split("#")[0].strip() for line in lines]
    return [Requirement(text) for text in texts if text]


def _bound(requirement: Requirement, operator: str) -> Version:
    (found,) = (x.version for x in requirement.specifier if x.operator == operator)
    return Version(found)


def _files(root: pathlib.Path) -> list[pathlib.Path]:
    """Files below `root` but what Python writes when it runs."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def left_out(root: pathlib.Path, globs: list[str]) -> list[str]:
    """Files of a package that are neither modules nor matched, by posix path."""
    matched = {path for glob in globs for path in root.glob(glob)}
    return [
        path.relative_to(root).as_posix()
        for path in _files(root)
        if path.suffix != ".py" and path not in matched
    ]


def test_every_data_file_is_package_data():
    assert left_out(PACKAGE, SETUPTOOLS["package-data"]["hiercam_keras"]) == []


@pytest.mark.parametrize(
    "name",
    ["assets/README.md", "assets/pretrained_b0.npz", "report/templates/index.html"],
)
def test_what_the_program_reads_is_there(name):
    assert (PACKAGE / name).stat().st_size > 0


def test_every_glob_matches_something():
    for glob in SETUPTOOLS["package-data"]["hiercam_keras"]:
        assert any(path.is_file() for path in PACKAGE.glob(glob)), glob


def test_every_module_is_in_a_package_that_is_found():
    """setup.py takes folders with an __init__.py."""
    for path in [*_files(PACKAGE), *_files(ROOT / "configs")]:
        if path.suffix == ".py":
            assert (path.parent / "__init__.py").is_file(), path


def test_a_file_that_no_glob_matches_is_told(tmp_path):
    for name in ("a.py", "assets/w.npz", "assets/deep/w.npz", "page.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert left_out(tmp_path, ["assets/*"]) == ["assets/deep/w.npz", "page.html"]


def test_the_oldest_versions_are_the_lower_bounds():
    """CI tests with requirements-oldest.txt, so every lower bound is tested."""
    bounded = [
        *_requirements("requirements.txt"),
        *_requirements(EXTRAS["dev"]["file"][0]),
    ]
    bounds = {one.name: _bound(one, ">=") for one in bounded}
    pins = {
        one.name: _bound(one, "==") for one in _requirements("requirements-oldest.txt")
    }
    assert pins.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert pins[name].release[: len(bound.release)] == bound.release, name


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("cuda12", "cuda12"),
        ("cuda13", "cuda13"),
        ("tpu", "tpu"),
        ("plan-tpu", "tpu"),
        ("plan-gpu", "cuda12-local"),
    ],
)
def test_an_accelerator_gets_the_jax_of_the_requirements(name, extra):
    """Bounds of its own could choose another release than requirements.txt."""
    (found,) = _requirements(EXTRAS[name]["file"][0])
    assert (found.name, found.extras, str(found.specifier)) == ("jax", {extra}, "")


def test_the_installation_page_names_every_extra_and_the_oldest_versions():
    page = (ROOT / "docs" / "INSTALL.md").read_text()
    for name in EXTRAS:
        assert re.search(rf'install "\.\[([a-z0-9-]+,)*{name}\]"', page), name
    pins = {
        one.name: _bound(one, "==") for one in _requirements("requirements-oldest.txt")
    }
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| [\d.]+ \| [\d.]+ \|$", page, re.M)
    names = {"orbax": "orbax-checkpoint", "opencv": "opencv-python-headless"}
    assert len(rows) == 7
    for label, version in rows:
        pin = pins[names.get(label.lower(), label.lower())]
        wanted = Version(version).release
        assert pin.release[: len(wanted)] == wanted, label
