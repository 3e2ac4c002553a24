"""Converts and validates image and label arrays given by the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras.errors import UserError


def as_array(value: Any, what: str) -> np.ndarray | jax.Array:
    """Converts an array of any library to NumPy; NumPy and JAX arrays are unchanged.

    Args:
      value: the array.
      what: name of the argument, for the message.

    Raises:
      UserError: the value is not an array of numbers.
    """
    if isinstance(value, (np.ndarray, jax.Array)):
        array = value
    else:
        if hasattr(value, "detach"):  # torch does not convert tensors that require
            value = value.detach().cpu()  # a gradient or are on another device
        try:
            array = np.asarray(value)
        except Exception as error:  # other libraries can raise anything
            raise UserError(
                f"{what}: {type(value).__name__} is no array of numbers ({error}); "
                "give a NumPy array"
            ) from error
    if not (
        jnp.issubdtype(array.dtype, jnp.number)
        or jnp.issubdtype(array.dtype, jnp.bool_)
    ):
        raise UserError(
            f"{what}: expected an array of numbers, found {type(value).__name__} of "
            f"type {array.dtype}"
        )
    return array


def check_images(
    images: np.ndarray | jax.Array, shape: Sequence[int | None] | None
) -> None:
    """Checks that images fit the model's input.

    Args:
      images: any array.
      shape: (H, W, C) of the model's input, with None for axes of any size; None if the
        model declares no shape.

    Raises:
      UserError: the number of axes or the shape differs, the batch is empty, or values
        are not finite. The message suggests a fix.
    """
    found = tuple(images.shape)
    wanted = ("B", *(("H", "W", "C") if shape is None else shape))
    wanted = f"({', '.join('any' if n is None else str(n) for n in wanted)})"
    if len(found) != 4 or not found[0]:
        hint = ""
        if len(found) == 3:
            single = shape is None or _fits(found, shape)
            hint = (
                ". For a single image give images[None]"
                if single or not _fits(found[1:], shape[:2])
                else ". For gray images repeat the channel: np.repeat(images[..., "
                "None], 3, axis=-1)"
            )
        raise UserError(
            f"images are a batch {wanted} with at least one image; found an array of "
            f"shape {found}{hint}"
        )
    if shape is not None and not _fits(found[1:], shape):
        raise UserError(
            f"the model takes images {wanted}, found {found}{_hint(found[1:], shape)}"
        )
    if not jnp.issubdtype(images.dtype, jnp.integer):
        finite = np.isfinite(np.asarray(images, np.float32)).all((1, 2, 3))
        if not finite.all():
            bad = np.flatnonzero(~finite)
            raise UserError(
                f"{len(bad)} of the {len(finite)} images hold NaN or infinite values, "
                f"the first is number {bad[0]}"
            )


def _fits(found: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(found) == len(shape) and all(
        want in (None, n) for n, want in zip(found, shape, strict=True)
    )


def _hint(found: tuple[int, ...], shape: Sequence[int | None]) -> str:
    """Advice for (H, W, C) images of another shape than the model takes."""
    turned = {
        "channels first": ((found[1], found[2], found[0]), "1, -1"),
        "channels last": ((found[2], found[0], found[1]), "-1, 1"),
    }
    for name, (swapped, axes) in turned.items():
        if _fits(swapped, shape):
            return f": they are {name}; np.moveaxis(images, {axes}) turns them"
    axis = 0 if shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4) else 2
    want, same = shape[axis], [i for i in range(3) if i != axis]
    if want is not None and found[axis] != want:
        gray = found[axis] == 1 and want == 3
        if _fits([found[i] for i in same], [shape[i] for i in same]):
            at = 1 if axis == 0 else -1
            how = f"np.repeat(images, 3, axis={at}) makes color of gray"
            return f": {how}" if gray else f": found {found[axis]} channels"
        return ": another size and another number of channels"
    return ": resize them, or build the model for this size"
