"""Backbones built by a function of the user.

`config.model.backbone="package.module:function"` calls `function(image_size)`, which
returns a Functional `keras.Model` that

* takes one input of RGB images (B, S, S, 3) in 0..255 and normalizes them itself;
* ends in feature maps (B, h, w, C), which the head pools. A CAM explains these maps
  unless the attribute `cam_layer` of the model names another layer;
* or ends in features (B, C) and has the attribute `cam_layer`.

If the function has a parameter `output_stride`, it gets `config.model.output_stride`
and must build a model of that stride. Otherwise the setting must be 32 (no change).
"""

import inspect
import re

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.user_code import import_module

# The prefixes of networks by name are reserved.
_FUNCTION = re.compile(r"(?!keras:|keras_hub:)[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_function(name: str) -> bool:
    """Whether the name looks like package.module:function."""
    return _FUNCTION.fullmatch(name) is not None


def takes_output_stride(name: str) -> bool:
    """Whether the function has a parameter `output_stride`."""
    return "output_stride" in inspect.signature(_function(name)).parameters


def build(name: str, image_size: int | None, output_stride: int = 32) -> keras.Model:
    """Calls the function, validates its model, and sets the attribute `cam_layer`.

    Args:
      name: "package.module:function".
      image_size: side of the images in pixels; None for any size.
      output_stride: passed to the function if it has this parameter.

    Raises:
      UserError: the module or the function is missing, the call fails, or the model
        does not meet the requirements above.
    """
    function = _function(name)
    options = {"output_stride": output_stride} if takes_output_stride(name) else {}
    try:
        model = function(image_size, **options)
    except Exception as error:  # the user's code can fail in any way
        raise UserError(
            f"model.backbone={name}: the call with image_size={image_size} failed "
            f"({type(error).__name__}: {' '.join(str(error).split())})."
        ) from error
    _check(name, model, image_size)
    layer = getattr(model, "cam_layer", None) or _last_layer(name, model)
    if layer not in {inner.name for inner in model.layers}:
        raise UserError(
            f"model.backbone={name}: cam_layer {layer!r} is no layer of the model. Its "
            f"last ones are {', '.join(one.name for one in model.layers[-3:])}."
        )
    model.cam_layer = layer
    return model


def _function(name):
    module_name, _, function_name = name.partition(":")
    module = import_module(module_name, f"model.backbone={name}")
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(
            f"model.backbone={name}: the module {module_name!r} has no function "
            f"{function_name!r}."
        )
    return function


def _check(name, model, image_size):
    expected = "expected a Functional keras.Model that ends in feature maps"
    functional = isinstance(model, keras.Model) and hasattr(model, "operations")
    if not functional:
        kind = type(model).__name__
        raise UserError(f"model.backbone={name}: it returned a {kind}, {expected}.")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"model.backbone={name}: its model has {len(model.inputs)} inputs and "
            f"{len(model.outputs)} outputs, expected one each."
        )
    shape, side = tuple(model.inputs[0].shape), image_size
    if len(shape) != 4 or any(
        found not in (None, want)
        for found, want in zip(shape[1:], (side, side, 3), strict=True)
    ):
        raise UserError(
            f"model.backbone={name}: its model takes {shape}, expected images "
            f"(batch, {side}, {side}, 3)."
        )
    if not keras.backend.is_float_dtype(model.inputs[0].dtype):
        raise UserError(
            f"model.backbone={name}: its input is {model.inputs[0].dtype}, expected a "
            "float type; Keras casts uint8 images itself."
        )


def _last_layer(name, model):
    output = model.outputs[0]
    if len(output.shape) != 4:
        raise UserError(
            f"model.backbone={name}: its model ends in {('batch', *output.shape[1:])}, "
            "expected feature maps (batch, h, w, channels), or an attribute cam_layer "
            "that names the layer with the maps."
        )
    return output._keras_history.operation.name
