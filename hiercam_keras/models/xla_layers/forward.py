"""A jitted forward pass in training mode."""

from collections.abc import Callable

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from hiercam_keras.models import stateless


def batch_statistics(model: keras.Model) -> Callable[[np.ndarray], list[jax.Array]]:
    """Returns a function from images (B, H, W, C) to updated non-trainable variables.

    The function runs one pass in training mode and returns the variables in the order
    of `model.non_trainable_variables`; the model itself is not changed. It uses the
    weights at the time of this call. Momentum and dropout rates are read at the first
    call for each shape.
    """

    def forward(trainable, non_trainable, images):
        return stateless.call(model, trainable, non_trainable, images, training=True)[1]

    options = {}
    distribution = keras.distribution.distribution()
    if distribution is not None:  # replicated, so that every process can read them
        mesh = distribution.device_mesh.backend_mesh
        options["out_shardings"] = NamedSharding(mesh, PartitionSpec())
    jitted = jax.jit(forward, **options)
    trainable = [variable.value for variable in model.trainable_variables]
    non_trainable = [variable.value for variable in model.non_trainable_variables]
    return lambda images: jitted(trainable, non_trainable, images)
