"""Distributes batches over the devices of the active distribution.

Keras' data parallelism requires batches that are a multiple of its devices. Callers pad
a batch to `padded_size`, distribute it with `place`, and drop the padding from the
results, so any number of images gives the results of a single device.
"""

from typing import Any

import jax
import keras
import numpy as np


def num_local_devices() -> int:
    """Number of this process's devices in the distribution; 1 without one."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    here = jax.process_index()
    devices = distribution.device_mesh.backend_mesh.devices.flat
    return sum(device.process_index == here for device in devices)


def padded_size(count: int) -> int:
    """`count` images rounded up to a multiple of the local devices."""
    devices = num_local_devices()
    return -(-count // devices) * devices


def place(arrays: Any) -> Any:
    """Distributes arrays over the devices along their first axis.

    Args:
      arrays: a tree of arrays. Their first axis is a multiple of the local devices.
        With several processes, each passes its own part of the batch.

    Returns:
      The tree with global `jax.Array`s; `arrays` itself without a distribution.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return arrays

    def one(array):
        array = np.asarray(array)
        layout = distribution.get_data_layout(array.shape).backend_layout
        return jax.make_array_from_process_local_data(layout, array)

    return jax.tree.map(one, arrays)


def sharding() -> jax.sharding.NamedSharding:
    """Sharding of the active distribution along the first axis, for any rank.

    Requires an active distribution.
    """
    distribution = keras.distribution.distribution()
    mesh = distribution.device_mesh.backend_mesh
    spec = jax.sharding.PartitionSpec(distribution.batch_dim_name)
    return jax.sharding.NamedSharding(mesh, spec)


def local_rows(array: jax.Array) -> np.ndarray:
    """Rows of an array with `sharding()` on this process's devices, in order."""
    pieces = sorted(array.addressable_shards, key=lambda one: one.index[0].start or 0)
    return np.concatenate([np.asarray(piece.data) for piece in pieces])
