"""Postprocessing profiles, for numbers that compare with published ones.

Each takes signed maps (..., h, w) and a size, and gives maps (..., H, W) float32 in
[0, 1], zeros where there is nothing to show.
"""

from collections.abc import Callable

import numpy as np

from hiercam_keras.cam.heatmaps import heatmap, resize
from hiercam_keras.errors import UserError


def pytorch_grad_cam(cams: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """pytorch-grad-cam 1.5: ReLU; (x - min) / (1e-7 + max) at the layer's resolution;
    bilinear resize; ReLU and (x - min) / (1e-7 + max) again.

    The 1e-7 is not small relative to a weak map: maps of another scale look different.
    """

    def scale(maps):
        maps = maps - maps.min((-2, -1), keepdims=True)
        return maps / (1e-7 + maps.max((-2, -1), keepdims=True))

    maps = np.maximum(_finite(np.asarray(cams, np.float32)), 0)
    return scale(np.maximum(resize(scale(maps), size), 0)).astype(np.float32)


def wsol(cams: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """wsolevaluation (Choe et al. 2020, arXiv:2001.07437): no ReLU; bicubic resize;
    min-max; a constant map gives zeros. Their mean over the channels in place of the
    sum cancels in the min-max."""
    maps = resize(_finite(np.asarray(cams, np.float32)), size, "bicubic")
    maps = maps - maps.min((-2, -1), keepdims=True)
    high = maps.max((-2, -1), keepdims=True)
    # Bicubic weights add up to 1 only to rounding: a constant map is not quite one.
    source = np.asarray(cams)
    flat = (source.max((-2, -1)) == source.min((-2, -1)))[..., None, None]
    flat = flat | (high == 0)
    scaled = np.where(flat, 0.0, maps / np.where(flat, 1.0, high))
    return scaled.astype(np.float32)


PROFILES: dict[str, Callable[[np.ndarray, int | tuple[int, int]], np.ndarray]] = {
    "hiercam": heatmap,
    "pytorch_grad_cam": pytorch_grad_cam,
    "wsol": wsol,
}


def postprocess(
    cams: np.ndarray, size: int | tuple[int, int], profile: str = "hiercam"
) -> np.ndarray:
    """Maps by a profile's name: hiercam (ours, `heatmaps.heatmap`), pytorch_grad_cam,
    or wsol. UserError for another name."""
    if profile not in PROFILES:
        raise UserError(
            f"unknown profile {profile!r}; there are {', '.join(sorted(PROFILES))}"
        )
    return PROFILES[profile](cams, size)


def _finite(cams):
    bad = ~np.isfinite(cams).all((-2, -1), keepdims=True)
    return np.where(bad, 0.0, cams).astype(cams.dtype)
