"""Initial values made with NumPy, so that building takes 2 s, not 30.

Keras draws every kernel with a jitted sampler and fills every slot of an optimizer with
a jitted constant, and XLA compiles those again for each shape: some 150 compilations
for EfficientNetB0 with Adam, on every start of the program.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np

# The deviation of a unit normal that is cut off at +-2 (scipy.stats.truncnorm.std).
TRUNCATED_STD = 0.87962566103423978


def variance_scaling(
    shape: tuple[int, ...], scale: float, mode: str, distribution: str, seed: int
) -> np.ndarray:
    """Draw a kernel as `keras.initializers.VarianceScaling` does; float64.

    The variance is scale/n with n the fan-in, the fan-out or their mean, as `mode`
    says; the distribution is "uniform", "truncated_normal" (at two deviations) or
    "untruncated_normal". He et al. 2015, arXiv:1502.01852.
    """
    receptive = math.prod(shape[:-2])
    fan_in, fan_out = shape[-2] * receptive, shape[-1] * receptive
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    std = math.sqrt(scale / max(1.0, fans[mode]))
    rng = np.random.default_rng(seed)
    if distribution == "uniform":
        limit = math.sqrt(3.0) * std
        return rng.uniform(-limit, limit, shape)
    values = rng.standard_normal(shape)
    if distribution == "untruncated_normal":
        return values * std
    outside = np.abs(values) > 2.0
    while outside.any():
        values[outside] = rng.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2.0
    return values * (std / TRUNCATED_STD)


@contextlib.contextmanager
def numpy_initializers() -> Iterator[None]:
    """Within this context Keras makes kernels, zeros and ones with NumPy.

    He, Glorot and LeCun initializers are VarianceScaling. The distribution is Keras';
    the values for a seed are not. What is saved in a layer's config does not change.
    `keras.utils.set_random_seed` makes them repeat, as it does with Keras' own. Kernels
    of fewer than two axes, custom fans, seed generators and variables that are laid out
    over devices are left to Keras.
    """
    cls = keras.initializers.VarianceScaling
    by_keras = cls.__call__

    def draw(self, shape, dtype=None):
        config = self.get_config()
        custom = config.get("input_axes") or config.get("output_axes")
        if custom or len(shape) < 2 or not isinstance(self.seed, int):
            return by_keras(self, shape, dtype=dtype)
        values = variance_scaling(
            tuple(shape), self.scale, self.mode, self.distribution, self.seed
        )
        return keras.ops.convert_to_tensor(values.astype("float32"), dtype=dtype)

    zeros, ones = keras.initializers.Zeros, keras.initializers.Ones
    with (
        mock.patch.object(cls, "__call__", draw),
        mock.patch.object(zeros, "__call__", _fill(0)),
        mock.patch.object(ones, "__call__", _fill(1)),
    ):
        yield


def _fill(value: int) -> Callable[..., Any]:
    def fill(self, shape, dtype=None):
        # In its own dtype, as a cast would be compiled once more.
        values = np.full(shape, value, dtype or keras.config.floatx())
        return keras.ops.convert_to_tensor(values, dtype=values.dtype.name)

    return fill
