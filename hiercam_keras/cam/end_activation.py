"""The softmax or sigmoid that ends a model, and the logits that go into it.

Scores are logits. Undoing an activation by its inverse loses them where a float32
probability rounds to 0 or 1: logit(p) is infinite from z = 17 on. So the activation is
found where a layer holds it, and its input is read, which is exact for every z. The
model itself computes what it always does: its other layers may use the probabilities.
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
# Layers whose output is `activation` of something. Others hold an activation too, as
# LSTM does, and go on to compute with it.
_LAYERS = (keras.layers.Activation, keras.layers.Dense, keras.layers.EinsumDense)
# keras.ops.softmax(x) on a symbolic tensor is a node of this name in the graph.
_OPERATIONS = {"Softmax": SOFTMAX, "Sigmoid": SIGMOID}


@dataclasses.dataclass(frozen=True)
class EndActivation:
    """An activation over the last axis, and the call whose output is the model's."""

    kind: str
    call: graph.Call


def find(call: graph.Call | None) -> EndActivation | None:
    """The softmax or sigmoid that ends a call.

    Args:
      call: the innermost one that made an output (`graph.Pass.ends`).

    Returns:
      None where the call ends in neither, or in a softmax over another axis: the
      output may still be probabilities, made by the model's own code.
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
    """Gives a list that a pass within the context fills with inputs of activations."""
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

        # Past Keras' own __setattr__, which would track it.
        object.__setattr__(layer, "activation", record)
        try:
            return original(*args, **kwargs)
        finally:
            object.__setattr__(layer, "activation", activation)

    with graph.changed_calls([end.call for end in ends], change):
        yield found
