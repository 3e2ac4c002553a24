"""The exported function: logits, probabilities, the path and its maps, in JAX.

Grad-CAM weights the channels of the last activations A by alpha = mean_ij dS/dA_ij.
With J = mean_ij dz/dA_ij, the derivative of the network's columns z, that is

    alpha = (dS/dz) J,    dS/dz_c = P(c | n) for the score s_n of a taxon,

and for a head that is linear in A, such as a dense layer after average pooling, J is
the same for every picture: a constant of the file. `head_matrix` finds out by the
traced derivative whether it is. Any other head is differentiated in the file.

Only operations that every reader of ONNX has are used: no argmax (the converter's is of
a newer opset than any runtime reads), top_k in its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.interpreters import partial_eval

from hiercam_keras.cam.keras_network import KerasNetwork
from hiercam_keras.cam.network import CHANNELS_FIRST
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.cam.selection import masked_logsumexp

PHOTOS, TAXA = "photos", "taxa"
LOGITS, PROBABILITIES, PATH = "logits", "probabilities", "path"
ALLOWED = "allowed"
MAPS, STEPS, MAPS_OF_TAXA = "maps", "steps", "maps_of_taxa"
_CHUNK = 32  # columns whose derivatives are computed at once


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of pictures for the converter.

    Attributes:
      call: of photos float32 (N, H, W, 3), RGB in 0 .. 255, and, where `taxa`, of an
        array (T, C) of 0 and 1, the leaves of each taxon. Returns the arrays of
        `outputs`, in their order.
      outputs: names of what it returns.
      taxa: whether it takes the second argument.
      linear: whether the maps need no derivative in the file; None without maps.
    """

    call: Callable[..., tuple[jax.Array, ...]]
    outputs: tuple[str, ...]
    taxa: bool
    linear: bool | None


def logits_name(rank: str, space: ScoreSpace) -> str:
    """Name of the output with the logits of a head."""
    return LOGITS if rank == space.finest else f"{LOGITS}_{rank}"


def probabilities_name(rank: str) -> str:
    """Name of the output with the probabilities of a rank."""
    return f"{PROBABILITIES}_{rank}"


def make(
    network: KerasNetwork, variables: Any, *, maps: bool = True, taxa: bool = True
) -> Function:
    """The function of a network.

    Args:
      network: of `Explainer.network`, with the layer that the maps explain.
      variables: its weights, which become constants.
      maps: whether to return maps.
      taxa: whether to take taxa, and to return their maps; not without `maps`, nor for
        labels that are independent of one another, which have no marginal scores.
    """
    space = network.outputs.space
    exclusive = not space.head_of[space.finest].independent
    taxa = taxa and maps and exclusive
    matrix = head_matrix(network, variables) if maps else None
    targets = _Targets(space)
    restricted = network.outputs.has_allowed

    def call(photos: jax.Array, leaves: jax.Array | None = None):
        images = _as_images(network, photos)
        if maps and matrix is None:
            run = _differentiated(network, variables, images)
        else:
            run = _linear(network, variables, images, matrix)
        columns, logits, activations, slopes = run
        heads = _heads(space, logits)
        found = _answers(space, heads)
        if restricted:
            found[ALLOWED] = network.outputs.allowed(columns)
        leaf = jax.lax.top_k(heads[space.finest], 1)[1]  # (N, 1)
        asked = targets.of_leaf(leaf)
        found[PATH] = asked.labels.astype(jnp.int32)
        if not maps:
            return tuple(found.values())
        wanted = {MAPS: targets.scores(heads, asked)}
        if exclusive:
            wanted[STEPS] = targets.steps(heads, asked)
        # One product for all: of one picture, the number of operations is the time.
        drawn = _maps(slopes(jnp.concatenate([*wanted.values()], 1)), activations)
        found |= zip(wanted, jnp.split(drawn, len(wanted), 1), strict=True)
        if taxa:
            weights = targets.marginals(heads, leaves)
            found[MAPS_OF_TAXA] = _maps(slopes(weights), activations)
        return tuple(found.values())

    names = [logits_name(rank, space) for rank in reversed(space.heads)]
    names += [probabilities_name(rank) for rank in _answered(space)]
    names += [ALLOWED] * restricted
    names += [PATH, *[MAPS] * maps, *[STEPS] * (maps and exclusive)]
    names += [MAPS_OF_TAXA] * taxa
    return Function(call, tuple(names), taxa, matrix is not None if maps else None)


