"""Maps from the attention of a vision transformer.

    relevance = legrad(attention, grads)  # (..., T), of every token

Every function takes the attention of all blocks in order, as a sequence of arrays A
(..., N, T, T): N heads, T queries, T keys, rows that add up to 1. `grads` are dy/dA,
the derivative of a score in every number of A as if these were free. The result has one
number for each token as a key, special tokens included. Leading axes, none or several,
are images and targets; those of A and dy/dA broadcast.

`Attention` says where a network has them. The network itself runs as it is: A is
recomputed from the queries and keys of its own pass, and dy/dA is the product of the
gradient in what a head gives, before the projection, with the values. That is exact, as
a head gives A times its values, and no array of T x T has to be kept for the backward
pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from hiercam_keras.cam.methods import Method
    from hiercam_keras.cam.network import Layer
    from hiercam_keras.cam.tokens import Grid

Matrices = Sequence[Any]


def rollout(attention: Matrices, read: Any = None) -> jax.Array:
    """A row of the product of (mean over heads of A + 1) / 2 over all blocks, the last
    block to the left. Abnar and Zuidema 2020, Attention Rollout, arXiv:2005.00928.

    Asks for no class: the map is the same for all targets, as there is no score in it.

    Args:
      read: (..., T), which of the last tokens the network's head reads: the result is
        the mean of their rows. None is the first, the class token.
    """
    if read is None:
        read = jnp.arange(attention[-1].shape[-1]) == 0
    row = jnp.asarray(read, jnp.result_type(attention[-1], jnp.float32))
    row = row / jnp.maximum(row.sum(-1, keepdims=True), 1)
    for matrix in reversed(attention):
        heads = jnp.asarray(matrix).mean(-3)
        row = (row + jnp.einsum("...q,...qk->...k", row, heads)) / 2
    return row


def legrad(attention: Matrices, grads: Matrices) -> jax.Array:
    """sum over blocks of the mean over heads and queries of relu(dy/dA).

    Bousselham et al. 2024, LeGrad, arXiv:2404.03214. y is the score of the network, at
    its end, for all blocks. The authors put the network's head on every block's own
    tokens instead; a head that was trained on the last tokens does not read those of
    others, and the coarser ranks and steps are scores of the last tokens.
    `attention` is not used: the values of A are not in the formula.
    """
    del attention
    return sum(jax.nn.relu(jnp.asarray(g)).mean((-3, -2)) for g in grads)


def gradient_x_attention(attention: Matrices, grads: Matrices) -> jax.Array:
    """sum over blocks of the mean over heads and queries of A dy/dA: signed.

    To first order, what the score loses in each block if nothing attends to a token,
    divided by the numbers of heads and queries. With the ReLU of dy/dA it is Grad-SAM
    (Barkan et al. 2021, arXiv:2204.11073), which shows only what speaks for the target.
    It is not exact over several blocks: the loss in one is counted again in the next.
    """
    return sum(
        (jnp.asarray(a) * jnp.asarray(g)).mean((-3, -2))
        for a, g in zip(attention, grads, strict=True)
    )


@dataclasses.dataclass(frozen=True)
class Heads:
    """The attention of one block.

    Attributes:
      query, key, value: what the projections give.
      mixed: what the output projection is given, A times the values.
      turn: turns queries and keys by their positions; None without rotary positions.
    """

    query: Layer
    key: Layer
    value: Layer
    mixed: Layer
    turn: Callable[[Any, Any], tuple[Any, Any]] | None = None

    def weights(self, query: Any, key: Any) -> jax.Array:
        """A, (B, N, T, T), from queries and keys (B, T, N, H)."""
        if self.turn is not None:
            query, key = self.turn(query, key)
        scores = jnp.einsum("bqnh,bknh->bnqk", query, key)
        return jax.nn.softmax(scores * query.shape[-1] ** -0.5, -1)


@dataclasses.dataclass(frozen=True)
class Attention:
    """The attention of a network, where every token attends to every other.

    Attributes:
      blocks: in order.
      grid: of the tokens.
    """

    blocks: tuple[Heads, ...]
    grid: Grid

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What has to be read, four layers of each block."""
        return tuple(
            layer
            for block in self.blocks
            for layer in (block.query, block.key, block.value, block.mixed)
        )

    def maps(
        self,
        method: Method,
        found: Sequence[tuple[Any, Any]],
        read: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (B, K, h, w).

        Args:
          method: with one of the functions above.
          found: activations (B, T, N, H) and gradients (B, K, T, N, H) of `layers`.
          read: bool (B, T), see `rollout`, for a method without gradients, where K is
            1. What follows the last attention is by token, up to the head: a token that
            is read has a gradient in `mixed` of the last block.
        """
        parts = [found[i : i + 4] for i in range(0, len(found), 4)]
        weights = [
            block.weights(query, key)[:, None]
            for block, ((query, _), (key, _), *_) in zip(
                self.blocks, parts, strict=True
            )
        ]
        if method.gradients:
            slopes = [
                jnp.einsum("bcqnh,bknh->bcnqk", gradient, value)
                for _, _, (value, _), (_, gradient) in parts
            ]
            tokens = method.compute(weights, slopes)  # (B, K, T)
        else:
            tokens = method.compute(weights, read[:, None])
        return jax.vmap(self.grid.fold, 1, 1)(tokens[..., None])[..., 0]
