"""Postprocessing profiles, for results that are comparable with published ones.

Each profile converts signed maps (..., h, w) to float32 maps (..., H, W) in [0, 1]. A
map that is not finite is replaced by zeros.
"""

from collections.abc import Callable

import numpy as np

from hiercam_keras.cam.heatmaps import heatmap, resize
from hiercam_keras.errors import UserError


def pytorch_grad_cam(cams: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Postprocessing of pytorch-grad-cam 1.5.

    ReLU; (x - min) / (1e-7 + max) at the layer's resolution; bilinear resize; ReLU and
    (x - min) / (1e-7 + max) again. The 1e-7 is not negligible for maps of small values,
    so the result depends on the scale of a map.
    """

    def scale(maps):
        maps = maps - maps.min((-2, -1), keepdims=True)
        return maps / (1e-7 + maps.max((-2, -1), keepdims=True))

    maps = np.maximum(_finite(np.asarray(cams, np.float32)), 0)
    return scale(np.maximum(resize(scale(maps), size), 0)).astype(np.float32)


def wsol(cams: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Postprocessing of wsolevaluation (Choe et al. 2020, arXiv:2001.07437).

    No ReLU; bicubic resize; min-max; a constant map gives zeros. Their code averages
    over channels instead of summing, which cancels in the min-max.
    """
    maps = resize(_finite(np.asarray(cams, np.float32)), size, "bicubic")
    maps = maps - maps.min((-2, -1), keepdims=True)
    high = maps.max((-2, -1), keepdims=True)
    # Bicubic weights sum to 1 only up to rounding, so constancy is tested before it.
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
    """Applies a profile by name.

    Args:
      cams: signed maps (..., h, w).
      size: (H, W) in pixels, or one number for both.
      profile: "hiercam" (`heatmaps.heatmap`), "pytorch_grad_cam" or "wsol".

    Returns:
      float32 (..., H, W) in [0, 1].

    Raises:
      UserError: the profile is unknown.
    """
    if profile not in PROFILES:
        raise UserError(
            f"unknown profile {profile!r}; there are {', '.join(sorted(PROFILES))}"
        )
    return PROFILES[profile](cams, size)


def _finite(cams):
    bad = ~np.isfinite(cams).all((-2, -1), keepdims=True)
    return np.where(bad, 0.0, cams).astype(cams.dtype)
