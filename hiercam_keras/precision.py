"""Precision of the products of float32 factors, on devices that round these.

A TPU multiplies bfloat16. At JAX's default precision it rounds float32 factors to that,
once; "high" and "highest" split each factor into two and three parts, for three and six
products (https://docs.jax.dev/en/latest/jax.lax.html#jax.lax.Precision). Factors that
are bfloat16 already, as in mixed precision, gain nothing by that.
"""

import contextlib
from typing import Any

from hiercam_keras.errors import UserError

PRECISIONS = ("auto", "default", "high", "highest")
AS_IT_IS = ""  # JAX's own setting
# What "auto" is for float32 networks: the least at which maps agree with a CPU's to
# 1e-3, see docs/SCALING.md. Elsewhere JAX's setting is left alone.
AUTO = {"tpu": "high"}


def check(precision: str) -> None:
    """Raises UserError for an unknown precision."""
    if precision not in (*PRECISIONS, AS_IT_IS):
        raise UserError(
            f"the precision is {precision!r}, expected one of {', '.join(PRECISIONS)} "
            "(config.cam.precision)."
        )


def of_network(precision: str, mixed: bool) -> str:
    """The precision of a network's products: "auto" changes no mixed precision.

    Args:
      precision: one of PRECISIONS.
      mixed: whether the network computes in less than float32.
    """
    return AS_IT_IS if precision == "auto" and mixed else precision


def resolved(precision: str, family: str | None = None) -> str:
    """Resolves "auto" to a name of `jax.lax.Precision`, or AS_IT_IS.

    Args:
      precision: one of PRECISIONS, or AS_IT_IS.
      family: "tpu", "gpu" or "cpu"; None for that of this process.
    """
    if precision != "auto":
        return precision
    import jax

    if jax.config.jax_default_matmul_precision is not None:
        return AS_IT_IS  # the user has chosen
    return AUTO.get(family or jax.default_backend(), AS_IT_IS)


def of_products(precision: str) -> contextlib.AbstractContextManager[Any]:
    """A context in which a traced program has products of a precision.

    Args:
      precision: see `resolved`.
    """
    import jax

    name = resolved(precision)
    return jax.default_matmul_precision(name) if name else contextlib.nullcontext()
