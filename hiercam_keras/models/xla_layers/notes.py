"""What fast layers remember of their outputs, for the layers that get them as inputs.

Keras calls each layer by itself. A layer that replaces a group of layers asks here how
its input was made, and computes the group in one step; the outputs between, which
nothing else uses, are dropped by XLA. The value is recognized by identity, so the
group is found in Functional, nested and subclassed models alike, and any operation
between two layers of a group separates them.
"""

import weakref
from typing import Any, NamedTuple

import jax


class Convolved(NamedTuple):
    """How a 1x1 convolution without a bias was made."""

    inputs: jax.Array  # (B, H, W, A)
    kernel: jax.Array  # (A, C)


class Normalized(NamedTuple):
    """The arguments of `batchnorm.normalized` for an array."""

    x: jax.Array  # (..., C); the others (C,)
    c: jax.Array
    d: jax.Array
    scale: jax.Array
    beta: jax.Array


_notes: dict[int, tuple[weakref.ref, Any]] = {}


def note(value: Any, origin: Any) -> None:
    """Remembers how a `jax.Array` was made, as long as it exists."""
    key, forget = id(value), _notes.pop
    _notes[key] = weakref.ref(value, lambda _: forget(key, None)), origin


def noted(value: Any) -> Any:
    """The origin of a value; None if it is unknown."""
    found = _notes.get(id(value))
    return found[1] if found is not None and found[0]() is value else None
