"""Maps the columns of a network's output to labels: selects, reorders, merges.

The map consists of constant integers, so it is part of the compiled program. If columns
and labels are in the same order, the map is the identity and adds no operations.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


class LabelColumns:
    """The map from the n columns of one head to its N labels.

    Args:
      labels: int (n,), the label of each column, -1 for an excluded column.
      size: number of labels, N.

    Attributes:
      size: N.
      alone: labels that have exactly one column, in the order of the columns.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray, size: int):
        labels = np.asarray(labels, np.int32)
        self.size = size
        self._count = len(labels)
        self._in_order = np.array_equal(labels, np.arange(size))
        kept = np.flatnonzero(labels >= 0)
        # Sorted by label; columns of one label keep the network's order.
        self._columns = kept[np.argsort(labels[kept], kind="stable")]
        self._present, self._owner, counts = np.unique(
            labels[self._columns], return_inverse=True, return_counts=True
        )
        # In column order, so that for a one-logit head class 1 comes second.
        self.alone = labels[np.isin(labels, self._present[counts == 1])]

    def __len__(self) -> int:
        """Number of columns, n."""
        return self._count

    @property
    def left_out(self) -> bool:
        """Whether any column is excluded."""
        return len(self._columns) < self._count

    @property
    def num_present(self) -> int:
        """Number of labels with at least one column."""
        return len(self._present)

    def gather(self, z: jax.Array, independent: bool = False) -> jax.Array:
        """Logits of the labels (B, N) from logits of the columns (B, n).

        The logit of a label with several columns is their logsumexp, so its softmax
        probability is the sum of theirs. For independent columns (sigmoids) a label is
        true if any of its columns is: P = 1 - prod(1 - sigmoid(z)). A label without a
        column has the logit -inf.
        """
        if self._in_order:
            return z
        z = z[:, self._columns]
        if self.num_present < len(self._columns):
            merge = _any_of if independent else _logsumexp
            z = merge(z.T, self._owner, self.num_present).T
        if self.num_present < self.size:
            # Not len(z): the number of pictures may be a symbol in an exported graph.
            ruled_out = jnp.full((z.shape[0], self.size), -jnp.inf, z.dtype)
            z = ruled_out.at[:, self._present].set(z)
        return z


def _logsumexp(z: jax.Array, owner: np.ndarray, size: int) -> jax.Array:
    """logsumexp of the rows (n, B) of each owner: (size, B)."""
    top = jax.lax.stop_gradient(jax.ops.segment_max(z, owner, size))
    top = jnp.where(jnp.isneginf(top), 0.0, top)
    total = jax.ops.segment_sum(jnp.exp(z - top[owner]), owner, size)
    none = total == 0  # all logits of the owner are -inf
    return jnp.where(none, -jnp.inf, top + jnp.log(jnp.where(none, 1.0, total)))


def _any_of(z: jax.Array, owner: np.ndarray, size: int) -> jax.Array:
    """Log-odds that any of the rows (n, B) of each owner is true: (size, B).

    With t = sum softplus(z) = -log prod(1 - sigmoid(z)) the log-odds are
    log(exp(t) - 1), approximately the logsumexp of z for small t.
    """
    sums = functools.partial(jax.ops.segment_sum, segment_ids=owner, num_segments=size)
    total = sums(jax.nn.softplus(z))
    small = total < 1e-6
    safe = jnp.where(small, 1.0, total)
    found = jnp.where(
        small, _logsumexp(z, owner, size), safe + jnp.log(-jnp.expm1(-safe))
    )
    # A label with a single column gets exactly the logit of that column.
    first = z[np.unique(owner, return_index=True)[1]]
    alone = np.bincount(owner, minlength=size) == 1
    return jnp.where(alone[:, None], first, found)
