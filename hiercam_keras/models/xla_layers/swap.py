"""Put the fast layers into a Keras model, and take them out again."""

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

# What "auto" swaps, by platform, where it was measured to be faster. cuDNN has its own
# depthwise kernels, and the loops here would run one row at a time on a GPU.
AUTO = {"cpu": KINDS, "gpu": (), "tpu": ()}


def _stock_class(cls: type) -> type:
    return cls.__mro__[1] if cls in FAST.values() else cls


def _kind(layer: keras.layers.Layer) -> str | None:
    """The kind of fast layer that fits a stock layer of exactly this class."""
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


def resolve_kinds(layers: str | tuple[str, ...] = "auto") -> tuple[str, ...]:
    """The kinds to swap here, of "auto", "none", a tuple, or kinds joined by "+".

    Raises UserError for a kind that does not exist, and for kinds asked for by name
    under another backend than JAX, where only "auto" (nothing) and "none" make sense.
    """
    on_jax = keras.backend.backend() == "jax"
    if layers == "none":
        return ()
    if layers == "auto":
        return AUTO.get(jax.default_backend(), ()) if on_jax else ()
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
    # object's own setter, because Keras' tracks the attributes that are set.
    object.__setattr__(layer, "__class__", cls)


def _forget_compiled_steps(model: keras.Model) -> None:
    """Drop jitted train, test and predict functions: they hold the former layers."""
    for name in ("train_function", "test_function", "predict_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)


def accelerate(
    model: keras.Model, layers: str | tuple[str, ...] = "auto"
) -> keras.Model:
    """Make a model's layers fast under XLA, in place; returns the same model.

    Each stock DepthwiseConv2D, Conv2D, BatchNormalization and Activation of swish
    becomes an instance of its fast subclass: the very same layer object, so that names,
    weights, paths, trainable flags, the optimizer and shared layers stay as they are,
    in Functional, Sequential, nested and subclassed models alike. `layers` is "auto"
    (what pays on this platform), "none", or kinds out of "depthwise", "conv1x1",
    "stem", "batchnorm", "swish", also joined as in "depthwise+swish"; kinds that are
    not asked for become stock again.
    Functions that the caller jitted from the model before keep the layers they were
    traced with.

    Raises UserError as `resolve_kinds` does.
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
    """Undo `accelerate`, in place; returns the same model."""
    return accelerate(model, "none")


def accelerated_layers(model: keras.Model) -> dict[str, int]:
    """How many layers of each kind are the fast ones."""
    counts = dict.fromkeys(KINDS, 0)
    for layer in [model, *all_layers(model)]:
        for kind, cls in FAST.items():
            counts[kind] += type(layer) is cls
    return counts
