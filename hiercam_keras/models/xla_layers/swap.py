"""Replaces the layers of a Keras model by their fast versions, and back."""

import jax
import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.layers import all_layers
from hiercam_keras.models.xla_layers.activation import Activation
from hiercam_keras.models.xla_layers.batchnorm import BatchNormalization
from hiercam_keras.models.xla_layers.conv import PointwiseConv2D, StemConv2D
from hiercam_keras.models.xla_layers.depthwise import DepthwiseConv2D

FAST = {
    "depthwise": DepthwiseConv2D,
    "conv1x1": PointwiseConv2D,
    "stem": StemConv2D,
    "batchnorm": BatchNormalization,
    "swish": Activation,
}
KINDS = tuple(FAST)

# Kinds that "auto" replaces, by platform: those measured to be faster. cuDNN has its
# own depthwise kernels, and the loops here would run one row at a time on a GPU.
AUTO = {"cpu": KINDS, "gpu": (), "tpu": ()}


def _stock_class(cls: type) -> type:
    return cls.__mro__[1] if cls in FAST.values() else cls


def _kind(layer: keras.layers.Layer) -> str | None:
    """The kind of fast layer for a stock or fast layer; None if there is none.

    Subclasses of stock layers are not replaced.
    """
    cls = _stock_class(type(layer))
    if cls is keras.layers.DepthwiseConv2D:
        return "depthwise"
    if cls is keras.layers.BatchNormalization:
        return "batchnorm"
    if cls is keras.layers.Activation and layer.activation is keras.activations.silu:
        return "swish"
    if cls is keras.layers.Conv2D:
        return "conv1x1" if set(layer.kernel_size) == {1} else "stem"
    return None


def resolve_kinds(
    layers: str | tuple[str, ...] = "auto", platform: str | None = None
) -> tuple[str, ...]:
    """Resolves "auto", "none", a tuple of kinds, or kinds joined by "+" to kinds.

    Under another backend than JAX "auto" resolves to no kinds. It is what is faster on
    `platform`, "cpu", "gpu" or "tpu"; None: that of this process.

    Raises UserError if a kind does not exist, or if kinds are given explicitly under
    another backend than JAX.
    """
    on_jax = keras.backend.backend() == "jax"
    if layers == "none":
        return ()
    if layers == "auto":
        return AUTO.get(platform or jax.default_backend(), ()) if on_jax else ()
    kinds = tuple(layers.split("+") if isinstance(layers, str) else layers)
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UserError(
            f"layers names {', '.join(map(repr, unknown))}, expected 'auto', 'none' or "
            f"kinds out of {', '.join(KINDS)}."
        )
    if kinds and not on_jax:
        raise UserError(
            "The fast layers need the JAX backend, found "
            f"{keras.backend.backend()!r}. Set KERAS_BACKEND=jax or layers='none'."
        )
    return kinds


def _set_class(layer: keras.layers.Layer, cls: type) -> None:
    # Bypasses the setter of Keras, which tracks attributes.
    object.__setattr__(layer, "__class__", cls)


def _forget_compiled_steps(model: keras.Model) -> None:
    """Drops jitted train, test and predict functions, traced with the old layers."""
    for name in ("train_function", "test_function", "predict_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)


def accelerate(
    model: keras.Model, layers: str | tuple[str, ...] = "auto"
) -> keras.Model:
    """Replaces a model's layers by fast versions, in place; returns the same model.

    The class of each stock DepthwiseConv2D, Conv2D, BatchNormalization and Activation
    of swish is set to its fast subclass. The layer objects remain the same, so names,
    weights, paths, trainable flags, the optimizer and shared layers are unchanged. This
    works for Functional, Sequential, nested and subclassed models. Functions that the
    caller jitted earlier keep the layers of their trace.

    Args:
      model: any Keras model.
      layers: "auto" (the kinds that are faster on this platform), "none", or kinds out
        of KINDS as a tuple or joined as in "depthwise+swish". Layers of all other kinds
        become stock layers again.

    Raises:
      UserError: as `resolve_kinds`.
    """
    kinds = resolve_kinds(layers)
    for layer in [model, *all_layers(model)]:
        kind = _kind(layer)
        if kind is not None:
            cls = FAST[kind] if kind in kinds else _stock_class(type(layer))
            _set_class(layer, cls)
        if isinstance(layer, keras.Model):
            _forget_compiled_steps(layer)
    return model


def stock(model: keras.Model) -> keras.Model:
    """Undoes `accelerate`, in place; returns the same model."""
    return accelerate(model, "none")


def accelerated_layers(model: keras.Model) -> dict[str, int]:
    """Number of fast layers by kind."""
    counts = dict.fromkeys(KINDS, 0)
    for layer in [model, *all_layers(model)]:
        for kind, cls in FAST.items():
            counts[kind] += type(layer) is cls
    return counts
