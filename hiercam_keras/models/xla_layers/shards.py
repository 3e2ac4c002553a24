"""Batches shared among the devices of the active distribution.

Keras' data parallelism takes only batches that its devices can share evenly. Here a
batch is padded with its last image, shared, and the padding cut off what comes back, so
that any number of images gives what one device gives.
"""

from typing import Any

import jax
import keras
import numpy as np


def num_local_devices() -> int:
    """Devices of this process that share its part of a batch; 1 without a
    distribution."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    here = jax.process_index()
    devices = distribution.device_mesh.backend_mesh.devices.flat
    return sum(device.process_index == here for device in devices)


def padded_size(count: int) -> int:
    """The smallest multiple of the local devices that holds `count` images."""
    devices = num_local_devices()
    return -(-count // devices) * devices


def place(arrays: Any) -> Any:
    """Shares arrays among the devices, by their first axis.

    Args:
      arrays: any tree of arrays whose first axis is a multiple of the local devices;
        of several processes each gives its own part of the batch.

    Returns:
      The same tree; untouched without a distribution.
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
    """How the active distribution shares arrays of any number of axes."""
    distribution = keras.distribution.distribution()
    mesh = distribution.device_mesh.backend_mesh
    spec = jax.sharding.PartitionSpec(distribution.batch_dim_name)
    return jax.sharding.NamedSharding(mesh, spec)


def local_rows(array: jax.Array) -> np.ndarray:
    """The rows of an array of `sharding()` that this process's devices hold."""
    pieces = sorted(array.addressable_shards, key=lambda one: one.index[0].start or 0)
    return np.concatenate([np.asarray(piece.data) for piece in pieces])
