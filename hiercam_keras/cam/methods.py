"""Class activation maps from activations and gradients.

Every method takes one image and one target: activations A (h, w, C) and g = dy/dA of
the same shape, both float32 or wider, and gives the signed map (h, w), before any ReLU.
The engine maps them over images and targets. Sums over i, j run over the cells, sums
over k over the channels.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from hiercam_keras.errors import UserError

Map = jax.Array


def gradcam(activations: jax.Array, grads: jax.Array) -> Map:
    """sum_k alpha_k A_k with alpha_k = mean_ij g_k.

    Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2 (their ReLU is left to
    the heatmap).
    """
    return jnp.einsum("hwc,c->hw", activations, grads.mean((0, 1)))


def gradcam_plus_plus(activations: jax.Array, grads: jax.Array) -> Map:
    """sum_k w_k A_k with w_k = sum_ij relu(g) g^2 / (2 g^2 + sum_ij(A_k) g^3 + 1e-6),
    where the fraction is 0 wherever g is 0.

    Chattopadhyay et al. 2018, arXiv:1710.11063, equation 19 for a score under exp: the
    factor exp(y) of all derivatives cancels in the fraction and only scales the map,
    and leaving it out keeps float32 from overflowing. The 1e-6 is pytorch-grad-cam's.
    """
    squared = grads**2
    total = activations.sum((0, 1))
    below = 2 * squared + total * squared * grads + 1e-6
    # total * g^3 may be negative and meet the rest at 0.
    below = jnp.where((grads != 0) & (below != 0), below, 1.0)
    share = jnp.where(grads != 0, squared / below, 0.0)
    return activations @ (jax.nn.relu(grads) * share).sum((0, 1))


def hirescam(activations: jax.Array, grads: jax.Array) -> Map:
    """sum_k g_k A_k, cell by cell: what each cell adds to the score, exactly so when
    all after the layer is linear. Draelos and Carin 2020, arXiv:2011.08891."""
    return (grads * activations).sum(-1)


def xgradcam(activations: jax.Array, grads: jax.Array) -> Map:
    """sum_k w_k A_k with w_k = sum_ij(g_k A_k) / sum_ij(A_k).

    Fu et al. 2020, arXiv:2008.02312, equation 9. With swish the sum of A_k crosses
    zero: the 1e-7 below the fraction keeps the sum's sign, so it cannot cancel it.
    """
    total = activations.sum((0, 1))
    below = total + jnp.where(total < 0, -1e-7, 1e-7)
    return activations @ ((grads * activations).sum((0, 1)) / below)


def layercam(activations: jax.Array, grads: jax.Array) -> Map:
    """sum_k relu(g_k) A_k, cell by cell. Jiang et al. 2021, LayerCAM,
    doi:10.1109/TIP.2021.3089943, equations 5 and 6."""
    return (jax.nn.relu(grads) * activations).sum(-1)


def gradcam_elementwise(activations: jax.Array, grads: jax.Array) -> Map:
    """sum_k relu(g_k A_k), cell by cell: HiResCAM without the channels that speak
    against the target (pytorch-grad-cam's GradCAMElementWise)."""
    return jax.nn.relu(grads * activations).sum(-1)


def eigencam(activations: jax.Array, grads: jax.Array | None = None) -> Map:
    """The centered activations on their first right-singular vector. Asks for no class:
    a control across ranks. Muhammad and Yeasin 2020, arXiv:2008.00299.

    The sign of a singular vector is arbitrary; the map is turned so that its largest
    absolute value is positive.
    """
    h, w, channels = activations.shape
    cells = activations.reshape(h * w, channels)
    cells = cells - cells.mean(0)
    # The projection X v = s u comes from the smaller of the two Gram matrices.
    scale = jnp.max(jnp.abs(cells))
    cells = cells / jnp.where(scale > 0, scale, 1.0)
    if h * w <= channels:
        values, vectors = jnp.linalg.eigh(cells @ cells.T)
        projected = vectors[:, -1] * jnp.sqrt(jnp.maximum(values[-1], 0.0))
    else:
        _, vectors = jnp.linalg.eigh(cells.T @ cells)
        projected = cells @ vectors[:, -1]
    turn = jnp.where(-projected.min() > projected.max(), -1.0, 1.0)
    return (projected * turn * scale).reshape(h, w)


def eigengradcam(activations: jax.Array, grads: jax.Array) -> Map:
    """Eigen-CAM of g A in place of A: asks for the class again (pytorch-grad-cam's
    EigenGradCAM)."""
    return eigencam(grads * activations)


def random_map(activations: jax.Array, key: jax.Array) -> Map:
    """A control: cells drawn uniformly from [0, 1)."""
    return jax.random.uniform(key, activations.shape[:2], activations.dtype)


def center_gaussian(activations: jax.Array, grads: jax.Array | None = None) -> Map:
    """A control: a Gaussian in the middle, its standard deviation a quarter of each
    side. What a method that only knows that photographers center birds would say."""
    h, w = activations.shape[:2]

    def axis(n):
        offset = (jnp.arange(n) + 0.5) / n - 0.5
        return jnp.exp(-0.5 * (offset / 0.25) ** 2)

    return jnp.outer(axis(h), axis(w)).astype(activations.dtype)


@dataclasses.dataclass(frozen=True)
class Method:
    """How the engine is to run a method.

    source: "layer" takes activations (and gradients where `gradients`), "random" a key,
    "masking" (scorecam) and "input" (saliency and kin) run the model again and live in
    score_cam.py and input_space.py. signed: whether the map can be negative by design.
    """

    name: str
    source: str
    compute: Callable | None = None
    gradients: bool = True
    signed: bool = True


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("gradcam", "layer", gradcam),
        Method("gradcam++", "layer", gradcam_plus_plus),
        Method("hirescam", "layer", hirescam),
        Method("xgradcam", "layer", xgradcam),
        Method("layercam", "layer", layercam),
        Method("gradcam_elementwise", "layer", gradcam_elementwise, signed=False),
        Method("eigencam", "layer", eigencam, gradients=False),
        Method("eigengradcam", "layer", eigengradcam),
        Method("scorecam", "masking", gradients=False),
        Method("saliency", "input", signed=False),
        Method("smoothgrad", "input", signed=False),
        Method("integrated_gradients", "input"),
        Method("random", "random", random_map, gradients=False, signed=False),
        Method(
            "center_gaussian", "layer", center_gaussian, gradients=False, signed=False
        ),
    )
}


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
