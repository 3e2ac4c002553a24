"""Saves and loads a network once before the first step.

A network that cannot be loaded again, or that differs after loading, is refused before
hours of training. The built-in architectures are skipped: they consist of Keras layers,
and the tests load a file of each.
"""

import inspect
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.models import backbones, files, user_code
from hiercam_keras.models.layers import named_variables, sublayers
from hiercam_keras.training.forward import predict_batch

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_TOLERANCE = 1e-3  # relative to the largest output; the same layers differ by rounding


def save_and_load(
    model: keras.Model,
    backbone: str,
    image_size: int,
    modules: Sequence[str] = (),
    fast_layers: str = "none",
) -> list[str]:
    """Writes the model to a temporary file and loads it as later modes do.

    Args:
      model: untrained, with heads.
      backbone: of the network; those of BACKBONES are skipped.
      image_size: pixels of a side.
      modules: `config.model.modules`.
      fast_layers: of the model.

    Returns:
      The modules that a process must import before it loads the model: the given ones,
      and those of further classes and functions.

    Raises:
      UserError: the model cannot be saved or loaded, or has other weights or outputs
        after loading; the message names the layer.
    """
    if backbone in backbones.BACKBONES:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            files.save_model(path, model, {})
        except Exception as error:  # the user's layers may fail in any way
            raise _refused(backbone, model, f"cannot be saved ({_line(error)})") from (
                error
            )
        found = files.needs(path)
        needed = _modules(found, backbone, modules)
        user_code.use_modules(needed)
        _check_found(found, backbone)
        try:
            loaded, _ = files.load_model(path, fast_layers)
        except UserError as error:
            why = str(error).removeprefix(f"{path}: ")
            raise _refused(backbone, model, f"cannot be loaded again: {why}") from error
    _check_weights(model, loaded, backbone)
    _check_outputs(model, loaded, backbone, image_size)
    return needed


def _modules(
    found: Sequence[user_code.Foreign], backbone: str, given: Sequence[str]
) -> list[str]:
    """The given modules, and those of further classes and functions."""
    needed = user_code.split_names(given)
    modules = [user_code.import_module(name, user_code.FIELD) for name in needed]
    for one in found:
        # Keras does not store the module of a function; try that of the network.
        own = one.module or backbone.partition(":")[0]
        there = [getattr(module, one.name, None) for module in modules]
        if own not in needed and not any(
            getattr(value, "__module__", "") == own for value in there
        ):
            needed.append(own)
    return needed


def _check_found(found: Sequence[user_code.Foreign], backbone: str) -> None:
    for one in found:
        if one.name == user_code.LAMBDA:
            raise UserError(f"model.backbone={backbone}: {user_code.advice([one])}.")
        module = sys.modules.get(one.module)
        hidden = one.module and not hasattr(module, one.name)
        if hidden or one.module == "__main__" or not user_code.is_known(one):
            raise UserError(
                f"model.backbone={backbone}: {one}, which no module has under that "
                "name, so it could not be loaded again. Define it at the top level of "
                f"a module, the network's own or one of {user_code.FIELD}."
            )


def _refused(backbone: str, model: keras.Model, why: str) -> UserError:
    name = _culprit(model)
    where = f"layer {name!r} of the network" if name else "the network"
    return UserError(
        f"model.backbone={backbone}: {where} {why}. A layer needs a get_config that "
        "gives every argument of its __init__."
    )


def _culprit(model: keras.Model) -> str:
    """Name of the first layer that Keras cannot serialize and rebuild, "" if none."""
    for layer in sublayers(model):
        if isinstance(layer, keras.Model):
            if name := _culprit(layer):
                return name
        try:
            config = keras.saving.serialize_keras_object(layer)
            keras.saving.deserialize_keras_object(config, safe_mode=True)
        except Exception:  # the user's layers may fail in any way
            return layer.name
    return ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _check_weights(model: keras.Model, loaded: keras.Model, backbone: str) -> None:
    before, after = named_variables(model), named_variables(loaded)
    for name in before | after:
        same = (
            name in before
            and name in after
            and np.array_equal(np.asarray(before[name]), np.asarray(after[name]))
        )
        if not same:
            raise UserError(
                f"model.backbone={backbone}: the weight {name} is not restored from "
                "a saved file. Create each weight with add_weight in the layer's "
                "__init__ or build, and give its get_config every argument of "
                "__init__."
            )


def _check_outputs(
    model: keras.Model, loaded: keras.Model, backbone: str, image_size: int
) -> None:
    shape = (1, image_size, image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    # A network may be random in inference, and a loaded one gets new seeds.
    for own, other in zip(_seeds(model), _seeds(loaded), strict=False):
        other.assign(own)
    before, after = _outputs(model, images), _outputs(loaded, images)
    largest = max(np.abs(value).max() for value in before)
    if _distance(before, after) <= _TOLERANCE * largest:
        return
    why = _forgotten(model) or "a layer has an argument that its get_config lacks"
    raise UserError(
        f"model.backbone={backbone}: the network loaded from a saved file has the same "
        f"weights but other outputs: {why}. Let get_config return every argument of "
        "__init__."
    )


def _forgotten(model: keras.Model) -> str:
    """Text on the first layer with an argument that its config lacks; "" if none."""
    for layer in sublayers(model):
        if isinstance(layer, keras.Model):
            if found := _forgotten(layer):
                return found
        if type(layer).__module__.split(".")[0] == "keras":
            continue
        arguments = inspect.signature(type(layer).__init__).parameters.values()
        plain = {a.name for a in arguments if a.kind not in _VARIADIC} - {"self"}
        lacking = sorted(plain - layer.get_config().keys())
        if lacking:
            return f"the config of layer {layer.name!r} lacks {', '.join(lacking)}"
    return ""


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """The states of the random generators, which are not weights."""
    weights = {id(weight) for weight in model.weights}
    return [value for value in model.variables if id(value) not in weights]


def _outputs(model: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    outputs = predict_batch(model, images)
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    return [np.asarray(outputs[name], np.float64) for name in sorted(outputs)]


def _distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))
