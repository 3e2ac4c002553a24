"""Identifies the image among a model's inputs, and arranges the other inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import keras
import numpy as np

from hiercam_keras.cam.arrays import as_array
from hiercam_keras.errors import UserError


def structure_of(model: keras.Model) -> Any:
    """A model's inputs as symbolic tensors, in the structure of its call.

    None for a model that is neither Functional nor Sequential.
    """
    tensors = getattr(model, "inputs", None)
    if not tensors:
        return None
    return tensors[0] if isinstance(model, keras.Sequential) else model.input


def known_specs(model: keras.Model, batch: int) -> Any:
    """All inputs as `jax.ShapeDtypeStruct`s of a batch; None for optional inputs.

    Raises:
      UserError: the shape of an input is unknown.
    """
    structure = structure_of(model)
    flat = [] if structure is None else keras.tree.flatten(structure)
    specs = [_describe((), tensor).spec(batch) for tensor in flat]
    if not flat or any(spec is _UNKNOWN for spec in specs):
        raise UserError(
            "the model does not say the shapes of its inputs: build it from "
            "keras.Input with a size"
        )
    return keras.tree.pack_sequence_as(structure, specs)


_UNKNOWN = object()


class _Input(NamedTuple):
    """One input of a model.

    Attributes:
      names: by which a user can refer to it.
      shape: without the batch axis; None if unknown.
      dtype: None if unknown.
      optional: whether it may be omitted.
    """

    names: tuple[Any, ...]
    shape: tuple[int | None, ...] | None
    dtype: str | None
    optional: bool

    def spec(self, batch: int) -> Any:
        """A `jax.ShapeDtypeStruct`; None if optional, _UNKNOWN without a full shape."""
        if self.optional:
            return None
        if self.shape is None or None in self.shape:
            return _UNKNOWN
        return jax.ShapeDtypeStruct((batch, *self.shape), self.dtype or "float32")


class Inputs:
    """The inputs of one model, in the structure of its `call`.

    A Functional or Sequential model declares its inputs. For other models they are
    inferred from the first arrays.

    Args:
      model: the model.
      image_input: name, dict key or index of the image input; None for the only input
        with the shape (batch, H, W, C).

    Raises:
      UserError: no input or several inputs can be the image.
    """

    def __init__(self, model: keras.Model, image_input: str | int | None = None):
        self._asked = image_input
        self._structure: Any = None  # the model's, with places in the flat list
        self._inputs: tuple[_Input, ...] = ()
        self._image = 0
        known = structure_of(model)
        if known is not None:
            self._learn(known)

    def _learn(self, structure: Any) -> None:
        flat = keras.tree.flatten_with_path(structure)
        inputs = tuple(_describe(path, value) for path, value in flat)
        self._image = _find_image(inputs, self._asked)
        if not keras.backend.is_keras_tensor(flat[0][1]):
            # Later arrays may have other sizes than the first ones.
            inputs = tuple(one._replace(shape=None) for one in inputs)
        places = list(range(len(flat)))
        self._structure = keras.tree.pack_sequence_as(structure, places)
        self._inputs = inputs

    def __str__(self) -> str:
        return _listed(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)

    @property
    def image_shape(self) -> tuple[int | None, ...] | None:
        """(H, W, C) of the image input, None for axes of any size; None if unknown."""
        return self._inputs[self._image].shape if self._inputs else None

    @property
    def image_dtype(self) -> str | None:
        """Declared dtype of the image input; None if unknown."""
        return self._inputs[self._image].dtype if self._inputs else None

    def static(self, batch: int) -> tuple[Any, tuple] | None:
        """The image and the other inputs as `jax.ShapeDtypeStruct`s of a batch.

        None if a shape is unknown.
        """
        if not self._inputs:
            return None
        specs = [one.spec(batch) for one in self._inputs]
        if any(spec is _UNKNOWN for spec in specs):
            return None
        image = specs.pop(self._image)
        return image, tuple(specs)

    def split(self, images: Any, others: Any = None) -> tuple[Any, Any]:
        """Splits the arguments of a user into the image and the other inputs.

        Args:
          images: the image array, or all inputs as Keras takes them (a dict or list).
          others: the other inputs, if `images` is the image array: a dict by name, a
            list in the model's order without the image, or a single array.

        Raises:
          UserError: inputs are missing, superfluous or ambiguous.
        """
        if not self._inputs:
            self._learn(self._assembled(images, others))
        several = len(self._inputs) > 1
        whole = isinstance(images, (Mapping, tuple)) or (
            isinstance(images, list) and several
        )
        if not whole:
            return images, others
        if others is not None:
            raise UserError(
                "other_inputs= goes with the image array alone; found "
                f"{type(images).__name__} of all inputs, too"
            )
        flat = self._by_name(images) if isinstance(images, Mapping) else list(images)
        if len(flat) != len(self._inputs):
            raise UserError(
                f"found {len(flat)} inputs, the model has {len(self._inputs)}: {self}"
            )
        image = flat.pop(self._image)
        return image, flat

    def _assembled(self, images: Any, others: Any) -> Any:
        """Arranges the first inputs of a model that does not declare them."""
        if others is None:
            found = images
        elif isinstance(others, Mapping) and isinstance(self._asked, str):
            found = {self._asked: images, **others}
        elif isinstance(others, (list, tuple)) and isinstance(self._asked, int):
            found = [*others]
            found.insert(self._asked, images)
        else:
            raise UserError(
                "the model does not say how it takes its inputs (it is no Functional "
                "model): give all of them as its call takes them, explain({'photo': "
                "images, ...}), or name the image's key or place with image_input="
            )
        if isinstance(found, (Mapping, tuple)) or (
            isinstance(found, list) and others is not None
        ):
            return keras.tree.map_structure(lambda x: as_array(x, "an input"), found)
        return as_array(found, "images")

    def _by_name(self, values: Mapping, without: int | None = None) -> list:
        """Values of a dict in the order of the inputs, without the input `without`."""
        left, found = dict(values), []
        for place, one in enumerate(self._inputs):
            if place == without:
                continue
            names = [name for name in one.names if name in left]
            if not names and not one.optional:
                raise UserError(
                    f"no value for the model's input {one.names[0]!r}; found "
                    f"{', '.join(map(repr, values)) or 'none'}. The model has {self}"
                )
            found.append(left.pop(names[0]) if names else None)
        if left:
            raise UserError(
                f"{next(iter(left))!r} is none of the model's other inputs: {self}"
            )
        return found

    def others(self, values: Any, count: int) -> tuple:
        """The other inputs as arrays with `count` rows, in the model's order.

        Args:
          values: second result of `split`. An array without the batch axis, or with one
            row, is used for every image.
          count: number of images.

        Raises:
          UserError: a value is missing or has another number of rows.
        """
        rest = [one for i, one in enumerate(self._inputs) if i != self._image]
        if values is None:
            values = {}
        elif not isinstance(values, (Mapping, list, tuple)):
            values = [values]
        if isinstance(values, Mapping):
            values = self._by_name(values, self._image)
        if len(values) != len(rest):
            names = ", ".join(repr(one.names[0]) for one in rest) or "none"
            raise UserError(
                f"found {len(values)} other inputs, the model has {len(rest)} besides "
                f"the image: {names}"
            )
        return tuple(
            None if value is None else _rows(value, one, count)
            for value, one in zip(values, rest, strict=True)
        )

    def pack(self, image: Any, others: Sequence[Any]) -> Any:
        """All inputs in the structure of the model's call."""
        flat = [*others]
        flat.insert(self._image, image)
        return keras.tree.map_structure(lambda place: flat[place], self._structure)


