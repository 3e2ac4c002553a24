"""A digest of what a trace of a model depends on, for `trace_cache`."""

import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hiercam_keras import lazy_tensorflow, trace_cache
from hiercam_keras.models.layers import all_layers

_KNOWN = ("keras.", "hiercam_keras.")
_VALUES = (bool, int, float, str, np.generic, np.ndarray, type(None))


def of_model(model: keras.Model) -> str | None:
    """A digest of a model without its weights.

    It contains the class and config of every layer, what is trainable, and paths,
    shapes and types of the variables. Attributes that are numbers, texts or arrays are
    in it too: the config may lack them, and they are constants of a trace, as are mean
    and variance of a Normalization layer that was adapted to data.

    Returns:
      None if a trace may depend on more: the model is subclassed, or has layers of
      other packages than Keras and this one, or functions that are no part of these, in
      a layer or in place of a method of its class.
    """
    layers = [model, *all_layers(model)]
    if not _is_ours(layers):
        return None
    code = {cls: _code(cls) for cls in map(type, layers)}
    kinds = [[code[type(one)], one.name, one.trainable] for one in layers]
    variables = [
        [one.path, list(one.shape), str(one.dtype), one.trainable]
        for one in model.variables
    ]
    try:
        with lazy_tensorflow.not_asked_for(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a function that cannot be read again
            config = model.get_config()
        if not all(map(_is_known, _objects(config))):
            return None
        values = [attributes(one) for one in layers]
        return trace_cache.digest(config, kinds, variables, values)
    except (TypeError, ValueError, NotImplementedError):
        return None


def attributes(one: Any) -> dict[str, Any]:
    """The attributes of an object that are plain values, arrays, or sequences of them.

    Keras' variables are not among them.
    """
    found = {}
    for name, value in vars(one).items():
        if keras.ops.is_tensor(value):
            value = keras.ops.convert_to_numpy(value)
        if _is_value(value):
            found[name] = value
    return found


def _is_value(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_value, value))
    return isinstance(value, _VALUES)


def _is_ours(layers: Sequence[keras.layers.Layer]) -> bool:
    """Whether layers are of Keras or this package, and call no other functions.

    The config of a layer names a function without the module that it is of. A method of
    a class of Keras may have been replaced.
    """
    classes = {cls for one in layers for cls in type(one).__mro__}
    methods = [
        one
        for cls in classes
        for one in vars(cls).values()
        if isinstance(one, types.FunctionType)
    ]
    called = [one for layer in layers for one in vars(layer).values() if callable(one)]
    modules = {type(one).__module__ for one in layers}
    modules |= {*map(_module, methods), *map(_module, called)}
    return all(one.startswith(_KNOWN) for one in modules)


def _code(cls: type) -> list[Any]:
    """The class, and the modules that its methods are from.

    Several fast layers (`xla_layers`) have module and name of the same class of Keras.
    """
    methods = [one for one in vars(cls).values() if isinstance(one, types.FunctionType)]
    return [cls.__module__, cls.__qualname__, sorted({*map(_module, methods)})]


def _module(called: Any) -> str:
    """Where the code of a function is, or of the class of another callable object.

    `__module__` of a function can be that of a function that it replaces.
    """
    called = getattr(called, "__func__", called)
    if isinstance(called, types.FunctionType):
        return called.__globals__.get("__name__", "")
    return type(called).__module__


def _objects(config: Any) -> Iterator[Mapping[str, Any]]:
    """The serialized objects in a config, at any depth."""
    if isinstance(config, Mapping):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from _objects(value)


def _is_known(config: Mapping[str, Any]) -> bool:
    module = config.get("module")
    if config["class_name"] in ("function", "__lambda__", "Lambda"):
        return False
    return module in (None, "builtins", "keras") or module.startswith(_KNOWN)
