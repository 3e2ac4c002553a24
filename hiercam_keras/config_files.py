"""Config files of experiments: by name, from any folder, or by path.

The experiments of this project are one package, installed as `hiercam_keras.configs`
and in a checkout the folder configs/. Its files know each other by relative imports, so
that no `configs` of a user can take their place. A file of a user that imports
`configs.x` gets the user's own module where there is one, else this project's.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from hiercam_keras.errors import UserError

_PACKAGE = "hiercam_keras.configs"
_PUBLIC = "configs"  # what config files call it


def folder() -> Path:
    """Where the experiments of this project are."""
    package = Path(__file__).absolute().parent
    installed = package / _PUBLIC
    return installed if installed.is_dir() else package.parent / _PUBLIC


def names() -> list[str]:
    """Names that `load` takes in place of a path, sorted."""
    return sorted(path.stem for path in folder().glob("[a-z]*.py"))


def load(spec: str) -> ConfigDict:
    """The config that a file makes, with a fixed set of fields.

    Args:
      spec: one of `names`, or the path of a Python file with a function `get_config`;
        after a colon, the argument of the function.

    Raises:
      UserError: there is no such file, or its code fails.
    """
    place, *argument = spec.split(":", 1)
    path, ours = _find(place)
    with _configs_seen_from(path):
        try:
            module = _import(f"{_PACKAGE}.{path.stem}") if ours else _run(path)
            config = module.get_config(*argument)
        except Exception as error:  # a user's code can fail in any way
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{path} makes no config ({what}).") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config of {path} returned no ml_collections.ConfigDict.")
    return config.lock()


def _find(place: str) -> tuple[Path, bool]:
    """The file, and whether it is one of this project's."""
    path = Path(place).expanduser()
    if path.is_file():
        return path, path.resolve().parent == folder().resolve()
    by_path = path.suffix == ".py" and path.parent.name == _PUBLIC
    if (name := path.stem if by_path else place) in names():
        return folder() / f"{name}.py", True
    raise UserError(
        f"there is no file {place} in {Path.cwd()}, and no experiment of this name. "
        f"Experiments are {', '.join(names())}."
    )


def _run(path: Path) -> ModuleType:
    """The module of a user's file, in no package."""
    loader = importlib.machinery.SourceFileLoader("config_file", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _import(name: str) -> ModuleType:
    """A module of this project's experiments, which need not be installed."""
    if _PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            _PACKAGE,
            folder() / "__init__.py",
            submodule_search_locations=[str(folder())],
        )
        sys.modules[_PACKAGE] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    return importlib.import_module(name)


@contextlib.contextmanager
def _configs_seen_from(path: Path) -> Iterator[None]:
    """In the block `configs` is a user's, with what it lacks from this project.

    A user's is found by Python, else it is the file's folder if that has the name.
    """
    before = _take_configs()
    finder = _LastFinder(path.absolute().parent)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _take_configs()
        sys.modules.update(before)


def _take_configs() -> dict[str, ModuleType]:
    """Removes `configs` and its modules from those that are imported."""
    mine = [name for name in sys.modules if f"{name}.".startswith(f"{_PUBLIC}.")]
    return {name: sys.modules.pop(name) for name in mine}


class _LastFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `configs` and its modules where no other finder does."""

    def __init__(self, place: Path):
        self.own = [str(place)] if place.name == _PUBLIC else []

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for `configs` and for this project's experiments in it."""
        if name == _PUBLIC:
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = self.own
            return spec
        parent, _, child = name.rpartition(".")
        if parent == _PUBLIC and child in names():
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Puts this project's module in the place of the new one."""
        child = module.__name__.rpartition(".")[2]
        sys.modules[module.__name__] = _import(f"{_PACKAGE}.{child}")
