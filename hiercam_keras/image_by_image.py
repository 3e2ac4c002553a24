"""A forward pass whose first layers work on one image at a time, on a CPU.

The activations of the first layers are large and their weights small. Those of one
image stay in the second-level cache of a core; those of a batch are written to main
memory and read again by each layer. `of` traces a function, looks for a place where one
small array is all that the rest needs of the images, and computes what comes before it
in a loop over the images.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend import core

from hiercam_keras import processor

_LEAST_IMAGES = 4
# On more cores each small loop of one image would be divided among them.
_MOST_CORES = 2
# Bytes of one image: an array that makes the loop pay, and one where it may end.
_LARGE, _SMALL = 512 * 2**10, 128 * 2**10
_MOST_WEIGHTS = 2**20  # bytes that the loop reads again for each image


class _State:
    """A singleton; `off` is set by `disabled`."""

    off: bool = False


_state = _State()


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Leaves functions that are traced meanwhile as they are, for other devices."""
    before, _state.off = _state.off, True
    try:
        yield
    finally:
        _state.off = before


def of(function: Callable, num_fixed: int) -> Callable:
    """The same function, with a loop over the images where that is faster.

    This is decided when the function is traced. Results differ by round-off.

    Args:
      function: pure; each row of its results depends on one row of its arguments.
      num_fixed: its first arguments are trees of arrays for all rows. The others are
        trees of arrays with a row for each image; the largest has the images.
    """

    @functools.wraps(function)
    def run(*arguments):
        rows = arguments[num_fixed:]
        if not _applies(rows):
            return function(*arguments)
        whole, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        first = jax.tree.map(_first_row, rows)
        single = jax.make_jaxpr(function)(*arguments[:num_fixed], *first)
        if _names(whole) != _names(single):
            return function(*arguments)
        loop = _find_loop(whole.jaxpr, len(jax.tree.leaves(rows)))
        if loop is None or not _row_by_row(loop, whole.jaxpr, single.jaxpr):
            return function(*arguments)
        results = _with_loop(loop, whole, single, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return run


def _applies(rows: Sequence[Any]) -> bool:
    counts = {array.shape[0] for array in jax.tree.leaves(rows)}
    return (
        not _state.off
        and jax.default_backend() == "cpu"
        and jax.device_count() == 1
        and len(counts) == 1
        and min(counts) >= _LEAST_IMAGES
        and processor.num_cores() <= _MOST_CORES
    )


def _first_row(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *array.shape[1:]), array.dtype)


def _names(program: Any) -> list[str]:
    return [equation.primitive.name for equation in program.jaxpr.eqns]


@dataclasses.dataclass(frozen=True)
class _Loop:
    """What a loop over the images computes.

    Attributes:
      images: the place of the images among the arguments.
      equations: the numbers of its equations.
      result: where the array is made that follows it: equation, place in its results.
    """

    images: int
    equations: frozenset[int]
    result: tuple[int, int]


def _find_loop(jaxpr: Any, num_rows: int) -> _Loop | None:
    """The loop of a program whose last `num_rows` arguments have a row for each image.

    It has what depends on the images and on fixed arrays alone, and ends where one
    small array is all that is read later: at the first such place behind the last large
    array, or at the last place before its weights are too many.
    """
    if jaxpr.effects:
        return None
    rows = jaxpr.invars[-num_rows:]
    images = max(rows, key=_bytes)
    count = images.aval.shape[0]
    numbers = _of_images_alone(jaxpr, images, set(rows) - {images})
    large = [
        place
        for place, number in enumerate(numbers)
        if any(_bytes(made) > _LARGE * count for made in jaxpr.eqns[number].outvars)
    ]
    if not large:
        return None
    ends = [
        (place, result)
        for place, result in _crossings(jaxpr, images, numbers)
        if place > large[0] and _bytes(result) <= _SMALL * count
    ]
    if not ends:
        return None
    place, result = next((end for end in ends if end[0] > large[-1]), ends[-1])
    made = {
        one: (number, at)
        for number, equation in enumerate(jaxpr.eqns)
        for at, one in enumerate(equation.outvars)
    }
    inside = frozenset(numbers[: place + 1])
    return _Loop(jaxpr.invars.index(images), inside, made[result])


