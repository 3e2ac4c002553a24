"""Runs a traced function again, one operation at a time, in words that jax2onnx knows.

jax2onnx replaces functions of jax.numpy by its own while it traces, and refuses some
where plain JAX would do. A function that was traced before is replayed without them,
as `jax.extend.core.jaxpr_as_fun` does. Five things are done otherwise here:

* calls of traced functions are inlined;
* what is computed of weights alone is computed now;
* `lax.pad` becomes `jnp.pad`: the converter of the former takes a size that may vary
  for a number;
* the gradient of a max pooling is written in operations that ONNX has (`unpooling`);
* exp(-x^2), the derivative of erf and so of GELU, is computed as it is written: since
  0.12 JAX takes the bits of x apart, which ONNX has no operator for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from hiercam_keras.export import unpooling

# Names of parameters that hold the function of a call.
_CALLS = ("call_jaxpr", "fun_jaxpr", "jaxpr")
_INLINED = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
)


def replayed(traced: core.ClosedJaxpr) -> Callable[..., list[Any]]:
    """A function that computes what `traced` computes."""
    return lambda *args: _run(traced.jaxpr, traced.consts, args)


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(one: Any) -> Any:
        return one.val if isinstance(one, core.Literal) else values[one]

    for eqn in jaxpr.eqns:
        found = _result(eqn, [read(one) for one in eqn.invars])
        values.update(zip(eqn.outvars, found, strict=True))
    return [read(one) for one in jaxpr.outvars]


def _result(eqn: Any, given: list[Any]) -> Sequence[Any]:
    name = eqn.primitive.name
    if name in _INLINED:
        inner = next(eqn.params[key] for key in _CALLS if key in eqn.params)
        if getattr(inner.jaxpr.debug_info, "func_name", "") == "exp_neg_sq":
            return [jnp.exp(-given[0] * given[0])]
        return _run(inner.jaxpr, inner.consts, given)
    if _is_constant(eqn, given):
        with jax.ensure_compile_time_eval():
            return [np.asarray(one) for one in _bound(eqn, given)]
    if name == "pad" and _is_plain(eqn, given):
        array, value = given
        widths = [(low, high) for low, high, _ in eqn.params["padding_config"]]
        return [jnp.pad(array, widths, constant_values=float(value))]
    if name == "select_and_scatter_add" and unpooling.fits(eqn.params):
        return [unpooling.unpooled(*given, eqn.params["window_dimensions"])]
    return _bound(eqn, given)


def _bound(eqn: Any, given: list[Any]) -> Sequence[Any]:
    found = eqn.primitive.bind(*given, **eqn.params)
    return found if eqn.primitive.multiple_results else [found]


def _is_constant(eqn: Any, given: list[Any]) -> bool:
    """Whether an operation is on known values, and gives no more of them."""
    if not given or eqn.effects or any(map(_unknown, given)):
        return False
    shapes = [out.aval.shape for out in eqn.outvars]
    if not all(isinstance(side, int) for shape in shapes for side in shape):
        return False
    return sum(map(np.prod, shapes)) <= sum(np.size(one) for one in given)


def _unknown(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def _is_plain(eqn: Any, given: list[Any]) -> bool:
    """Whether a pad puts a known number around floats."""
    array, value = eqn.invars
    config = eqn.params["padding_config"]
    whole = all(low >= 0 and high >= 0 and not inner for low, high, inner in config)
    real = jnp.issubdtype(array.aval.dtype, jnp.floating)
    return whole and real and not _unknown(given[1])
