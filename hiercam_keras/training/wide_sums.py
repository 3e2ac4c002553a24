"""Gradients that devices sum in float32, in mixed precision too.

In mixed precision a weight's gradient is a convolution or product of bfloat16 factors
that also gives bfloat16. Compilers of TPUs and GPUs sum the devices' parts directly
after it, in bfloat16, and the conversion to float32 comes last. Here each device
converts its part to float32, and the parts are added explicitly (shard_map and psum).

The products are found in the traced gradient, so layers of any kind are covered, and
the rest of the batch is still computed as a whole: sums over it, as in batch
normalization, and random numbers are as before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
from absl import logging
from jax.extend import core

from hiercam_keras import wording
from hiercam_keras.errors import UserError
from hiercam_keras.models.xla_layers import sharding

REDUCE = ("auto", "float32")
_PRODUCTS = ("conv_general_dilated", "dot_general")
# Linear operations of one array that only move its elements.
_MOVES = ("broadcast_in_dim", "copy", "reshape", "rev", "slice", "squeeze", "transpose")
_SUMS = ("add", "add_any")
_CALLS = ("jit", "pjit")


def check(options: Any) -> None:
    """Raises UserError for an unknown `config.train.reduce`."""
    if options.get("reduce", "auto") not in REDUCE:
        raise UserError(
            f"config.train.reduce is {options.reduce!r}, expected one of "
            f"{', '.join(REDUCE)}."
        )


def sum_in_float32(model: keras.Model) -> None:
    """Makes the train step of a model sum its gradients in float32, in place.

    The model's class and its saved file do not change. A gradient that is computed in
    another way, such as a loop, is left as it is and counted in the log. Nothing
    changes as long as there is no distribution of `keras.distribution`.
    """
    plain = model.compute_loss_and_updates

    def compute_loss_and_updates(trainable, *arguments, training=False, **named):
        def loss(trainable):
            return plain(trainable, *arguments, training=training, **named)

        shared = keras.distribution.distribution() is not None
        return (differentiable(loss) if training and shared else loss)(trainable)

    model.compute_loss_and_updates = compute_loss_and_updates


def differentiable(
    loss: Callable[[list], tuple[jax.Array, Any]],
) -> Callable[[list], tuple[jax.Array, Any]]:
    """A function with the values of `loss`, and with gradients summed in float32.

    Args:
      loss: float32 weights -> scalar, and anything else, which has no gradient.
    """
    found = jax.custom_vjp(loss)

    def forward(weights):
        value, gradients = value_and_gradients(loss, weights)
        return value, gradients

    def backward(gradients, slopes):
        slope, _ = slopes
        return ([slope * one for one in gradients],)

    found.defvjp(forward, backward)
    return found


def value_and_gradients(
    loss: Callable[[list], tuple[jax.Array, Any]], weights: Sequence[jax.Array]
) -> tuple[tuple[jax.Array, Any], list[jax.Array]]:
    """As `jax.value_and_grad(loss, has_aux=True)`, with sums in float32.

    Args:
      loss: see `differentiable`.
      weights: float32 arrays.
    """
    weights = list(weights)
    traced, shapes = jax.make_jaxpr(
        jax.value_and_grad(loss, has_aux=True), return_shape=True
    )(weights)
    results = traced.jaxpr.outvars
    first = len(results) - len(weights)  # of the gradients
    terms = [_term(one, _made_by(traced)) for one in results[first:]]
    narrow = sum(term.narrow for term in terms)
    if narrow:
        logging.warning(
            "%s of %d are summed over devices in less than float32: their operations "
            "are not known to train.reduce=float32",
            wording.count(narrow, "gradient"),
            len(weights),
        )
    values, read = _evaluated(traced, results[:first], terms, weights)
    gradients = [term.compute(read) for term in terms]
    return jax.tree.unflatten(jax.tree.structure(shapes), [*values, *gradients])


@dataclass(frozen=True)
class _Term:
    """A float32 array as a function of arrays of a traced program.

    Attributes:
      reads: the arrays that it needs, variables of the program.
      compute: takes their values by variable.
      narrow: whether it is rounded to less than float32 before.
    """

    reads: tuple[Any, ...]
    compute: Callable[[Mapping[Any, jax.Array]], jax.Array]
    narrow: bool = False


def _made_by(traced: Any) -> dict[Any, Any]:
    """The equation of each variable of a traced program that is no argument of it."""
    return {made: one for one in traced.jaxpr.eqns for made in one.outvars}


def _evaluated(
    traced: Any, results: Sequence, terms: Sequence[_Term], arguments: Sequence
) -> tuple[list[jax.Array], dict[Any, jax.Array]]:
    """Values of some results, and of all that terms read, by variable."""
    reads = list(dict.fromkeys(one for term in terms for one in term.reads))
    jaxpr = traced.jaxpr.replace(outvars=[*results, *reads])
    values = core.jaxpr_as_fun(traced.replace(jaxpr=jaxpr))(*arguments)
    count = len(results)
    return values[:count], dict(zip(reads, values[count:], strict=True))


def _is_float(atom: Any) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.floating)


def _is_narrow(atom: Any) -> bool:
    return _is_float(atom) and atom.aval.dtype.itemsize < 4


def _term(atom: Any, made_by: Mapping[Any, Any]) -> _Term:
    """A variable of a traced program in float32, without rounding where it was summed.

    Args:
      atom: the variable.
      made_by: the equation of each variable.
    """
    if isinstance(atom, core.Literal):
        return _Term((), lambda read: jnp.asarray(atom.val, jnp.float32))
    made = made_by.get(atom)
    name = made.primitive.name if made is not None else ""
    if name == "convert_element_type" and _is_float(made.invars[0]):
        return _term(made.invars[0], made_by)  # a float32 sum is not rounded after it
    if name in _SUMS:
        return _sum([_term(one, made_by) for one in made.invars])
    if name in _MOVES:
        return _moved(made, _term(made.invars[0], made_by))
    if name in _CALLS:
        return _of_call(made, made.outvars.index(atom))
    if _is_narrow(atom) and name in _PRODUCTS:
        return _product(made)
    if _is_narrow(atom) and name == "reduce_sum":
        return _moved(made, _read(made.invars[0]))
    return _read(atom, narrow=_is_narrow(atom))


def _read(atom: Any, narrow: bool = False) -> _Term:
    return _Term((atom,), lambda read: read[atom].astype(jnp.float32), narrow)


def _sum(terms: Sequence[_Term]) -> _Term:
    reads = tuple(one for term in terms for one in term.reads)
    narrow = any(term.narrow for term in terms)
    return _Term(reads, lambda read: sum(term.compute(read) for term in terms), narrow)


def _moved(made: Any, term: _Term) -> _Term:
    """An equation of one array, applied to a term."""

    def compute(read):
        return made.primitive.bind(term.compute(read), **made.params)

    return _Term(term.reads, compute, term.narrow)


def _product(made: Any) -> _Term:
    """A product, computed on each device for its images and then added up."""

    def part(*factors):
        return made.primitive.bind(*factors, **made.params).astype(jnp.float32)

    def compute(read):
        factors = [read[one] for one in made.invars]
        return sharding.sum_over_batch_shards(part, *factors, axes=_contracted(made))

    return _Term(tuple(made.invars), compute)


def _contracted(made: Any) -> tuple[int, int]:
    """An axis of each factor of a weight's gradient that is summed over: the images.

    JAX computes the gradient of a convolution's kernel as a convolution in which the
    images take the place of the channels.
    """
    numbers = made.params["dimension_numbers"]
    if made.primitive.name == "dot_general":
        (left, right), _ = numbers
        return min(zip(left, right, strict=True))
    return numbers.lhs_spec[1], numbers.rhs_spec[1]


def _of_call(made: Any, place: int) -> _Term:
    """A result of a jitted function that is called.

    The function is computed once more for what the term reads; the compiler, which
    inlines it, finds the two equal.
    """
    called = made.params["jaxpr"]
    term = _term(called.jaxpr.outvars[place], _made_by(called))

    def compute(read):
        _, inside = _evaluated(called, (), [term], [read[one] for one in made.invars])
        return term.compute(inside)

    return _Term(tuple(made.invars), compute, term.narrow)
