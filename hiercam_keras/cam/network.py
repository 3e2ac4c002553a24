"""Protocol of explainable networks: pure functions of weights and images.

`keras_network.py` implements it for Keras models, `function.py` for two user functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from hiercam_keras.cam.attention import Attention
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.errors import UserError

FORMATS = CHANNELS_FIRST, CHANNELS_LAST = "channels_first", "channels_last"


@dataclasses.dataclass(frozen=True)
class Layer:
    """Activations to explain.

    Attributes:
      path: name of the layer.
      shape: of a batch, in the layer's own layout.
      dtype: of the activations.
      fold: function from (B, ...) in the layer's layout to (B, h, w, C), or to (B,
        tokens, heads, channels) for the layers of an attention.
    """

    path: str
    shape: tuple[int, ...]
    dtype: Any
    fold: Callable[[Any], Any]

    def zeros(self, batch: int) -> jax.Array:
        """A delta of zeros for `batch` images, in float32 or wider."""
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        return jnp.zeros((batch, *self.shape[1:]), dtype)

    def map_size(self) -> tuple[int, int]:
        """h and w of the layer's maps.

        Raises:
          UserError: `fold` does not give (B, h, w, C).
        """
        spec = jax.ShapeDtypeStruct(self.shape, self.dtype)
        shape = jax.eval_shape(self.fold, spec).shape
        if len(shape) != 4 or shape[0] != self.shape[0]:
            raise UserError(
                f"reshape= turns {('batch', *self.shape[1:])} of the layer "
                f"{self.path!r} into {shape} for a batch of {self.shape[0]}; "
                "expected (batch, h, w, channels)"
            )
        return shape[1:3]


def fold_of(data_format: str, reshape: Callable | None = None) -> Callable:
    """The `Layer.fold` of a data format; `reshape` if it is given."""
    if reshape is not None:
        return reshape
    if data_format == CHANNELS_FIRST:
        return lambda array: jnp.moveaxis(array, 1, -1)
    return lambda array: array


class Network(Protocol):
    """A network in inference, for images of one shape.

    Attributes:
      layers: the explained layers.
      outputs: reads logits from its outputs; has the score space.
      image_layout: "channels_last" or "channels_first".
      image_dtype: the dtype of images that the network requires; None for any.
    """

    layers: tuple[Layer, ...]
    outputs: Outputs
    image_layout: str
    image_dtype: Any

    def order(self) -> Hashable:
        """What the meaning of `variables` depends on besides their shapes."""

    def stages(self) -> tuple[Layer, ...]:
        """The layers that are fused by methods of several layers.

        Raises:
          UserError: the network has only one.
        """

    def attention(self) -> Attention:
        """The attention of all tokens to all tokens, in every block.

        Raises:
          UserError: the network has none.
        """

    def __call__(
        self,
        variables: Any,
        images: jax.Array,
        others: tuple,
        taps: Sequence[Layer] = (),
        deltas: Sequence[jax.Array] = (),
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Returns logits (B, C), float32 or wider, and the activations of `taps`.

        Args:
          variables: the weights.
          images: in the network's own layout.
          others: the other inputs, which are constant.
          taps: layers of `layers`, `stages` and `attention`.
          deltas: added to the activations of each tap, so that the derivative with
            respect to a delta is that with respect to the activations.
        """
