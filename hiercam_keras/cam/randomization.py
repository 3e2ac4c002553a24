"""Randomizes the weights of a model layer by layer.

Adebayo et al. 2018 ("Sanity checks for saliency maps", arXiv:1810.03292, section 3.1):
a map that does not change when the weights are randomized explains the image, not the
model. The model itself is not modified: the functions yield weights for
`Explainer(..., variables=...)`, which uses them without recompilation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np

from hiercam_keras.cam import graph
from hiercam_keras.cam.inputs import known_specs
from hiercam_keras.errors import UserError

ORDERS = ("cascading", "independent")
KINDS = ("shuffle", "normal")


@dataclasses.dataclass(frozen=True)
class Randomized:
    """One stage of randomization.

    Attributes:
      layer: path of the layer randomized last.
      number: the number of the stage from 1 for "cascading", always 1 for
      "independent".
      variables: the weights, in the form of `graph.variables_of`.
    """

    layer: str
    number: int
    variables: tuple[list, list]


def randomized(
    model: keras.Model,
    order: str = "cascading",
    *,
    layers: Any = None,
    kind: str = "shuffle",
    seed: int = 0,
) -> Iterator[Randomized]:
    """Yields the model's weights with layers randomized, starting at the output.

    Args:
      model: any built Keras model on JAX with known input shapes.
      order: "cascading" randomizes layers cumulatively, from the output down;
        "independent" randomizes one layer at a time and keeps the trained weights of
        all others.
      layers: names or paths of the layers to randomize; None for every layer with
        weights of its own. With "cascading", the layers between two named ones are
        randomized in the stage of the lower one, so a deep model needs few stages.
      kind: "shuffle" permutes the values of each array, which preserves their
        distribution and thus the scale of activations; an array of equal values, such
        as a new bias, does not change. "normal" draws kernels from a normal
        distribution with mean 0 and their standard deviation, and shuffles vectors.
      seed: of all random streams. Each array has its own stream, equal in both orders.

    Raises:
      UserError: the order, kind or layer is unknown, or a layer has no weights.
    """
    if order not in ORDERS:
        raise UserError(f"order is one of {', '.join(ORDERS)}, not {order!r}")
    if kind not in KINDS:
        raise UserError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
    stages = _stages(model, layers, order)
    trained = graph.variables_of(model)
    places = {
        id(variable): (part, i)
        for part, variables in enumerate(
            (model.trainable_variables, model.non_trainable_variables)
        )
        for i, variable in enumerate(variables)
    }
    current = tuple(map(list, trained))
    for number, (path, variables) in enumerate(stages, 1):
        if order == "independent":
            current = tuple(map(list, trained))
        for variable in variables:
            part, i = places[id(variable)]
            rng = np.random.default_rng([seed, part, i])
            current[part][i] = _random_like(trained[part][i], rng, kind)
        found = tuple(map(list, current))
        yield Randomized(path, number if order == "cascading" else 1, found)


def num_stages(model: keras.Model, order: str, layers: Any = None) -> int:
    """Number of stages that `randomized` yields; same arguments and errors."""
    return len(_stages(model, layers, order))


def _stages(model, layers, order) -> list[tuple[str, list]]:
    """(path, variables randomized at this stage), from the output down."""
    calls = graph.record(model, known_specs(model, 2)).calls
    own, seen = [], set()
    for call in calls:
        # Calls of inner layers end before those of outer layers, so each weight is
        # assigned to its innermost layer, and a shared layer counts once. An operation
        # of keras.ops is no layer and has no weights.
        variables = [
            variable
            for variable in getattr(call.layer, "weights", ())
            if id(variable) not in seen and keras.backend.is_float_dtype(variable.dtype)
        ]
        seen |= {id(variable) for variable in variables}
        if variables:
            own.append((call.path, variables))
    own.reverse()
    if layers is None:
        return own
    paths = [path for path, _ in own]
    ends = {graph.find_call(calls, layer).path for layer in layers}
    missing = ends - set(paths)
    if missing:
        raise UserError(
            f"layer {sorted(missing)[0]!r} has no weights of its own to make random; "
            f"these have: {', '.join(paths[:12])}"
        )
    stages, waiting = [], []
    for path, variables in own:
        waiting = waiting + variables if order == "cascading" else variables
        if path in ends:
            stages.append((path, waiting))
            waiting = []
    return stages


def _random_like(values, rng, kind):
    array = np.asarray(values)
    if kind == "normal" and array.ndim > 1:
        drawn = rng.normal(0, array.std(), array.shape)
    else:
        drawn = rng.permutation(array.reshape(-1)).reshape(array.shape)
    return jnp.asarray(drawn, values.dtype)
