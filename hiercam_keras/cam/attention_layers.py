"""Finds the attention of a transformer that `tokens.find` knows, by its layers' names.

ViT, DeiT and DINOv2 use Keras' MultiHeadAttention, DINOv3 a layer of its own, which
turns queries and keys by rotary positions. Neither keeps its scores, and both call the
layers of their projections, the outputs of which a pass records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from hiercam_keras.cam import graph
from hiercam_keras.cam.attention import Attention, Heads
from hiercam_keras.cam.methods import unavailable
from hiercam_keras.cam.network import Layer
from hiercam_keras.cam.tokens import Grid, Transformer

# As of Keras 3.15 and keras-hub 0.32: the layers of query, key, value and output.
_PROJECTIONS = {
    "MultiHeadAttention": ("query", "key", "value", "attention_output"),
    "DINOV3Attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
}
_ROTARY = "DINOV3RopePositionEmbedding"
_PARTIAL = {
    "Swin": "a token of a Swin attends within its window alone",
    "MiT": "a token of a MiT attends to groups of tokens, of another grid",
}


def find(
    calls: Sequence[graph.Call],
    known: Transformer | None,
    layer_of: Callable[[graph.Call, Callable], Layer],
) -> Attention:
    """The attention of all blocks.

    Args:
      calls: of `graph.record`.
      known: the transformer in this pass.
      layer_of: makes a layer of a call and its fold.

    Raises:
      UserError: there is not exactly one such transformer, its tokens do not attend to
        all tokens, or its layers are not those of the keras-hub that is known here.
    """
    if known is None:
        raise unavailable("attention", "the network has no transformer of keras-hub")
    if known.name in _PARTIAL:
        raise unavailable("attention", _PARTIAL[known.name])
    outer = {block.path.rpartition("/")[0] for block in known.blocks}
    if len(outer) > 1 or len({id(one.layer) for one in known.blocks}) < len(
        known.blocks
    ):
        raise unavailable(
            "attention", "the network has several transformers, or calls one again"
        )
    (grid,) = known.grids
    try:
        blocks = tuple(_heads(calls, block, grid, layer_of) for block in known.blocks)
    except (AttributeError, LookupError) as error:
        raise unavailable(
            "attention",
            f"the layers of a {known.name} of keras-hub 0.32 were expected, found "
            f"others ({error})",
        ) from error
    return Attention(blocks, grid)


def _heads(
    calls: Sequence[graph.Call],
    block: graph.Call,
    grid: Grid,
    layer_of: Callable[[graph.Call, Callable], Layer],
) -> Heads:
    inner = graph.inside(calls, block)
    found = [one.layer for one in inner if type(one.layer).__name__ in _PROJECTIONS]
    if len(found) != 1:
        raise LookupError(f"{block.path} has {len(found)} layers of attention")
    (attention,) = found
    heads = int(attention.num_heads)
    names = {one.path.split(":")[0].rsplit("/", 1)[-1]: one for one in inner}
    *taken, output = (names[name] for name in _PROJECTIONS[type(attention).__name__])
    taken.append(graph.input_of(output))

    def fold(array: Any) -> Any:
        return array.reshape(*array.shape[:2], heads, -1)

    for one in taken:
        if one.shape is None or one.shape[1] != grid.count:
            raise LookupError(f"{one.path} has the shape {one.shape}")
    rotary = [one for one in calls if type(one.layer).__name__ == _ROTARY]
    turn = _rotation(rotary[0], attention, grid.special) if rotary else None
    return Heads(*(layer_of(one, fold) for one in taken), turn=turn)


def _rotation(rotary: graph.Call, attention: Any, special: int) -> Callable:
    """Turns queries and keys (B, T, heads, channels) as a layer of DINOv3 does."""
    apply, taken = attention._apply_rotary, rotary.taken
    shape, dtype = (1, *taken.shape[1:]), taken.dtype

    def turn(query: Any, key: Any) -> tuple[Any, Any]:
        # The positions depend on the size of the images alone.
        cos, sin = rotary.layer(jnp.zeros(shape, dtype))
        return apply(query, key, cos, sin, special)

    return turn
