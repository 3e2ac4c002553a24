"""How the tokens of a vision transformer become a grid of cells.

The transformers of keras-hub are recognized by the classes of their layers in one
recorded pass, so that keras-hub need not be imported, and it does not matter whether
a backbone is nested in the model or its layers are the model's own. The number of
special tokens, which come before the patches, is an attribute of the layer that embeds
the patches; the grid is what its convolution, with kernel and stride of one patch,
gives in that pass. Both are compared with the number of tokens that the blocks are
given. Neither a square root of that number nor the shape that a model declares is used:
1 + 14 x 14 is also 5 + 12 x 16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import jax

from hiercam_keras.cam import graph
from hiercam_keras.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Family:
    """The classes of one architecture's layers.

    embedding: makes patches tokens; None where the blocks know their grid. special: how
    many tokens it puts before the patches. square: whether the blocks themselves take
    the grid for a square. pooled: whether heads average the tokens, so that the last
    tokens have a gradient; otherwise they may read the class token alone.
    """

    name: str
    block: str
    embedding: str | None
    special: Callable[[object], int] = lambda layer: 0
    square: bool = False
    pooled: bool = False


def _with_registers(layer) -> int:
    return 1 + int(layer.num_register_tokens)


# As of keras-hub 0.32.
_FAMILIES = (
    _Family(
        "ViT",
        "ViTEncoderBlock",
        "ViTPatchingAndEmbedding",
        lambda layer: int(layer.use_class_token),
    ),
    _Family("DeiT", "DeiTEncoderBlock", "DeiTEmbeddings", lambda layer: 2),
    _Family("DINOv2", "DINOV2Layer", "DINOV2Embedding", _with_registers),
    _Family("DINOv3", "DINOV3Layer", "DINOV3Embedding", _with_registers),
    _Family("Swin", "SwinTransformerBlock", None, pooled=True),
    _Family(
        "MiT",
        "HierarchicalTransformerEncoder",
        "OverlappingPatchingAndEmbedding",
        square=True,
        pooled=True,
    ),
)


@dataclasses.dataclass(frozen=True)
class Grid:
    """special: tokens before the patches. cells: rows and columns of the patches, which
    are in row-major order."""

    special: int
    cells: tuple[int, int]

    @property
    def count(self) -> int:
        """Of all tokens."""
        return self.special + self.cells[0] * self.cells[1]

    def __str__(self) -> str:
        return f"{self.special} special tokens and {self.cells[0]} x {self.cells[1]}"

    def fold(self, tokens: jax.Array) -> jax.Array:
        """(B, special + h * w, C) -> (B, h, w, C), without the special tokens."""
        batch, _, channels = tokens.shape
        return tokens[:, self.special :].reshape(batch, *self.cells, channels)


@dataclasses.dataclass(frozen=True)
class Transformer:
    """A recognized transformer in images of one size.

    name: of the architecture. call: what is explained where no layer was named. grids:
    of the tokens at all depths. blocks: in order.
    """

    name: str
    call: graph.Call
    grids: tuple[Grid, ...]
    blocks: tuple[graph.Call, ...]

    def grid_of(self, call: graph.Call) -> Grid | None:
        """The grid of a call's tokens; None for an array (B, h, w, C).

        Raises:
          UserError: the array has neither the axes of maps nor the number of tokens of
            one grid.
        """
        if len(call.shape) == 4:
            return None
        fits = {grid for grid in self.grids if call.shape[1:2] == (grid.count,)}
        if len(call.shape) == 3 and len(fits) == 1:
            return fits.pop()
        grids = ", ".join(map(str, self.grids))
        raise UserError(
            f"{call.path!r} of a {self.name} gives an array of shape "
            f"{('batch', *call.shape[1:])}, expected (batch, tokens, channels) with "
            f"the tokens of exactly one of its grids ({grids}); give reshape="
        )


def find(calls: Sequence[graph.Call]) -> Transformer | None:
    """The last transformer in a pass, None where there is none that is known.

    Its head may read the class token alone, and the patches of the last block's output
    then have a gradient of 0: the input of the last block is explained. Swin and MiT
    have no class token: the normalized tokens after the last block are explained.

    Args:
      calls: of `graph.record`, those that depend on the image.

    Raises:
      UserError: the layers are not those of the keras-hub that is known here, the
        tokens that the last block is given are not special tokens and patches, or the
        architecture takes an oblong grid for a square.
    """
    for place in range(len(calls) - 1, -1, -1):
        block = calls[place]
        for family in _FAMILIES:
            if _is_a(block, family.block):
                return _read(family, calls, place)
    return None


def block_inputs(calls: Sequence[graph.Call]) -> list[graph.Call]:
    """What each block of the last transformer in a pass is given, in order; [] where
    there is none that is known."""
    for call in reversed(calls):
        for family in _FAMILIES:
            if _is_a(call, family.block):
                blocks = (one for one in calls if _is_a(one, family.block))
                return [graph.input_of(one) for one in blocks]
    return []


def _read(family: _Family, calls: Sequence[graph.Call], place: int) -> Transformer:
    blocks = [call for call in calls if _is_a(call, family.block)]
    try:
        if family.embedding is None:
            found = [_grid_of_block(call) for call in blocks]
        else:
            embedded = [call for call in calls if _is_a(call, family.embedding)]
            found = [_grid_of_embedding(family, call, calls) for call in embedded]
    except AttributeError as error:
        raise UserError(
            f"the layers of a {family.name} of keras-hub 0.32 were expected, found "
            f"others ({error}): give layer= and reshape="
        ) from error
    grids = tuple(dict.fromkeys(found))
    taken = blocks[-1].taken
    if taken is None or taken.shape[1] not in {grid.count for grid in grids}:
        tokens = "no array" if taken is None else f"{taken.shape[1]} tokens"
        raise UserError(
            f"the block {blocks[-1].path!r} of a {family.name} is given {tokens}, "
            f"expected {' or '.join(map(str, grids)) or 'patches'}: give layer= and "
            "reshape="
        )
    oblong = [grid.cells for grid in grids if grid.cells[0] != grid.cells[1]]
    if family.square and oblong:
        raise UserError(
            f"the blocks of a {family.name} of keras-hub take the square root of the "
            f"number of tokens for both sides of the grid, which is "
            f"{oblong[-1][0]} x {oblong[-1][1]}: give square images"
        )
    call = graph.input_of(calls[place])
    if family.pooled:
        call = _normalized(calls[place + 1 :], taken.shape) or call
    return Transformer(family.name, call, grids, tuple(blocks))


def _is_a(call: graph.Call, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(call.layer).__mro__)


def _grid_of_block(call: graph.Call) -> Grid:
    """Of a Swin block, which folds its own tokens so."""
    height, width = call.layer.input_resolution
    return Grid(0, (int(height), int(width)))


def _grid_of_embedding(
    family: _Family, embedding: graph.Call, calls: Sequence[graph.Call]
) -> Grid:
    special = family.special(embedding.layer)
    found = [
        call
        for call in graph.inside(calls, embedding)
        if _is_a(call, "Conv2D") and call.shape is not None
    ]
    if not found:
        raise AttributeError(f"{embedding.path!r} has no convolution of the patches")
    shape = found[0].shape
    first = getattr(found[0].layer, "data_format", None) == "channels_first"
    return Grid(special, shape[2:4] if first else shape[1:3])


def _normalized(
    calls: Iterable[graph.Call], shape: tuple[int, ...]
) -> graph.Call | None:
    """The first normalization of the tokens, outside of blocks."""
    for call in calls:
        if _is_a(call, "LayerNormalization") and call.shape == shape:
            return call
    return None
