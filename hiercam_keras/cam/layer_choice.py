"""Selects the layer calls of a model that can be explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras

from hiercam_keras.cam import graph
from hiercam_keras.cam.inputs import Inputs
from hiercam_keras.errors import UserError


def split(
    model: keras.Model,
    inputs: Inputs,
    calls: Sequence[graph.Call],
    image: jax.ShapeDtypeStruct,
    others: tuple,
) -> tuple[list[graph.Call], list[graph.Call]]:
    """Splits calls into those that depend on the image and the others.

    Args:
      model: built.
      inputs: of the model. With a single input all calls count as dependent.
      calls: of `graph.record`.
      image, others: `jax.ShapeDtypeStruct`s of a batch.

    Returns:
      (dependent, independent) calls. If the model rounds its image to integers, all
      count as dependent.
    """
    if len(inputs) == 1:
        return list(calls), []
    fixed = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), others)
    seen = graph.calls_that_see(model, lambda x: inputs.pack(x, fixed), image)
    if not seen:  # the model rounds its image
        return list(calls), []
    parts: tuple[list, list] = ([], [])
    for call in calls:
        parts[(id(call.layer), call.index) not in seen].append(call)
    return parts


def find(
    seeing: Sequence[graph.Call],
    blind: Sequence[graph.Call],
    layer: Any,
    tokens: bool,
) -> graph.Call:
    """The call of a layer given by the user; see `graph.find_call`.

    Args:
      seeing, blind: the two results of `split`.
      layer: a layer object, a name or a path.
      tokens: whether outputs with other than four axes can be reshaped to maps.

    Raises:
      UserError: there is no such layer, it does not depend on the image, or its output
        is no batch of maps. The message lists alternatives.
    """
    call = graph.find_call([*seeing, *blind], layer)
    if any(call.layer is one.layer and call.index == one.index for one in blind):
        raise UserError(
            f"the layer {call.path!r} does not depend on the image, but on other "
            f"inputs; {graph.would_do(seeing)}"
        )
    if call.shape[0] != 2 or (len(call.shape) != 4 and not tokens):
        raise UserError(
            f"layer {call.path!r} gives an array of shape "
            f"{('batch', *call.shape[1:])}, not a batch of maps; "
            f"{graph.would_do(seeing)}. For tokens, give reshape="
        )
    return call


# Layers that hand an activation on, or thin it out, and are no activation themselves.
_PASSING = (
    "Pooling",
    "Padding",
    "Cropping",
    "UpSampling",
    "Dropout",
    "Reshape",
    "Permute",
    "Rescaling",
    "Normalization",
    "InputLayer",
    "Random",
)


def activations(calls: Sequence[graph.Call]) -> list[graph.Call]:
    """The convolutional activations, in order: 4-D maps of several cells that are
    neither pooling nor padding nor dropout, after at least one convolution."""
    convolved, found = False, []
    for call in calls:
        kind = type(call.layer).__name__
        convolved = convolved or "Conv" in kind
        passing = any(word in kind for word in _PASSING)
        if "BatchNormalization" in kind:
            passing = False
        if convolved and call.spatial and call.same_as is None and not passing:
            found.append(call)
    return found


def last_activation(calls: Sequence[graph.Call]) -> graph.Call:
    """The last of `activations`.

    Raises:
      UserError: the model has no convolution, or no 4-D map after one.
    """
    found = activations(calls)
    if found:
        return found[-1]
    cells = [
        call.path
        for call in calls
        if "Conv" in type(call.layer).__name__
        and call.same_as is None
        and len(call.shape or ()) == 4
    ]
    if cells:
        raise UserError(
            f"the layer {cells[-1]!r} gives maps of one cell, which mark the whole "
            "image, and no other layer has finer ones. Give larger images to a network "
            "that is built for them, or use one with a finer output stride"
        )
    raise UserError(
        "no convolutional activation found in the model; name one with layer=. "
        "For maps that are not 4-D (tokens of a transformer) give reshape= too"
    )
