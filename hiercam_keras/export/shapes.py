"""Takes the arithmetic of shapes out of a graph with a size that may vary.

JAX states the shape of every broadcast and reshape, and jax2onnx computes one with a
size that may vary when the file is run, by Shape - Gather - Concat - Expand. The
operators of ONNX broadcast by themselves, and one size of a reshape may be -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Operators that broadcast their inputs against one another.
_BROADCASTING = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "And", "Or", "Xor"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
}
Shape = tuple[int | str, ...]


def settle(model: Any) -> None:
    """Rewrites an `onnx.ModelProto` in place."""
    shapes = _shapes(model.graph)
    _settle_reshapes(model.graph, shapes)
    _drop_expands(model.graph, shapes)
    prune(model)


def prune(model: Any) -> None:
    """Removes nodes and weights that no output needs, which runtimes may compute."""
    graph = model.graph
    needed = {one.name for one in graph.output}
    kept = []
    for node in reversed(graph.node):  # each comes after what it needs
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for several in (graph.initializer, graph.value_info):
        names = needed | {name for node in kept for name in node.output}
        unused = [one for one in several if one.name not in names]
        for one in unused:
            several.remove(one)


def _shapes(graph: Any) -> dict[str, Shape]:
    """Those that are known, by name; a size that may vary is a name."""
    found: dict[str, Shape] = {one.name: tuple(one.dims) for one in graph.initializer}
    for one in (*graph.input, *graph.value_info, *graph.output):
        kind = one.type.tensor_type
        if not kind.HasField("shape"):
            continue
        sides = [
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param
            for dim in kind.shape.dim
        ]
        if all(side != "" for side in sides):
            found[one.name] = tuple(sides)
    return found


def _settle_reshapes(graph: Any, shapes: dict[str, Shape]) -> None:
    """Makes shapes to reshape to constants: 0 for a size that may vary and keeps its
    place, -1 for another one."""
    from onnx import numpy_helper

    known = {one.name for one in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] in known:
            continue
        before, shape = (shapes.get(one) for one in (node.input[0], node.output[0]))
        if before is None or shape is None or 0 in shape:
            continue
        sides = [side if isinstance(side, int) else -1 for side in shape]
        for place, (old, new) in enumerate(zip(before, shape, strict=False)):
            if old == new and isinstance(new, str):
                sides[place] = 0
        if sides.count(-1) > 1:
            continue
        name = f"{node.output[0]}_shape"
        array = np.array(sides, np.int64)
        graph.initializer.append(numpy_helper.from_array(array, name))
        node.input[1] = name


def _drop_expands(graph: Any, shapes: dict[str, Shape]) -> None:
    """Users of an expanded array that would broadcast it are given the array itself."""
    source = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Expand" and node.output[0] in shapes
    }
    for node in graph.node:
        for place in range(len(node.input)):
            while node.input[place] in source:
                name = node.input[place]
                before = source[name]
                if shapes.get(before) != shapes[name]:
                    others = [one for k, one in enumerate(node.input) if k != place]
                    if not _broadcasts(node, [before, *others], shapes):
                        break
                node.input[place] = before


def _broadcasts(node: Any, inputs: list[str], shapes: dict[str, Shape]) -> bool:
    """Whether a node gives its shape of these inputs, too."""
    wanted = shapes.get(node.output[0])
    given = [shapes.get(one) for one in inputs]
    if node.op_type not in _BROADCASTING or wanted is None or None in given:
        return False
    found = []
    for back in range(1, len(wanted) + 1):
        sides = {one[-back] for one in given if len(one) >= back} - {1}
        if len(sides) > 1:
            return False
        found.append(sides.pop() if sides else 1)
    return tuple(reversed(found)) == wanted
