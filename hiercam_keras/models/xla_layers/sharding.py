"""Computes weight gradients shard by shard under data parallelism.

XLA cannot partition a loop that indexes the batch axis. By default it gathers all
activations on every device, and each device repeats the full computation. If a
distribution of `keras.distribution` is active, each device sums over its own images
instead, and the partial sums are added (shard_map and psum).
"""

from collections.abc import Callable

import jax
import keras
from jax.sharding import PartitionSpec


def sum_over_batch_shards(
    one_shard: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    dy: jax.Array,
    axes: tuple[int, int] = (0, 0),
) -> jax.Array:
    """Computes one_shard(x, dy), a sum over images, on each shard and adds up.

    The active distribution is read at trace time. A batch that is no multiple of the
    devices is summed without sharding, which is correct but gathers the activations.

    Args:
      one_shard: function of some of the images.
      x, dy: arrays of the batch.
      axes: the axis of the images in each of them.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return one_shard(x, dy)
    axis = distribution.batch_dim_name
    mesh = distribution.device_mesh.backend_mesh
    if x.shape[axes[0]] % mesh.shape[axis]:
        return one_shard(x, dy)

    def local(x, dy):
        return jax.lax.psum(one_shard(x, dy), axis)

    by_image = tuple(PartitionSpec(*[None] * place, axis) for place in axes)
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=by_image,
        out_specs=PartitionSpec(),
        # The loop's initial zeros do not vary over devices, but its results do; the
        # check rejects such loops.
        check_vma=False,
    )(x, dy)
