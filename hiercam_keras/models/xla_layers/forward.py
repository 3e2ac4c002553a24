"""One jitted forward pass in training mode."""

from collections.abc import Callable

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from hiercam_keras.models import stateless


def batch_statistics(model: keras.Model) -> Callable[[np.ndarray], list[jax.Array]]:
    """images (B, H, W, C) -> the non-trainable variables after a pass in training mode.

    The model's own variables are left as they are. Momentum and dropout rates are read
    at the first call with each shape.
    """

    def forward(trainable, non_trainable, images):
        return stateless.call(model, trainable, non_trainable, images, training=True)[1]

    options = {}
    distribution = keras.distribution.distribution()
    if distribution is not None:  # so that every process can read all of them
        mesh = distribution.device_mesh.backend_mesh
        options["out_shardings"] = NamedSharding(mesh, PartitionSpec())
    jitted = jax.jit(forward, **options)
    trainable = [variable.value for variable in model.trainable_variables]
    non_trainable = [variable.value for variable in model.non_trainable_variables]
    return lambda images: jitted(trainable, non_trainable, images)
