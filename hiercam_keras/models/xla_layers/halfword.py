"""bfloat16 in and out of float32 arithmetic, in forms that are fast under XLA:CPU.

Values of 16 bits are stored, products and sums are computed in float32. XLA:CPU makes
three things of plain `astype` that cost more than the halved memory traffic saves:

- It rounds float32 to bfloat16 with nine vector instructions, three of them for NaN;
  `narrow` has six and the same results, NaN with another payload apart. With jax 0.10
  they also make LLVM use vectors of half the width.
- A float32 copy with several readers is stored, unless all of them are in one loop.
  `copies` gives each reader its own conversion.
- Each primitive on bfloat16 rounds its result, in `x * logistic(x)` five times.

With half of the bytes to wait for, arithmetic is what counts: `sigmoid` has no more
digits than a result of 16 bits keeps.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def accumulator(dtype) -> jnp.dtype:
    """Dtype of arithmetic and sums: float32 for 16-bit values, else `dtype`."""
    return jnp.promote_types(dtype, jnp.float32)


def widen(x: jax.Array) -> jax.Array:
    """x with the dtype of its `accumulator`."""
    return lax.convert_element_type(x, accumulator(x.dtype))


def copies(x: jax.Array, count: int) -> list[jax.Array]:
    """`widen(x)` for each of `count` readers, which XLA cannot merge into one array.

    An array of 32 bits or more is returned as it is.
    """
    if x.dtype == accumulator(x.dtype):
        return [x] * count
    found = []
    for _ in range(count):  # one behind another: XLA merges equal barriers
        x = lax.optimization_barrier(x)
        found.append(widen(x))
    return found


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def narrow(y: jax.Array, dtype) -> jax.Array:
    """y rounded to `dtype`, to nearest even; for results that are stored.

    Where XLA fuses the rounding with a reader that widens again, `astype` is better:
    XLA leaves out both conversions.
    """
    if y.dtype != jnp.float32 or dtype != jnp.bfloat16:
        return lax.convert_element_type(y, dtype)
    bits = lax.bitcast_convert_type(y, jnp.uint32)
    # Half of the last bit that is kept, less one if that bit is even. A NaN of the
    # processor (quiet, no other bits) keeps its exponent; infinity is its own result.
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    kept = ((bits + half) >> np.uint32(16)).astype(jnp.uint16)
    return lax.optimization_barrier(lax.bitcast_convert_type(kept, jnp.bfloat16))


@narrow.defjvp
def _narrow_tangent(dtype, primals, tangents):
    return narrow(primals[0], dtype), tangents[0].astype(dtype)


# 2^f for f in -1/2..1/2 to a relative 8e-5, of least maximal error.
_POWER = (0.05517167, 0.24261114, 0.69326099, 0.99992807)
_LOG2_E = 1.4426950408889634


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def sigmoid(x: jax.Array, dtype) -> jax.Array:
    """1/(1 + exp(-x)) of float32, for a result that is rounded to `dtype`.

    For bfloat16 it is right to a relative 1e-4, a twentieth of the rounding, and takes
    a third less time. For other types it is right to an absolute 1e-7.
    """
    if x.dtype != jnp.float32 or dtype != jnp.bfloat16:
        # XLA's tanh is a quotient of polynomials. Its logistic computes exp, and takes
        # 1.15 to 1.3 times as long in a loop that also reads and writes memory.
        return 0.5 * lax.tanh(0.5 * x) + 0.5
    # exp(-x) = 2^n 2^f; beyond 2^126 it is neither 0 nor infinity in the bits below.
    power = lax.clamp(np.float32(-126), x * np.float32(-_LOG2_E), np.float32(126))
    n = lax.round(power, lax.RoundingMethod.TO_NEAREST_EVEN)
    f = power - n
    scale = jnp.full_like(f, _POWER[0])
    for coefficient in _POWER[1:]:
        scale = scale * f + np.float32(coefficient)
    exponent = n.astype(jnp.int32) << 23
    bits = lax.bitcast_convert_type(scale, jnp.int32) + exponent
    return 1 / (1 + lax.bitcast_convert_type(bits, jnp.float32))


@sigmoid.defjvp
def _sigmoid_tangent(dtype, primals, tangents):
    s = sigmoid(primals[0], dtype)
    return s, tangents[0] * (s * (1 - s))
