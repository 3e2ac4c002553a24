"""Finds the final softmax or sigmoid of a model, and reads the logits before it.

Scores are logits. Inverting an activation loses information where a float32 probability
rounds to 0 or 1: logit(p) is infinite for z above about 17. Therefore the layer or
operation with the activation is located and its input is recorded, which is exact for
every z. The model's computation is unchanged, as other layers may use the
probabilities.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import keras

from hiercam_keras.cam import graph

SOFTMAX, SIGMOID = "softmax", "sigmoid"
_FUNCTIONS = {
    SOFTMAX: (keras.activations.softmax, keras.ops.softmax, jax.nn.softmax),
    SIGMOID: (keras.activations.sigmoid, keras.ops.sigmoid, jax.nn.sigmoid),
}
# Layers that apply `activation` last. Other layers with this attribute, such as LSTM,
# use it in intermediate computations.
_LAYERS = (keras.layers.Activation, keras.layers.Dense, keras.layers.EinsumDense)
# Class names of graph nodes that keras.ops.softmax(x) creates on symbolic tensors.
_OPERATIONS = {"Softmax": SOFTMAX, "Sigmoid": SIGMOID}


@dataclasses.dataclass(frozen=True)
class EndActivation:
    """A final activation over the last axis: its kind, and the call that applies it."""

    kind: str
    call: graph.Call


def find(call: graph.Call | None) -> EndActivation | None:
    """The softmax or sigmoid at the end of a call.

    Args:
      call: the innermost call that produced an output (`graph.Pass.ends`).

    Returns:
      None if the call ends in neither, or acts on another axis than the last. The
      output may then still be probabilities that other code of the model computes.
    """
    if call is None or call.shape is None:
        return None
    axis = getattr(call.layer, "axis", -1)
    if axis not in (-1, len(call.shape) - 1):
        return None
    kind = _kind(call.layer)
    return None if kind is None else EndActivation(kind, call)


def _kind(layer: Any) -> str | None:
    name, module = type(layer).__name__, type(layer).__module__
    if module.startswith("keras.") and name in _OPERATIONS:
        return _OPERATIONS[name]
    if isinstance(layer, _LAYERS):
        for kind, functions in _FUNCTIONS.items():
            if any(layer.activation is function for function in functions):
                return kind
    return None


@contextlib.contextmanager
def logits_of(ends: Sequence[EndActivation]) -> Iterator[list[Any]]:
    """Yields a list that a forward pass in the context fills with the logits.

    Entry i is the input of activation `ends[i]`.
    """
    found: list[Any] = [None] * len(ends)

    def change(place, original, args, kwargs):
        layer = ends[place].call.layer
        if not hasattr(layer, "activation"):
            found[place] = args[0] if args else next(iter(kwargs.values()))
            return original(*args, **kwargs)
        activation = layer.activation

        def record(z, **options):
            found[place] = z
            return activation(z, **options)

        # Bypasses Keras' __setattr__, which would track the attribute.
        object.__setattr__(layer, "activation", record)
        try:
            return original(*args, **kwargs)
        finally:
            object.__setattr__(layer, "activation", activation)

    with graph.changed_calls([end.call for end in ends], change):
        yield found