def _of_images_alone(jaxpr: Any, images: Any, others: set[Any]) -> list[int]:
    """Numbers of the equations that depend on no other array with rows."""
    numbers, known, others = [], {images}, set(others)
    for number, equation in enumerate(jaxpr.eqns):
        reads = _reads(equation)
        if reads & others:
            others.update(equation.outvars)
        elif reads & known:
            known.update(equation.outvars)
            numbers.append(number)
    return numbers


def _row_by_row(loop: _Loop, whole: Any, single: Any) -> bool:
    """Whether the equations of a loop do to each image what they do to all.

    Others are statistics of the batch, or draws for it: a batch normalization or a
    dropout that a model's own code runs in training mode. The result has the images
    first in both programs.
    """
    images = whole.invars[loop.images]
    count = images.aval.shape[0]
    known = {images}
    filled = {
        one
        for equation in whole.eqns
        if equation.primitive.name == "broadcast_in_dim"
        for one in equation.outvars
    }
    for number in sorted(loop.equations):
        equation, same = whole.eqns[number], single.eqns[number]
        for one, other in zip(equation.invars, same.invars, strict=True):
            fixed = _is_variable(one) and one not in known | filled
            if fixed and one.aval.shape != other.aval.shape:
                return False
        for one, other in zip(equation.outvars, same.outvars, strict=True):
            if one.aval.size != count * other.aval.size:
                return False
        known.update(equation.outvars)
    number, place = loop.result
    shapes = [p.eqns[number].outvars[place].aval.shape for p in (whole, single)]
    return shapes[0][0] == count and shapes[1] == (1, *shapes[0][1:])


def _crossings(jaxpr: Any, images: Any, numbers: Sequence[int]) -> Iterator:
    """Where one array with a row for each image is all that is read later.

    Yields:
      The place among `numbers` behind which the loop may end, and the array.
    """
    inside, end = set(numbers), len(jaxpr.eqns)
    last = {one: end for one in jaxpr.outvars if _is_variable(one)}
    for number, equation in enumerate(jaxpr.eqns):
        for one in _reads(equation):
            last[one] = max(last.get(one, 0), number if number in inside else end)
    known, live, weights = {images}, {images}, {}
    for place, number in enumerate(numbers):
        equation = jaxpr.eqns[number]
        weights |= {one: _bytes(one) for one in _reads(equation) - known}
        if sum(weights.values()) > _MOST_WEIGHTS:
            return
        known.update(equation.outvars)
        live.update(equation.outvars)
        live = {one for one in live if last.get(one, -1) > number}
        if len(live) == 1:
            (result,) = live
            if result.aval.shape[:1] == images.aval.shape[:1]:
                yield place, result


def _is_variable(one: Any) -> bool:
    return not isinstance(one, core.Literal)


def _reads(equation: Any) -> set[Any]:
    return {one for one in equation.invars if _is_variable(one)}


def _bytes(variable: Any) -> int:
    return variable.aval.size * variable.aval.dtype.itemsize


def _with_loop(
    loop: _Loop, whole: Any, single: Any, arguments: Sequence[Any]
) -> list[jax.Array]:
    """The results of a program, given its trace for all images and for one."""
    number, place = loop.result
    one = single.jaxpr
    one = one.replace(
        eqns=one.eqns[: max(loop.equations) + 1],
        outvars=[one.eqns[number].outvars[place]],
    )
    compute = core.jaxpr_as_fun(single.replace(jaxpr=one))
    fixed = [
        array if array.shape == variable.aval.shape else array[:1]
        for array, variable in zip(arguments, one.invars, strict=True)
    ]

    def step(image):
        own = list(fixed)
        own[loop.images] = image[None]
        return compute(*own)[0][0]

    result = jax.lax.map(step, arguments[loop.images])
    rest = whole.jaxpr
    rest = rest.replace(
        constvars=[*rest.constvars, rest.eqns[number].outvars[place]],
        eqns=[made for at, made in enumerate(rest.eqns) if at not in loop.equations],
    )
    rest = whole.replace(jaxpr=rest, consts=[*whole.consts, result])
    return core.jaxpr_as_fun(rest)(*arguments)
