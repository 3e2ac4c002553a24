"""Converts signed maps to heatmaps. NumPy only.

A cam is signed and has the resolution of its layer. A heatmap is ReLU(cam), resized
bilinearly to the model's input, then scaled to [0, 1] by (h - min) / (max - min).
Resizing uses half-pixel centers, repeated edges and no antialiasing, as OpenCV's
INTER_LINEAR and, for enlarging, `jax.image.resize` and Pillow do.
"""

import functools

import numpy as np

from hiercam_keras import maps
from hiercam_keras.maps import is_degenerate

_AT_ONCE = 4  # maps processed together, which fit into the CPU cache


def heatmap(cams: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Converts signed maps to heatmaps in [0, 1].

    Args:
      cams: signed maps (..., h, w).
      size: (H, W) in pixels, or one number for both.

    Returns:
      float32 (..., H, W). A degenerate map (`maps.is_degenerate`), also one with NaN,
      gives zeros.
    """
    cams = np.asarray(cams)
    flat = is_degenerate(cams)
    positive = np.where(flat[..., None, None], 0.0, np.maximum(cams, np.float64(0)))
    small = positive.reshape(-1, *cams.shape[-2:])
    height, width = (size, size) if isinstance(size, int) else size
    scaled = np.empty((len(small), height * width), np.float32)
    for start in range(0, len(small), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        large = resize(small[some], size).reshape(-1, height * width)
        large -= large.min(1, keepdims=True)
        span = large.max(1, keepdims=True)
        np.divide(large, np.where(span > 0, span, 1.0), scaled[some])
    scaled[flat.ravel()] = 0
    return scaled.reshape(*cams.shape[:-2], height, width)


def energy(cams: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """`maps.energy` of the resized ReLU(cam): float32 (..., H, W), each sums to 1.

    The minimum is not subtracted, as this would change the shares of energy. A
    degenerate map, including one that is not finite, becomes uniform.
    """
    positive = np.maximum(np.asarray(cams, np.float64), 0.0)
    flat = is_degenerate(positive)[..., None, None]
    large = resize(np.where(flat, 0.0, positive), size)
    return maps.energy(large).astype(np.float32)


def resize(
    maps: np.ndarray, size: int | tuple[int, int], kernel: str = "bilinear"
) -> np.ndarray:
    """Resizes (..., h, w) to (..., H, W), without antialiasing.

    Uses half-pixel centers and repeated edges.

    Args:
      maps: float array.
      size: (H, W), or one number for both.
      kernel: "bilinear", or "bicubic" with a = -0.75 as in OpenCV and PyTorch.
    """
    height, width = (size, size) if isinstance(size, int) else size
    maps = np.asarray(maps)
    rows = _weights(maps.shape[-2], height, kernel).astype(maps.dtype)
    columns = _weights(maps.shape[-1], width, kernel).astype(maps.dtype)
    return rows @ maps @ columns.T


@functools.lru_cache(maxsize=64)
def _weights(source: int, target: int, kernel: str) -> np.ndarray:
    """Interpolation weights (target, source) of one axis; rows sum to 1."""
    center = (np.arange(target) + 0.5) * source / target - 0.5
    reach = {"bilinear": 1, "bicubic": 2}[kernel]
    first = np.floor(center).astype(int) - reach + 1
    weights = np.zeros((target, source))
    for tap in range(2 * reach):
        cell = first + tap
        weight = _kernel(np.abs(center - cell), kernel)
        np.add.at(weights, (np.arange(target), np.clip(cell, 0, source - 1)), weight)
    return weights


def _kernel(distance: np.ndarray, kernel: str) -> np.ndarray:
    if kernel == "bilinear":
        return np.maximum(1 - distance, 0)
    # Cubic convolution (Keys 1981, equation 4 with general a).
    a, d = -0.75, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
