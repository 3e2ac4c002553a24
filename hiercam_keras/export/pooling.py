"""Puts pooling over the axes of the picture.

jax2onnx 0.17.1 gives a pooling of arrays (N, H, W, C) as one of a single picture with
one channel and four axes of space, Unsqueeze - MaxPool - Squeeze with the windows
(1, h, w, 1). That is valid ONNX, and ONNX Runtime has no kernel for it: it raises when
it runs the file (three axes at most). A sum, of average pooling, is a Conv with a
kernel of ones of the same shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_TO_FIRST, _TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_LAST, _FIRST = (1, 2), (2, 3)  # the axes of space of (N, H, W, C) and (N, C, H, W)


def over_the_picture(model: Any) -> int:
    """Rewrites the poolings of an `onnx.ModelProto` in place; returns their number.

    Those over other axes than height and width are left as they are.
    """
    from onnx import numpy_helper

    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    constants = {one.name: one for one in graph.initializer}
    count, nodes = 0, []
    dropped: set[str] = set()
    for node in graph.node:
        if node.op_type in ("MaxPool", "Conv"):
            settings = _settings(node)
            windows = settings.get("kernel_shape", ())
            if node.op_type == "Conv" and len(windows) != 4:
                kernel = constants.get(node.input[1])
                windows = kernel.dims[2:] if kernel is not None else ()
            axes = tuple(np.flatnonzero(np.array(windows) != 1).tolist())
            source = _four_axes(node.input[0], made) if len(windows) == 4 else None
            sums = node.op_type == "MaxPool" or _is_ones(node, constants, numpy_helper)
            place = _place_of(axes)
            if source is not None and sums and place is not None:
                nodes += _rewritten(node, source, settings, windows, place)
                dropped.add(node.output[0])
                count += 1
                continue
        nodes.append(node)
    if count:
        del graph.node[:]
        graph.node.extend(nodes)
        stale = [one for one in graph.value_info if one.name in dropped]
        for one in stale:
            graph.value_info.remove(one)
    return count


def _settings(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _place_of(axes: tuple[int, ...]) -> tuple[int, int] | None:
    """The axes of space that a window is over, where it is over no other."""
    for place in (_LAST, _FIRST):
        if axes and set(axes) <= set(place):
            return place
    return None


def _four_axes(name: str, made: dict[str, Any]) -> str | None:
    """What two Unsqueeze in front of a pooling are given."""
    for _ in range(2):
        node = made.get(name)
        if node is None or node.op_type != "Unsqueeze":
            return None
        name = node.input[0]
    return name


def _is_ones(node: Any, constants: dict[str, Any], numpy_helper: Any) -> bool:
    kernel = constants.get(node.input[1]) if len(node.input) == 2 else None
    return kernel is not None and bool((numpy_helper.to_array(kernel) == 1).all())


def _rewritten(
    node: Any,
    source: str,
    settings: dict[str, Any],
    windows: Any,
    place: tuple[int, int],
) -> list[Any]:
    """Nodes that give the output of `node`, (1, 1, N, ...), of `source`, (N, ...)."""
    from onnx import helper, numpy_helper

    out = node.output[0]
    of = {key: settings.get(key, [1] * 4) for key in ("strides", "dilations")}
    pads = settings.get("pads", [0] * 8)
    kept: dict[str, Any] = {key: [found[i] for i in place] for key, found in of.items()}
    kept["kernel_shape"] = [int(windows[i]) for i in place]
    kept["pads"] = [pads[i] for i in place] + [pads[4 + i] for i in place]
    nodes, last = [], place == _LAST
    if last:
        perm = {"perm": _TO_FIRST}
        nodes.append(helper.make_node("Transpose", [source], [f"{out}_first"], **perm))
        source = f"{out}_first"
    pooled = f"{out}_pooled"
    if node.op_type == "MaxPool":
        nodes.append(helper.make_node("MaxPool", [source], [pooled], **kept))
    else:
        kept["count_include_pad"] = 1
        nodes.append(helper.make_node("AveragePool", [source], [f"{out}_mean"], **kept))
        size = np.float32(np.prod(kept["kernel_shape"]))
        times = helper.make_node(
            "Constant", [], [f"{out}_size"], value=numpy_helper.from_array(size)
        )
        nodes.append(times)
        nodes.append(helper.make_node("Mul", [f"{out}_mean", f"{out}_size"], [pooled]))
    if last:
        perm = {"perm": _TO_LAST}
        nodes.append(helper.make_node("Transpose", [pooled], [f"{out}_last"], **perm))
        pooled = f"{out}_last"
    axes = helper.make_node(
        "Constant", [], [f"{out}_axes"], value=numpy_helper.from_array(np.arange(2))
    )
    nodes.append(axes)
    return [*nodes, helper.make_node("Unsqueeze", [pooled, f"{out}_axes"], [out])]
