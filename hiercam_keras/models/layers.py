"""Nested layers of a model, and unique names for its variables.

Keras has no public API for either: `model.layers` and `get_layer` do not enter nested
models, and `variable.path` is not unique (two nested models may both have a
"conv/kernel").
"""

import re
from collections.abc import Iterable, Mapping

import keras

_NUMBER = re.compile(r"(.*?)(?:_(\d+))?", re.DOTALL)  # names may contain newlines


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers directly inside a model or layer, each once."""
    return layer._flatten_layers(include_self=False, recursive=False)


def is_mixed(model: keras.Layer) -> bool:
    """Whether a layer computes in less than float32, as in mixed precision."""
    halves = ("bfloat16", "float16")
    return any(one.compute_dtype in halves for one in [model, *all_layers(model)])


def all_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Every layer inside a model at any depth, each once; nested models included."""
    return model._flatten_layers(include_self=False)


def sublayer_names(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """The layers directly inside a model or layer, by reproducible names.

    Keras numbers unnamed layers over the whole process: the same function may build
    "conv2d" first and "conv2d_7" later. Here automatic names are renumbered within the
    model by class, in the order of creation, so the first is always "conv2d".
    """
    inner = sublayers(layer)
    automatic: dict[str, list[tuple[int, keras.layers.Layer]]] = {}
    for one in inner:
        stem, number = _NUMBER.fullmatch(one.name).groups()
        if _is_automatic(stem, type(one)):
            automatic.setdefault(stem, []).append((int(number or 0), one))
    names = {id(one): one.name for one in inner}
    for stem, numbered in automatic.items():
        for place, (_, one) in enumerate(sorted(numbered, key=lambda pair: pair[0])):
            names[id(one)] = f"{stem}_{place}" if place else stem
    return _unique((names[id(one)], one) for one in inner)


def _is_automatic(stem: str, cls: type) -> bool:
    """Whether the name is derived from the class or one of its base classes.

    A fast layer keeps the automatic name of the stock class that it replaces.
    """
    plain = stem.replace("_", "")
    return any(base.__name__.lower() == plain for base in cls.__mro__)


def _unique(pairs: Iterable[tuple[str, object]]) -> dict:
    """The pairs as a dict; a name that repeats gets a number."""
    found: dict = {}
    for name, value in pairs:
        free, count = name, 0
        while free in found:
            count += 1
            free = f"{name}_{count}"
        found[free] = value
    return found


def named_variables(model: keras.layers.Layer) -> dict[str, keras.Variable]:
    """The weights of a model by "layer/variable" or "outer/inner/variable".

    Includes nested models and sublayers at any depth. Each variable has exactly one
    key, which is equal in every process that builds the model. Unnamed variables of a
    layer are called "variable", "variable_1" and so on. States of random generators are
    excluded.
    """
    found: dict[str, keras.Variable] = {}
    _collect(model, "", found, set())
    return found


def _collect(
    layer: keras.layers.Layer,
    prefix: str,
    found: dict[str, keras.Variable],
    seen: set[int],
) -> None:
    inner = sublayer_names(layer)
    theirs = {id(weight) for one in inner.values() for weight in one.weights}
    own = [w for w in layer.weights if id(w) not in theirs | seen]
    seen.update(map(id, own))
    named = _unique((re.sub(r"^variable_\d+$", "variable", w.name), w) for w in own)
    found.update({f"{prefix}{name}": weight for name, weight in named.items()})
    for name, one in inner.items():
        _collect(one, f"{prefix}{name}/", found, seen)


def layer_output(model: keras.Model, name: str) -> keras.KerasTensor | None:
    """Output of a layer in the graph of a Functional model.

    `layer.output` of a nested model belongs to the nested graph, which is not connected
    to the input of the outer model.

    Args:
      model: Functional.
      name: of a layer in `model.layers`.

    Returns:
      The output tensor. None if the model has no such layer or calls it several times,
      or if the layer has several outputs.
    """
    nodes = [
        node
        for nodes in model._nodes_by_depth.values()
        for node in nodes
        if node.operation.name == name
    ]
    if len(nodes) != 1 or len(nodes[0].output_tensors) != 1:
        return None
    return nodes[0].output_tensors[0]


def top_level_names(model: keras.Model) -> Mapping[str, int]:
    """Index in `model.layers` of each layer, by its reproducible name."""
    names = {id(layer): name for name, layer in sublayer_names(model).items()}
    return {names[id(layer)]: place for place, layer in enumerate(model.layers)}
