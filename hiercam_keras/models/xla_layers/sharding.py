"""Weight gradients that stay on their shard under data parallelism.

XLA cannot partition a loop that indexes the batch axis: left alone it gathers the whole
activations on every device, and each device does all the work. So where a distribution
of `keras.distribution` is active, each device sums over its own images, and the sums
are added (shard_map and psum).
"""

from collections.abc import Callable

import jax
import keras
from jax.sharding import PartitionSpec


def sum_over_batch_shards(
    one_shard: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, dy: jax.Array
) -> jax.Array:
    """one_shard(x, dy), which is a sum over the images of both (axis 0).

    The active distribution is read when the step is traced. A batch that its devices
    cannot share evenly is summed in one piece, which is right, but gathers.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return one_shard(x, dy)
    axis = distribution.batch_dim_name
    mesh = distribution.device_mesh.backend_mesh
    if x.shape[0] % mesh.shape[axis]:
        return one_shard(x, dy)

    def local(x, dy):
        return jax.lax.psum(one_shard(x, dy), axis)

    by_image = PartitionSpec(axis)
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(by_image, by_image),
        out_specs=PartitionSpec(),
        # The loop's sums start as zeros that are the same everywhere, which the check
        # for varying values does not take.
        check_vma=False,
    )(x, dy)
