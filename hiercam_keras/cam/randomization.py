"""The weights of a model with layers made random, one after another.

Adebayo et al. 2018 ("Sanity checks for saliency maps", arXiv:1810.03292, section 3.1):
a map that stays the same when the weights are random explains the picture, not the
model. The caller's model is never touched: what is yielded are weights for
`Explainer(..., variables=...)`, which changes nothing and compiles nothing anew.
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
    """One stage. layer: path of the layer that was made random last. number: how many
    layers are random. variables: as `graph.variables_of` gives them."""

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
    """Yields the model's weights with layers made random, the output's layer first.

    Args:
      model: any built Keras model on JAX, of pictures of a known shape.
      order: "cascading" leaves the layers above random, "independent" makes one layer
        random at a time, the others being as trained.
      layers: names or paths of the layers to stop at; None takes every layer that has
        weights of its own. With "cascading", what lies above a named layer becomes
        random with it, so that a deep model needs few stages.
      kind: "shuffle" permutes the values of each array, which keeps their distribution
        and so the scale of activations; an array whose values are all the same, as a
        fresh bias, stays. "normal" draws kernels from a normal distribution of the
        standard deviation that they had, and shuffles vectors.
      seed: each array has a stream of its own, the same in both orders.

    Raises:
      UserError: an unknown order, kind or layer, or a layer without weights.
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
    """How many stages `randomized` yields; arguments and errors are its own."""
    return len(_stages(model, layers, order))


def _stages(model, layers, order) -> list[tuple[str, list]]:
    """(path, variables that become random at this stage), from the output down."""
    calls = graph.record(model, known_specs(model, 2)).calls
    own, seen = [], set()
    for call in calls:
        # Inner layers end before those that hold them, so each weight goes to the
        # innermost layer that has it, and a shared layer counts once.
        variables = [
            variable
            for variable in call.layer.weights
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
