"""User-defined layer classes and functions that a model file needs.

`config.model.modules`, from the user's --config or command line, names the modules that
define them. Model files and run folders never determine what is imported; their class
and module names are used for messages only.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import keras

from hiercam_keras.errors import UserError

# Packages with classes that Keras finds by itself.
_KERAS = ("keras", "keras_hub", "keras_cv", "keras_nlp")
_BUILTIN = ("activations", "initializers", "regularizers", "constraints", "ops")
LAMBDA = "__lambda__"
FIELD = "config.model.modules"


class Foreign(NamedTuple):
    """A class or function in a model's config that is not part of Keras.

    Attributes:
      layer: name of the layer of this class, or of the layer that uses the function.
      module: that defines the class; "" for a function, as Keras saves only its name.
      name: of the class or function; LAMBDA for code in the file itself.
    """

    layer: str
    module: str
    name: str

    def __str__(self) -> str:
        if self.name == LAMBDA:
            return f"layer {self.layer!r} holds a lambda"
        if not self.module:
            return f"layer {self.layer!r} uses the function {self.name!r}"
        return f"layer {self.layer!r} is of the class {self.module}.{self.name}"


def use_modules(names: Iterable[str]) -> None:
    """Imports modules and registers their classes and functions with Keras.

    The registration holds for this process.

    Args:
      names: `config.model.modules` from the user's config or flags.

    Raises:
      UserError: a module cannot be imported, or two define different objects of the
        same name.
    """
    modules = [import_module(name, FIELD) for name in split_names(names)]
    keras.saving.get_custom_objects().update(objects_of(modules))


def split_names(names: Iterable[str]) -> list[str]:
    """Splits comma-separated module names, as given on the command line."""
    parts = [part.strip() for name in names for part in name.split(",")]
    return [part for part in parts if part]


def import_module(name: str, field: str) -> ModuleType:
    """Imports a module of the user.

    Args:
      name: of the module, "package.module".
      field: setting that names the module, for the error message.

    Raises:
      UserError: the module cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # importing runs user code, which can raise anything
        raise UserError(
            f"{field}: the module {name!r} cannot be imported "
            f"({type(error).__name__}: {error}). Is its folder in PYTHONPATH?"
        ) from error


def objects_of(modules: Iterable[ModuleType]) -> dict[str, Any]:
    """Classes and functions that modules define, and layers that they import, by name.

    Objects registered with `register_keras_serializable` are excluded, as Keras finds
    them by itself.

    Raises:
      UserError: two modules define different objects of the same name.
    """
    found: dict[str, Any] = {}
    for module in modules:
        for name, value in vars(module).items():
            if not _is_own(value, module) or value.__name__ != name:
                continue
            if keras.saving.get_registered_name(value) != name:
                continue
            if found.setdefault(name, value) is not value:
                raise UserError(
                    f"{FIELD}: {found[name].__module__} and "
                    f"{value.__module__} both define {name}, and a model file keeps "
                    "the name alone. Rename one, or leave its module out."
                )
    return found


def _is_own(value: Any, module: ModuleType) -> bool:
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    if value.__module__.split(".")[0] in _KERAS:
        return False
    if inspect.isclass(value) and issubclass(value, keras.layers.Layer):
        return True
    # Imported functions are excluded: after "from os import system" a file could call
    # it.
    return f"{value.__module__}.".startswith(f"{module.__name__}.")


def foreign(config: Any) -> list[Foreign]:
    """Lists classes and functions in a saved model's config that are not part of Keras.

    Args:
      config: parsed JSON of the file; its structure is not trusted.

    Returns:
      Each (layer, module, name) once, in the order of the config.
    """
    return list(dict.fromkeys(_walk(config, "")))


def _walk(value: Any, layer: str) -> Iterator[Foreign]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, layer)
    if not isinstance(value, Mapping):
        return
    inner = value.get("config")
    if "class_name" in value:
        own = inner.get("name") if isinstance(inner, Mapping) else None
        layer = str(value.get("name") or own or layer)
        name, module = str(value["class_name"]), str(value.get("module") or "")
        if name == LAMBDA:
            yield Foreign(layer, "", LAMBDA)
        elif name == "function":
            if not _is_keras_function(str(inner)):
                yield Foreign(layer, "", str(inner))
        elif module and module.split(".")[0] not in (*_KERAS, "builtins"):
            yield Foreign(layer, module, name)
    for item in value.values():
        yield from _walk(item, layer)


def _is_keras_function(name: str) -> bool:
    return any(hasattr(getattr(keras, one), name) for one in _BUILTIN)


def not_installed(config: Any) -> str:
    """The package with classes of a saved model that is not installed; "" if none.

    Args:
      config: parsed JSON of the file; its structure is not trusted.
    """
    if isinstance(config, list):
        return next(filter(None, map(not_installed, config)), "")
    if not isinstance(config, Mapping):
        return ""
    package = str(config.get("module") or "").split(".")[0]
    if package in _KERAS and importlib.util.find_spec(package) is None:
        return package
    return not_installed(list(config.values()))


def is_known(one: Foreign) -> bool:
    """Whether the class or function is registered with Keras in this process."""
    known = keras.saving.get_custom_objects()
    if not one.module:
        return one.name in known
    return any(
        inspect.isclass(value)
        and (value.__module__, value.__name__) == (one.module, one.name)
        for value in known.values()
    )


def advice(found: Iterable[Foreign], modules: Iterable[str] = ()) -> str:
    """Advice to the user about a file that needs unknown code; "" if it needs none.

    Args:
      found: unknown classes and functions in the file.
      modules: names of the modules used in training, if the file lists them.
    """
    found = list(found)
    lambdas = [one for one in found if one.name == LAMBDA]
    if lambdas:
        return (
            f"{lambdas[0]}, and code in a model file is never run. Use a layer class "
            "or a function with a name, in a module that --config.model.modules names"
        )
    if not found:
        return ""
    own = dict.fromkeys([*modules, *(one.module for one in found if one.module)])
    named = ",".join(own) or "package.module"
    return (
        f"{found[0]}. If you trust that code, name its module with "
        f"--config.model.modules={named} or model.modules in your --config; a model "
        "file or a run folder never chooses code"
    )
