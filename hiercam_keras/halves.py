"""The two halves of a batch in two threads, for inference on a CPU.

XLA divides each of the hundreds of loops of a program among its threads, which wait for
each other at the end of each; with small or memory-bound loops they wait often. Two
programs of half of the batch each are independent until their end.
"""

import concurrent.futures
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from hiercam_keras import malloc, processor

# Smaller batches are computed as they are: halves of 8 pictures of 224 px take 0.90 of
# the time, halves of 8 of 64 px 1.4 (docs/PERFORMANCE.md).
_LEAST_IMAGES = 8
_LEAST_VALUES = 10**6

# Compiled programs of a jitted function, by shapes and settings.
_PROGRAMS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def run(function: Callable, fixed: tuple, rows: tuple) -> Any:
    """Calls function(*fixed, *rows), and returns its results as NumPy arrays.

    Where the halves do not `pay`, it is one call of the function.

    Args:
      function: of `jax.jit`; works row by row.
      fixed: trees of arrays, for example the values of variables.
      rows: trees of arrays with one row for each image, which the results have too.
    """
    if not pay(function, rows):
        return jax.device_get(function(*fixed, *malloc.complete(rows)))
    middle = len(jax.tree.leaves(rows)[0]) // 2
    parts = [
        malloc.complete(jax.tree.map(lambda array: array[half], rows))  # noqa: B023
        for half in (slice(None, middle), slice(middle, None))
    ]
    program = _program(function, (*fixed, *parts[0]))

    def results(part):
        return jax.device_get(program(*fixed, *part))

    first = malloc.second_thread().submit(results, parts[0])
    try:
        second = results(parts[1])
    finally:
        concurrent.futures.wait([first])
    both = first.result(), second
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *both)


def pay(function: Callable, rows: tuple) -> bool:
    """Whether `run` uses threads: the halves have one shape, and enough work, a core
    and fast memory for each."""
    leaves = jax.tree.leaves(rows)
    counts = {len(leaf) for leaf in leaves}
    return (
        jax.default_backend() == "cpu"
        and jax.device_count() == 1
        and hasattr(function, "lower")
        and len(counts) == 1
        and min(counts) >= _LEAST_IMAGES
        and sum(leaf.size for leaf in leaves) >= _LEAST_VALUES
        and min(counts) % 2 == 0
        and processor.num_cores() > 1
        and malloc.second_thread() is not None
    )


def _program(function: Callable, arguments: tuple) -> Callable:
    """The compiled function.

    It is compiled in the calling thread: others have neither the settings of Keras nor
    those that are made by JAX's context managers.
    """
    leaves, tree = jax.tree.flatten(arguments)
    shapes = tuple((np.shape(leaf), str(leaf.dtype)) for leaf in leaves)
    settings = (jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision)
    known = _PROGRAMS.setdefault(function, {})
    key = (tree, shapes, settings)
    if key not in known:
        known[key] = function.lower(*arguments).compile()
    return known[key]
