"""Code of the user that a model file needs: layer classes and functions of theirs.

`config.model.modules`, of the user's own --config or command line, names the modules
that have them. No model file and no run folder chooses what is imported: what they say
about classes is used for messages only.
"""

import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import keras

from hiercam_keras.errors import UserError

# Packages whose classes Keras finds by itself.
_KERAS = ("keras", "keras_hub", "keras_cv", "keras_nlp")
_BUILTIN = ("activations", "initializers", "regularizers", "constraints", "ops")
LAMBDA = "__lambda__"
FIELD = "config.model.modules"


class Foreign(NamedTuple):
    """A class or function in a model's config that is none of Keras'.

    Attributes:
      layer: name of the layer that is of this class, or uses the function.
      module: that defines the class; "" for a function, of which Keras keeps the name.
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
    """Imports modules and makes what they define known to Keras, for this process.

    Args:
      names: `config.model.modules` of the user's own config or flags.

    Raises:
      UserError: a module cannot be imported, or two of them have classes of one name.
    """
    modules = [import_module(name, FIELD) for name in split_names(names)]
    keras.saving.get_custom_objects().update(objects_of(modules))


def split_names(names: Iterable[str]) -> list[str]:
    """Names of modules; the command line may give several with commas."""
    parts = [part.strip() for name in names for part in name.split(",")]
    return [part for part in parts if part]


def import_module(name: str, field: str) -> ModuleType:
    """A module of the user's; `field` says which setting names it, for the error.

    Raises:
      UserError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module may fail in any way when it is run
        raise UserError(
            f"{field}: the module {name!r} cannot be imported "
            f"({type(error).__name__}: {error}). Is its folder in PYTHONPATH?"
        ) from error


def objects_of(modules: Iterable[ModuleType]) -> dict[str, Any]:
    """Classes and functions that modules define, and layers that they import, by name.

    What `register_keras_serializable` has registered is left out: Keras knows it.

    Raises:
      UserError: two of the modules define different things of one name.
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
    # No function of another package, which a file could call: as in "from os import".
    return f"{value.__module__}.".startswith(f"{module.__name__}.")


def foreign(config: Any) -> list[Foreign]:
    """What the config of a saved model uses that is none of Keras', each once.

    Args:
      config: of a model's file, JSON; it may hold anything.
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


def is_known(one: Foreign) -> bool:
    """Whether Keras finds this class or function in this process."""
    known = keras.saving.get_custom_objects()
    if not one.module:
        return one.name in known
    return any(
        inspect.isclass(value)
        and (value.__module__, value.__name__) == (one.module, one.name)
        for value in known.values()
    )


def advice(found: Iterable[Foreign], modules: Iterable[str] = ()) -> str:
    """What a user can do about a file that needs these, "" where there are none.

    Args:
      found: in the file.
      modules: those that the training had, where the file says so.
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