def _find_image(inputs: Sequence[_Input], asked: str | int | None) -> int:
    if asked is not None:
        fits = [i for i, one in enumerate(inputs) if asked in one.names]
        if isinstance(asked, int) and not fits and 0 <= asked < len(inputs):
            fits = [asked]
        if len(fits) != 1:
            raise UserError(
                f"image_input={asked!r} is none of the model's inputs: "
                f"{_listed(inputs)}"
            )
        return fits[0]
    fits = [i for i, one in enumerate(inputs) if one.shape and len(one.shape) == 3]
    if len(inputs) == 1 and inputs[0].shape is None:
        fits = [0]
    if len(fits) > 1:
        raise UserError(
            f"several inputs of the model could be the image: {_listed(inputs)}. Say "
            "which with image_input="
        )
    if not fits:
        raise UserError(
            f"no input of the model is a batch of images (H, W, C): {_listed(inputs)}"
        )
    return fits[0]


def _listed(inputs: Sequence[_Input]) -> str:
    return ", ".join(f"{one.names[0]!r} {_shape_text(one.shape)}" for one in inputs)


def _describe(path: tuple, value: Any) -> _Input:
    """Describes an input by a KerasTensor of the model or a first array."""
    names = (path[-1],) if path and isinstance(path[-1], str) else ()
    if not keras.backend.is_keras_tensor(value):
        names = names or (path[-1] if path else "images",)
        # A single array is the image; `check_images` checks its shape.
        shape = tuple(np.shape(value)[1:]) if path else None
        return _Input(names, shape, None, False)
    names = tuple(dict.fromkeys((*names, value.name)))
    operation = value._keras_history.operation
    optional = bool(getattr(operation, "optional", False))
    return _Input(names, tuple(value.shape[1:]), value.dtype, optional)


def _rows(value: Any, one: _Input, count: int) -> Any:
    array = as_array(value, f"the input {one.names[0]!r}")
    axes = None if one.shape is None else len(one.shape)
    if axes is not None and array.ndim == axes:
        array = array[None]
    fits = axes is None or array.ndim == axes + 1
    if not fits or array.ndim == 0 or array.shape[0] not in (1, count):
        raise UserError(
            f"the input {one.names[0]!r} takes {_shape_text(one.shape)}; found an "
            f"array of shape {array.shape} for {count} images. Give one row for each "
            "image, or one for all"
        )
    if array.shape[0] == 1 and count != 1:
        array = np.broadcast_to(np.asarray(array), (count, *array.shape[1:]))
    return array


def _shape_text(shape: tuple | None) -> str:
    return "(batch, ...)" if shape is None else str(("batch", *shape))
