"""Replaces the layers of a Keras model by their fast versions, and back."""

import jax
import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.layers import all_layers
from hiercam_keras.models.xla_layers import lean_layers, one_pass
from hiercam_keras.models.xla_layers.activation import Activation
from hiercam_keras.models.xla_layers.batchnorm import BatchNormalization
from hiercam_keras.models.xla_layers.conv import PointwiseConv2D, StemConv2D
from hiercam_keras.models.xla_layers.depthwise import DepthwiseConv2D
from hiercam_keras.models.xla_layers.squeeze import GlobalAveragePooling2D, Multiply

FAST = {
    "depthwise": (DepthwiseConv2D,),
    "conv1x1": (PointwiseConv2D,),
    "stem": (StemConv2D,),
    "batchnorm": (BatchNormalization,),
    "swish": (Activation,),
    "squeeze": (GlobalAveragePooling2D, Multiply),
    "one_pass": (one_pass.BatchNormalization,),
    "lean": lean_layers.LAYERS,
}
KINDS = tuple(FAST)
CPU_KINDS = ("depthwise", "conv1x1", "stem", "batchnorm", "swish", "squeeze")

# Kinds that "auto" replaces, by platform: those measured to be faster there. The loops
# of the CPU's kinds would run one row at a time on GPUs and TPUs. "lean" and "one_pass"
# move fewer bytes of main memory in programs compiled for these (docs/SCALING.md), but
# no device has timed them yet.
AUTO = {"cpu": CPU_KINDS}

_CLASSES = {cls: kind for kind, classes in FAST.items() for cls in classes}


def _stock_class(cls: type) -> type:
    """The class of Keras that a fast class replaces; other classes are their own."""
    if cls not in _CLASSES:
        return cls
    return next(base for base in cls.__mro__ if base.__module__.startswith("keras.src"))


def _is_pointwise(layer: keras.layers.Layer) -> bool:
    return set(layer.kernel_size) == {1}


def _is_swish(layer: keras.layers.Layer) -> bool:
    return layer.activation is keras.activations.silu


# Which layers of the stock class a fast class replaces; the others: all of them.
_REPLACES = {
    PointwiseConv2D: _is_pointwise,
    StemConv2D: lambda layer: not _is_pointwise(layer),
    Activation: _is_swish,
    lean_layers.Conv2D: _is_pointwise,
    lean_layers.Activation: _is_swish,
}


def _fast_class(layer: keras.layers.Layer, kinds: tuple[str, ...]) -> type:
    """The class for a stock or fast layer: the first that fits, or the stock class.

    Subclasses of stock layers are not replaced.
    """
    stock = _stock_class(type(layer))
    for kind in kinds:
        for cls in FAST[kind]:
            fits = _REPLACES.get(cls, lambda layer: True)
            if _stock_class(cls) is stock and fits(layer):
                return cls
    return stock


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

    The class of each stock layer that has a fast subclass is set to it:
    DepthwiseConv2D, Conv2D, BatchNormalization, Activation of swish, and for "lean"
    also GlobalAveragePooling2D and Multiply. The layer objects remain the same, so
    names, weights, paths, trainable flags, the optimizer and shared layers are
    unchanged. This works for Functional, Sequential, nested and subclassed models.
    Functions that the caller jitted earlier keep the layers of their trace.

    Fast layers have derivatives in reverse mode, of any order, and fixed sizes of
    images. Call `stock` before `jax.jvp`, `jax.jacfwd` or `jax.hessian`, and before an
    export with symbolic heights and widths.

    Args:
      model: any Keras model.
      layers: "auto" (the kinds that are faster on this platform), "none", or kinds out
        of KINDS as a tuple or joined as in "depthwise+swish"; of two kinds for a layer
        the first counts. All other layers become stock layers again.

    Raises:
      UserError: as `resolve_kinds`.
    """
    kinds = resolve_kinds(layers)
    for layer in [model, *all_layers(model)]:
        cls = _fast_class(layer, kinds)
        if cls is not type(layer):
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
        if type(layer) in _CLASSES:
            counts[_CLASSES[type(layer)]] += 1
    return counts