def head_matrix(network: KerasNetwork, variables: Any) -> np.ndarray | None:
    """J, the derivative of the columns averaged over the cells of the layer's maps.

    Returns:
      float32 (columns, channels); None if it is another one for another picture.
    """
    (layer,) = network.layers
    shape = (1, *network.inputs.image_shape)
    image = jax.ShapeDtypeStruct(shape, network.image_dtype or "float32")
    found = jax.eval_shape(
        lambda image: network.columns(variables, image, ())[0], image
    )
    size = sum(one.shape[1] for one in found)

    def slope(image, weights):  # (1, ...), (n,) -> (channels,)
        def columns(delta):
            found, _ = network.columns(variables, image, (), [layer], [delta])
            return jnp.concatenate([one.astype(delta.dtype) for one in found], 1)

        z, pull_back = jax.vjp(columns, layer.zeros(1))
        (grads,) = pull_back(weights[None].astype(z.dtype))
        return layer.fold(grads).mean((1, 2))[0]

    weights = jax.ShapeDtypeStruct((size,), jnp.float32)
    traced = jax.make_jaxpr(slope)(image, weights).jaxpr
    _, used = partial_eval.dce_jaxpr(traced, [True])
    if used[0]:
        return None
    run = jax.jit(jax.vmap(slope, (None, 0)))
    blank = np.zeros(image.shape, image.dtype)
    ones = np.eye(size, dtype=np.float32)
    rows = [run(blank, ones[i : i + _CHUNK]) for i in range(0, len(ones), _CHUNK)]
    return np.concatenate(rows).astype(np.float32)


def _as_images(network: KerasNetwork, photos: jax.Array) -> jax.Array:
    """Photos as the network takes them."""
    dtype = network.image_dtype
    if dtype is not None and not keras.backend.is_float_dtype(dtype):
        photos = jnp.clip(jnp.round(photos), 0, 255)
    photos = photos.astype(dtype or photos.dtype)
    first = network.image_layout == CHANNELS_FIRST
    return jnp.moveaxis(photos, -1, 1) if first else photos


def _linear(network, variables, images, matrix):
    """Columns, logits, activations, and the channels' weights by a constant matrix."""
    layers = [] if matrix is None else list(network.layers)
    nothing = [jnp.zeros((), jnp.float32) for _ in layers]
    columns, found = network.columns(variables, images, (), layers, nothing)
    logits, pull_back = jax.vjp(network.outputs.labelled, columns)

    def slopes(weights):  # (N, K, C) -> (N, K, channels)
        (parts,) = jax.vmap(pull_back, 1, 1)(weights)
        return jnp.concatenate(parts, -1).astype(jnp.float32) @ matrix

    return columns, logits, layers[0].fold(found[0]) if layers else None, slopes


def _differentiated(network, variables, images):
    """Columns, logits, activations, and the channels' weights by differentiation."""
    (layer,) = network.layers

    def forward(delta):
        columns, found = network.columns(variables, images, (), [layer], [delta])
        return network.outputs.labelled(columns), (columns, found)

    dtype = jnp.promote_types(layer.dtype, jnp.float32)
    delta = jnp.zeros((images.shape[0], *layer.shape[1:]), dtype)
    logits, pull_back, (columns, found) = jax.vjp(forward, delta, has_aux=True)

    def slopes(weights):
        (grads,) = jax.vmap(pull_back, 1, 1)(weights)
        return jax.vmap(layer.fold, 1, 1)(grads).mean((2, 3))

    return columns, logits, layer.fold(found[0]), slopes


