"""Adapts a Keras model to the `network.Network` protocol."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import keras
import numpy as np

from hiercam_keras.cam import end_activation, graph
from hiercam_keras.cam.attention import Attention
from hiercam_keras.cam.inputs import Inputs
from hiercam_keras.cam.methods import unavailable
from hiercam_keras.cam.network import Layer, fold_of
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.models import stateless

# A network that divides its input by at least this much takes 0..255.
_LARGE = 64.0


@dataclasses.dataclass(frozen=True)
class KerasLayer(Layer):
    """A `network.Layer` with the call that gives it."""

    call: graph.Call


def layer_of(
    model: keras.Model,
    data_format: str | None,
    call: graph.Call,
    fold: Callable | None = None,
) -> KerasLayer:
    """The layer of a call.

    Args:
      model: the model.
      data_format: of its maps; None to use that of the layer.
      call: of `graph.record`.
      fold: turns the array into (B, h, w, C); None where the data format does.
    """
    fold = fold or fold_of(data_format or graph.data_format_of(call, model))
    return KerasLayer(call.path, call.shape, call.dtype, fold, call)


def _no_layers() -> tuple[KerasLayer, ...]:
    raise unavailable("layers", "no layer of the network is explained")


def _no_attention() -> Attention:
    raise unavailable("attention", "no layer of the network is explained")


@dataclasses.dataclass(frozen=True, eq=False)
class KerasNetwork:
    """A `network.Network` for a Keras model and one shape of images.

    Attributes:
      model: the model.
      inputs: its inputs.
      outputs: its outputs.
      layers: the explained ones, recorded at this image shape.
      data_format: of the images; None to use that of the layers.
      find_stages, find_attention: give `stages` and `attention` when they are needed,
        see `network.Network`.
    """

    model: keras.Model
    inputs: Inputs
    outputs: Outputs
    layers: tuple[KerasLayer, ...] = ()
    data_format: str | None = None
    find_stages: Callable[[], tuple[KerasLayer, ...]] = _no_layers
    find_attention: Callable[[], Attention] = _no_attention

    def __post_init__(self):
        # Computed once, as it requires a pass over all layers of the model.
        layout = self.data_format or graph.image_layout(self.model)
        object.__setattr__(self, "image_layout", layout)

    @property
    def image_dtype(self) -> str | None:
        return self.inputs.image_dtype

    @functools.cached_property
    def _stages(self) -> tuple[KerasLayer, ...]:
        return self.find_stages()

    @functools.cached_property
    def _attention(self) -> Attention:
        return self.find_attention()

    def order(self) -> tuple[int, ...]:
        """See `network.Network`."""
        return stateless.order(*stateless.variables(self.model))

    def stages(self) -> tuple[KerasLayer, ...]:
        """See `network.Network`."""
        return self._stages

    def attention(self) -> Attention:
        """See `network.Network`."""
        return self._attention

    def __call__(
        self,
        variables: tuple[list, list],
        images: jax.Array,
        others: tuple,
        taps: Sequence[KerasLayer] = (),
        deltas: Sequence[jax.Array] = (),
    ) -> tuple[jax.Array, list[jax.Array]]:
        """See `network.Network`; `variables` are those of `graph.variables_of`."""
        columns, activations = self.columns(variables, images, others, taps, deltas)
        return self.outputs.labelled(columns), activations

    def columns(
        self,
        variables: tuple[list, list],
        images: jax.Array,
        others: tuple,
        taps: Sequence[KerasLayer] = (),
        deltas: Sequence[jax.Array] = (),
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """As a call, with `Outputs.columns` in place of the logits."""
        given = self.inputs.pack(images, others)
        with end_activation.logits_of(self.outputs.ends) as before:
            found, activations = graph.apply_with_deltas(
                self.model, variables, given, [tap.call for tap in taps], deltas
            )
        return self.outputs.columns(found, before), activations


def prepare_outputs(outputs: Outputs, recorded: graph.Pass) -> None:
    """Determines the heads from one recorded pass; see `Outputs.prepare`."""
    ends = keras.tree.map_structure(end_activation.find, recorded.ends)
    names = keras.tree.map_structure(
        lambda call: getattr(call, "name", None), recorded.ends
    )
    outputs.prepare(recorded.outputs, ends, names)


def takes_bytes(calls: Sequence[graph.Call], dtype: str | None) -> bool:
    """Whether the layers before the first convolution imply images of 0..255.

    True for an integer input, a Rescaling by at most 1/64, or a Normalization with a
    mean above 2.

    Args:
      calls: of `graph.record`.
      dtype: of the image input, or None if unknown.
    """
    if dtype is not None and not keras.backend.is_float_dtype(dtype):
        return True
    for call in calls:
        layer = call.layer
        if "Conv" in type(layer).__name__:
            return False
        if isinstance(layer, keras.layers.Rescaling):
            return bool(np.max(np.abs(layer.scale)) <= 1 / _LARGE)
        if isinstance(layer, keras.layers.Normalization):
            mean, invert = getattr(layer, "mean", None), layer.invert
            return not invert and mean is not None and bool(np.max(mean) > 2)
    return False
