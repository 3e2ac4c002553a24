"""The layers inside a model at any depth, and one name for each of its variables.

Neither is public in Keras: `model.layers` and `get_layer` end at the first nested
model, and `variable.path` repeats (two nested models may both have a "conv/kernel").
"""

import re
from collections.abc import Iterable, Mapping

import keras

_NUMBER = re.compile(r"(.*?)(?:_(\d+))?", re.DOTALL)  # a file may have any name


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers directly inside a model or layer, each once."""
    return layer._flatten_layers(include_self=False, recursive=False)


def all_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Every layer inside a model at any depth, each once; nested models included."""
    return model._flatten_layers(include_self=False)


def sublayer_names(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """The layers directly inside a model or layer, by reproducible names.

    Keras numbers layers without a name over the whole process: the same function builds
    "conv2d" first and "conv2d_7" later. Such names are numbered from the first one of
    their class in this model, in the order of creation; "conv2d" again.
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
    """Whether Keras may have made this name from the class, or from a base of it:
    a fast layer has the name of the stock class that it stands for."""
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
    """The weights of a model by "layer/variable", or "outer/inner/variable".

    Every variable has one key, the same in each process that builds the model, at any
    depth: nested models, and layers inside a layer. A variable without a name, which
    Keras numbers as it comes, is called "variable", a second one of the same layer
    "variable_1". The states of random generators are not among them.
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
    """What a layer of a Functional model gives in the model's own graph.

    `layer.output` of a nested model is that of the nested graph, which is not connected
    to the input of the outer one.

    Args:
      model: Functional.
      name: of a layer of `model.layers`.

    Returns:
      Its output, None where the model has no such layer, calls it several times, or it
      gives several tensors.
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
    """Reproducible names of the layers of a model, with their places in its order."""
    names = {id(layer): name for name, layer in sublayer_names(model).items()}
    return {names[id(layer)]: place for place, layer in enumerate(model.layers)}