def _maps(slopes: jax.Array, activations: jax.Array) -> jax.Array:
    """sum_k alpha_k A_k: (N, K, channels), (N, h, w, channels) -> (N, K, h, w)."""
    count, height, width, channels = activations.shape
    cells = activations.astype(slopes.dtype).reshape(count, height * width, channels)
    found = slopes @ cells.transpose(0, 2, 1)
    return found.reshape(count, slopes.shape[1], height, width)


def _answered(space: ScoreSpace) -> tuple[str, ...]:
    """Ranks that have probabilities, coarse to fine."""
    ranks = dict.fromkeys((*space.ranks, *space.heads))
    if space.taxonomy is None:
        return tuple(ranks)
    return tuple(rank for rank in space.taxonomy.ranks if rank in ranks)


def _heads(space: ScoreSpace, logits: jax.Array) -> dict[str, jax.Array]:
    """Logits by rank of the head."""
    sizes = [space.num_labels[rank] for rank in space.heads]
    parts = jnp.split(logits, np.cumsum(sizes)[:-1].tolist(), 1)
    return dict(zip(space.heads, parts, strict=True))


def _answers(space: ScoreSpace, heads: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Logits of the heads, the finest first, and probabilities of the ranks."""
    answers = {logits_name(rank, space): heads[rank] for rank in reversed(heads)}
    shares = {}
    for rank, z in heads.items():
        z = z.astype(jnp.float32)
        alone = space.head_of[rank].independent
        shares[rank] = jax.nn.sigmoid(z) if alone else jax.nn.softmax(z)
    for rank in _answered(space):
        group = space.groups[space.group(rank)]
        if rank in heads:
            answers[probabilities_name(rank)] = shares[rank]
            continue
        rollup = group.owner[:, None] == np.arange(group.size)
        found = shares[space.finest] @ rollup.astype(np.float32)
        answers[probabilities_name(rank)] = found
    return answers


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The taxa on the path of each picture, (N, R) each: labels, and the leaves of the
    taxon and of its parent as ranges `first` .. `last` - 1."""

    labels: jax.Array
    first: jax.Array
    last: jax.Array
    parent_first: jax.Array
    parent_last: jax.Array


class _Targets:
    """Derivatives of scores with respect to the logits, (N, K, C); see `cam.targets`.

    Leaves, the labels of the finest head, are sorted by lineage, so those of a taxon
    are a range. `tables` (leaves, 5, R) has what `_Asked` has, for the path to each
    leaf; a rank without a taxon has an empty range.
    """

    def __init__(self, space: ScoreSpace):
        self._space = space
        self._size = space.num_labels[space.finest]
        missing = space.ancestors == 0  # the root, where a leaf has no taxon
        rows = np.where(missing, -1, space.ancestors)
        starts = np.array([one.start for one in space.groups])
        labels = np.where(missing, -1, rows - starts[space.group_of[rows]])
        parents = np.where(missing, -1, space.parent[rows])
        ranges = _ranges(rows, space.num_rows)
        tables = [labels, *ranges[:, rows], *ranges[:, parents]]
        self._tables = np.stack(tables, 1).astype(np.float32)

    def of_leaf(self, leaf: jax.Array) -> _Asked:
        """The path to a leaf (N, 1)."""
        hot = (leaf == np.arange(self._size)).astype(jnp.float32)
        found = hot @ self._tables.reshape(self._size, -1)
        return _Asked(*jnp.split(found, 5, 1))

    def scores(self, heads: dict[str, jax.Array], asked: _Asked) -> jax.Array:
        """Of the score of the path's taxon at each rank: that of its own head, else the
        marginal."""
        space = self._space
        mine = self._between(asked.first, asked.last)
        if not set(space.ranks) & set(space.heads[:-1]):
            return self._shares(heads, mine, space.finest)
        marginals = jnp.split(mine, len(space.ranks), 1)
        labels = jnp.split(asked.labels[..., None], len(space.ranks), 1)
        found = []
        for rank, below, label in zip(space.ranks, marginals, labels, strict=True):
            own = rank in space.heads[:-1]
            taxa = np.arange(space.num_labels[rank]) if own else None
            head, row = (rank, label == taxa) if own else (space.finest, below)
            found.append(self._shares(heads, row, head))
        return jnp.concatenate(found, 1)

    def steps(self, heads: dict[str, jax.Array], asked: _Asked) -> jax.Array:
        """Of log P(child | parent) along the path."""
        finest = self._space.finest
        z = heads[finest][:, None]
        mine = self._between(asked.first, asked.last)
        theirs = self._between(asked.parent_first, asked.parent_last)
        return self._placed(_share(z, mine) - _share(z, theirs), finest)

    def marginals(self, heads: dict[str, jax.Array], leaves: jax.Array) -> jax.Array:
        """Of the marginal scores of the taxa with the leaves (T, C)."""
        return self._shares(heads, (leaves > 0.5)[None], self._space.finest)

    def _between(self, first: jax.Array, last: jax.Array) -> jax.Array:
        """bool (N, R, leaves)."""
        leaves = np.arange(self._size, dtype=np.float32)
        return (leaves >= first[..., None]) & (leaves < last[..., None])

    def _shares(
        self, heads: dict[str, jax.Array], mine: jax.Array, rank: str
    ) -> jax.Array:
        """P(c | mine) under a head; under one logit, which is the log-odds of two
        classes, less that of the other class."""
        z = heads[rank][:, None]
        found = _share(z, mine)
        if self._space.head_of[rank].one_logit:
            both = mine.any(-1, keepdims=True) & (~mine).any(-1, keepdims=True)
            found = jnp.where(both, found - _share(z, ~mine), 0.0)
        return self._placed(found, rank)

    def _placed(self, weights: jax.Array, head: str) -> jax.Array:
        """Of one head's columns, among those of all heads."""
        parts = [
            weights
            if rank == head
            else jnp.zeros((*weights.shape[:2], self._space.num_labels[rank]))
            for rank in self._space.heads
        ]
        return jnp.concatenate(parts, -1)


def _share(z: jax.Array, mine: jax.Array) -> jax.Array:
    return masked_logsumexp(z, mine)[1]


def _ranges(rows: np.ndarray, count: int) -> np.ndarray:
    """First and last + 1 leaf of each row: int (2, rows + 1), the last one empty.

    Args:
      rows: (leaves, R), the row of each leaf at each rank, -1 for none.
      count: of all rows; row 0 is the root.
    """
    found = np.zeros((2, count + 1), np.int64)
    found[1, 0] = len(rows)
    for leaf, own in enumerate(rows):
        for row in own[own >= 0]:
            if found[1, row] == 0:
                found[0, row] = leaf
            elif found[1, row] != leaf:
                raise ValueError(f"the leaves of row {row} are not contiguous")
            found[1, row] = leaf + 1
    return found


def specs(network: KerasNetwork, batch: Any, taxa: Any = None) -> Sequence[Any]:
    """`jax.ShapeDtypeStruct`s of the arguments of `Function.call`.

    Args:
      network: the network.
      batch, taxa: sizes, numbers or symbolic ones; None for no taxa.
    """
    shape = network.inputs.image_shape
    if network.image_layout == CHANNELS_FIRST:
        shape = (*shape[1:], shape[0])
    found = [jax.ShapeDtypeStruct((batch, *shape), jnp.float32)]
    if taxa is not None:
        leaves = network.outputs.space.num_labels[network.outputs.space.finest]
        found.append(jax.ShapeDtypeStruct((taxa, leaves), jnp.float32))
    return found
