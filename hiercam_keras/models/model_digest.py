"""A digest of what a trace of a model depends on, for `trace_cache`."""

import functools
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from hiercam_keras import lazy_tensorflow, trace_cache
from hiercam_keras.models.layers import all_layers

_KNOWN = ("keras.", "hiercam_keras.")
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)


def of_model(model: keras.Model) -> str | None:
    """A digest of a model without its weights.

    It contains the class and config of every layer, what is trainable, and paths,
    shapes and types of the variables.

    Returns:
      None if a trace may depend on more: the model is subclassed, or has layers of
      other packages than Keras and this one, or functions that are no part of Keras.
    """
    layers = [model, *all_layers(model)]
    if not all(map(_is_ours, layers)):
        return None
    kinds = [
        [type(one).__module__, type(one).__qualname__, one.name, one.trainable]
        for one in layers
    ]
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
        return trace_cache.digest(config, kinds, variables)
    except (TypeError, ValueError, NotImplementedError):
        return None


def _is_ours(layer: keras.layers.Layer) -> bool:
    """Whether a layer is of Keras or this package, and calls no other functions.

    The config of a layer names a function without the module that it is of.
    """
    called = [one for one in vars(layer).values() if isinstance(one, _FUNCTIONS)]
    modules = [getattr(one, "__module__", None) or "" for one in called]
    return all(one.startswith(_KNOWN) for one in (type(layer).__module__, *modules))


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
