"""Class activation maps as functions of activations and gradients.

    maps = gradcam(activations, grads)  # (B, h, w, C) twice -> (B, h, w)

Every function takes activations A (..., h, w, C) and g = dy/dA, the gradient of a
score in them, of the same shape, and returns signed maps (..., h, w), before any ReLU.
Leading axes, none or several, are images and targets; those of A and g broadcast. Sums
over i, j are over the cells, sums over k over the channels. Arrays may be NumPy's or
JAX's; the maps are JAX arrays, float32, or float64 where JAX computes in it.

`METHODS` has these functions by the names of methods. The decorator `_method` is what
adds one; nothing else has to know of it. Methods of the attention of a transformer are
in attention.py, and what fuses the maps of several layers in fusion.py.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras.cam.attention import gradient_x_attention, legrad, rollout
from hiercam_keras.cam.fusion import refine
from hiercam_keras.errors import UserError

Map = jax.Array
Array = np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True)
class Method:
    """How the engine runs a method.

    source: "layer" takes activations (and gradients where `gradients`), "layers" lists
    of these, "attention" the attention of all blocks, see attention.py, "random" a key.
    "masking" (scorecam) and "input" (saliency and similar ones) run the model again and
    are in score_cam.py and input_space.py. signed: whether the map can be negative by
    design.
    """

    name: str
    source: str
    compute: Callable | None = None
    gradients: bool = True
    signed: bool = True

    @property
    def place(self) -> str | None:
        """What results name in place of a layer; None for a method of one layer."""
        return _PLACES.get(self.source)

    @property
    def draws(self) -> bool:
        """Whether its maps depend on the seeds of the pictures."""
        return self.source == "random" or self.name == "smoothgrad"


# Sources that need nothing of a network but a layer of it.
ANY_NETWORK = ("layer", "random", "masking", "input")
_PLACES = {"input": "input", "attention": "attention", "layers": "fused"}

METHODS: dict[str, Method] = {}


def _method(name: str, *, gradients: bool = True, signed: bool = True) -> Callable:
    """Registers a function of activations (and gradients) as a method of this name.

    The function is given JAX arrays, float32 or wider, of shapes that were checked.
    """

    def register(function: Callable) -> Callable:
        @functools.wraps(function)
        def compute(activations: Array, grads: Array | None = None) -> Map:
            activations = _floats(activations, "activations")
            if not gradients:
                return function(activations)
            if grads is None:
                raise UserError(
                    f"{name} needs grads, the gradient of a score in the activations"
                )
            grads = _floats(grads, "grads")
            _check_shapes(activations.shape, grads.shape)
            return function(activations, grads)

        METHODS[name] = Method(name, "layer", compute, gradients, signed)
        return compute

    return register


def _floats(value: Any, what: str) -> jax.Array:
    array = jnp.asarray(value)
    if array.ndim < 3 or not array.size:
        raise UserError(
            f"{what} are an array (..., h, w, C), found one of shape {array.shape}"
        )
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _check_shapes(activations: tuple[int, ...], grads: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(activations[:-3], grads[:-3])
        fits = activations[-3:] == grads[-3:]
    except ValueError:
        fits = False
    if not fits:
        raise UserError(
            "activations and grads have the same shape (..., h, w, C), found "
            f"{activations} and {grads}"
        )


def _weighted(activations: jax.Array, weights: jax.Array) -> Map:
    """sum_k w_k A_k: (..., h, w, C), (..., C) -> (..., h, w)."""
    return jnp.einsum("...hwc,...c->...hw", activations, weights)


_CELLS = (-3, -2)


@_method("gradcam")
def gradcam(activations: Array, grads: Array) -> Map:
    """sum_k alpha_k A_k with alpha_k = mean_ij g_k.

    Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2 (their ReLU is left to
    the heatmap).
    """
    return _weighted(activations, grads.mean(_CELLS))


@_method("gradcam++")
def gradcam_plus_plus(activations: Array, grads: Array) -> Map:
    """sum_k w_k A_k with w_k = sum_ij relu(g) g^2 / (2 g^2 + sum_ij(A_k) g^3 + 1e-6),
    where the fraction is 0 wherever g is 0.

    Chattopadhyay et al. 2018, arXiv:1710.11063, equation 19 for a score under exp: the
    factor exp(y) of all derivatives cancels in the fraction and only scales the map,
    and leaving it out keeps float32 from overflowing. The 1e-6 is pytorch-grad-cam's.
    """
    squared = grads**2
    total = activations.sum(_CELLS, keepdims=True)
    below = 2 * squared + total * squared * grads + 1e-6
    # total * g^3 may be negative and meet the rest at 0.
    below = jnp.where((grads != 0) & (below != 0), below, 1.0)
    share = jnp.where(grads != 0, squared / below, 0.0)
    return _weighted(activations, (jax.nn.relu(grads) * share).sum(_CELLS))


@_method("hirescam")
def hirescam(activations: Array, grads: Array) -> Map:
    """sum_k g_k A_k, cell by cell: what each cell adds to the score, exactly so when
    all after the layer is linear. Draelos and Carin 2020, arXiv:2011.08891."""
    return (grads * activations).sum(-1)


@_method("xgradcam")
def xgradcam(activations: Array, grads: Array) -> Map:
    """sum_k w_k A_k with w_k = sum_ij(g_k A_k) / sum_ij(A_k).

    Fu et al. 2020, arXiv:2008.02312, equation 9. With swish the sum of A_k crosses
    zero: the 1e-7 below the fraction keeps the sum's sign, so it cannot cancel it.
    """
    total = activations.sum(_CELLS)
    below = total + jnp.where(total < 0, -1e-7, 1e-7)
    return _weighted(activations, (grads * activations).sum(_CELLS) / below)


@_method("layercam")
def layercam(activations: Array, grads: Array) -> Map:
    """sum_k relu(g_k) A_k, cell by cell. Jiang et al. 2021, LayerCAM,
    doi:10.1109/TIP.2021.3089943, equations 5 and 6."""
    return (jax.nn.relu(grads) * activations).sum(-1)


@_method("gradcam_elementwise", signed=False)
def gradcam_elementwise(activations: Array, grads: Array) -> Map:
    """sum_k relu(g_k A_k), cell by cell: HiResCAM without the channels that speak
    against the target (pytorch-grad-cam's GradCAMElementWise)."""
    return jax.nn.relu(grads * activations).sum(-1)


@_method("eigencam", gradients=False)
def eigencam(activations: Array) -> Map:
    """The centered activations on their first right-singular vector. Asks for no class:
    a control across ranks. Muhammad and Yeasin 2020, arXiv:2008.00299.

    The sign of a singular vector is arbitrary; the map is turned so that its largest
    absolute value is positive. Gradients that are given as a second argument are not
    used.
    """
    *_, h, w, channels = activations.shape
    cells = activations.reshape(*activations.shape[:-3], h * w, channels)
    cells = cells - cells.mean(-2, keepdims=True)
    # The projection X v = s u comes from the smaller of the two Gram matrices.
    scale = jnp.abs(cells).max((-2, -1), keepdims=True)
    cells = cells / jnp.where(scale > 0, scale, 1.0)
    turned = jnp.swapaxes(cells, -1, -2)
    if h * w <= channels:
        values, vectors = jnp.linalg.eigh(cells @ turned)
        size = jnp.sqrt(jnp.maximum(values[..., -1:], 0.0))
        projected = vectors[..., -1] * size
    else:
        _, vectors = jnp.linalg.eigh(turned @ cells)
        projected = (cells @ vectors[..., -1:])[..., 0]
    low, high = projected.min(-1, keepdims=True), projected.max(-1, keepdims=True)
    projected = projected * jnp.where(-low > high, -1.0, 1.0) * scale[..., 0]
    return projected.reshape(activations.shape[:-1])


@_method("eigengradcam")
def eigengradcam(activations: Array, grads: Array) -> Map:
    """Eigen-CAM of g A in place of A: asks for the class again (pytorch-grad-cam's
    EigenGradCAM)."""
    return eigencam(grads * activations)


def refinecam(activations: Sequence[Array], grads: Sequence[Array]) -> Map:
    """The product of the LayerCAM maps of several layers, each scaled to 0 .. 1.

    Domeniconi et al. 2026, RefineCAM, arXiv:2605.14641, see `fusion.refine`. They allow
    any map of a layer; LayerCAM's is made for early layers, the maps of which have no
    use for one weight a channel.
    """
    pairs = zip(activations, grads, strict=True)
    return refine([layercam(a, g) for a, g in pairs])


# No functions of the arrays of one layer; the last ones run the network again.
for _other in (
    Method("refinecam", "layers", refinecam, signed=False),
    Method("rollout", "attention", rollout, gradients=False, signed=False),
    Method("legrad", "attention", legrad, signed=False),
    Method("gradient_x_attention", "attention", gradient_x_attention),
    Method("scorecam", "masking", gradients=False),
    Method("saliency", "input", signed=False),
    Method("smoothgrad", "input", signed=False),
    Method("integrated_gradients", "input"),
):
    METHODS[_other.name] = _other


def random_map(activations: Array, key: jax.Array) -> Map:
    """A control: cells drawn uniformly from [0, 1), from a random key."""
    activations = _floats(activations, "activations")
    return jax.random.uniform(key, activations.shape[:-1], activations.dtype)


METHODS["random"] = Method("random", "random", random_map, False, signed=False)


@_method("center_gaussian", gradients=False, signed=False)
def center_gaussian(activations: Array) -> Map:
    """A control: a Gaussian in the middle, its standard deviation a quarter of each
    side. What a method that only knows that photographers center birds would say.
    Gradients that are given as a second argument are not used."""
    h, w = activations.shape[-3:-1]

    def axis(n):
        offset = (jnp.arange(n) + 0.5) / n - 0.5
        return jnp.exp(-0.5 * (offset / 0.25) ** 2)

    found = jnp.outer(axis(h), axis(w)).astype(activations.dtype)
    return jnp.broadcast_to(found, activations.shape[:-1])


def get_methods(names: str | Sequence[str]) -> tuple[Method, ...]:
    """Methods by name; UserError lists the names there are."""
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"unknown method {name!r}; there are {', '.join(sorted(METHODS))}"
            )
    if not names:
        raise UserError("no method was asked for")
    return tuple(METHODS[name] for name in dict.fromkeys(names))


def unavailable(source: str, reason: str) -> UserError:
    """The error of a network that lacks what the methods of a source need."""
    lack = [name for name, one in METHODS.items() if one.source == source]
    others = [name for name, one in METHODS.items() if one.source in ANY_NETWORK]
    return UserError(
        f"{', '.join(lack)}: {reason}. Of this network these methods can be asked: "
        f"{', '.join(others)}"
    )
