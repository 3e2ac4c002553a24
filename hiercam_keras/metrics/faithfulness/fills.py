"""Replacements for removed pixels.

No replacement is neutral. Black is a color like others in 0 .. 255; the mean color
keeps the brightness; a blur keeps the rough scene; noise does not occur in pictures.
The noisy linear imputation of ROAD resembles a picture, so neither the edges of the
hole nor an unusual color carry information.
"""

from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

EDGE, DIAGONAL = 1 / 6, 1 / 12  # weights of the eight neighbors; they add up to 1
_NEIGHBORS = [
    (dy, dx, EDGE if 0 in (dy, dx) else DIAGONAL)
    for dy in (-1, 0, 1)
    for dx in (-1, 0, 1)
    if (dy, dx) != (0, 0)
]


def whole_fill(
    images: Any, kind: str, seeds: Any = None, sigma: float = 0.05
) -> np.ndarray:
    """A replacement that is independent of the removed pixels: float32 (B, H, W, 3).

    Args:
      images: (B, H, W, 3), 0 .. 255.
      kind: "mean", each picture's own mean color; "blur", a Gaussian one; "random",
        uniform in 0 .. 255 for each value (Samek et al. 2015).
      seeds: of "random", one for each picture; None: its number in the batch.
      sigma: of the blur, in shares of the longer side.

    Raises:
      ValueError: the kind is unknown. For "linear" see `linear_fill`.
    """
    images = np.asarray(images, np.float32)
    if kind == "mean":
        return np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape)
    if kind == "blur":
        import scipy.ndimage  # slow to import

        width = sigma * max(images.shape[1:3])
        return scipy.ndimage.gaussian_filter(images, width, axes=(1, 2), mode="nearest")
    if kind == "random":
        seeds = range(len(images)) if seeds is None else seeds
        drawn = [
            np.random.default_rng(seed).uniform(0, 255, images.shape[1:])
            for seed in seeds
        ]
        return np.stack(drawn).astype(np.float32)
    raise ValueError(f"fill {kind!r}, expected mean, blur or random")


def linear_fill(
    image: Any, gone: Any, noise: float = 0.01, seed: Any = 0
) -> np.ndarray:
    """Noisy linear imputation of the removed pixels: float32 (H, W, C).

    Rong et al. 2022 (ROAD, arXiv:2202.00449, section 4.2): every missing pixel is the
    weighted mean of its neighbors, 1/6 for those at an edge and 1/12 for those at a
    corner, over the neighbors inside the picture; that is one sparse linear
    system. Gaussian noise is added, so that smoothness does not reveal the hole. If all
    pixels are removed, they get the picture's mean color.

    Args:
      image: (H, W, C), 0 .. 255.
      gone: bool (H, W), the removed pixels.
      noise: standard deviation, in shares of 255.
      seed: of the noise.

    Raises:
      ValueError: shapes do not fit.
    """
    image = np.asarray(image, np.float64)
    gone = np.asarray(gone, bool)
    if gone.shape != image.shape[:2]:
        raise ValueError(f"image {image.shape} and mask {gone.shape} do not fit")
    filled = image.copy()
    if not gone.any():
        return filled.astype(np.float32)
    if gone.all():
        values = np.broadcast_to(image.mean((0, 1)), (gone.size, image.shape[2]))
    else:
        matrix, known = _system(image, gone)
        values = scipy.sparse.linalg.spsolve(matrix, known)
    values = np.reshape(values, (-1, image.shape[2]))
    rng = np.random.default_rng(seed)
    filled[gone] = values + 255 * noise * rng.normal(size=values.shape)
    return filled.astype(np.float32)


def _system(image: np.ndarray, gone: np.ndarray):
    """The matrix (M, M) over the missing pixels and the right-hand side (M, C)."""
    height, width = gone.shape
    y, x = np.nonzero(gone)
    number = np.full(gone.shape, -1)
    number[y, x] = np.arange(len(y))
    own = np.arange(len(y))
    total = np.zeros(len(y))
    known = np.zeros((len(y), image.shape[2]))
    rows, columns, values = [own], [own], [total]
    for dy, dx, weight in _NEIGHBORS:
        there = np.flatnonzero(
            (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        )
        total[there] += weight
        at = y[there] + dy, x[there] + dx
        missing = gone[at]
        known[there[~missing]] += weight * image[at][~missing]
        rows.append(there[missing])
        columns.append(number[at][missing])
        values.append(np.full(missing.sum(), -weight))
    places = np.concatenate(rows), np.concatenate(columns)
    shape = (len(y), len(y))
    matrix = scipy.sparse.csc_array((np.concatenate(values), places), shape=shape)
    return matrix, known
