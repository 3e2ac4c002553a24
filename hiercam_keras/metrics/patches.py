"""The window of a picture with the most energy."""

from typing import Any

import numpy as np

from hiercam_keras.maps import energy


def best_windows(maps: Any, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The square window that holds most of a map's energy.

    Args:
      maps: (..., h, w), clipped at 0; h and w are at least 2.
      share: 0 < share <= 1, the window's side over the map's; it is inside the map.

    Returns:
      (boxes, held): boxes (..., 4) as x0, y0, x1, y1 in 0 .. 1 of the map, and the
      share of the energy in them, 0 .. 1. Among equal windows it is the one nearest to
      the map's center; a map without energy gives the central window.

    Raises:
      ValueError: the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, expected 0 < share <= 1")
    values = energy(maps)
    *lead, height, width = values.shape
    tall, wide = max(1, round(share * height)), max(1, round(share * width))
    summed = np.zeros((*lead, height + 1, width + 1))
    summed[..., 1:, 1:] = values.cumsum(-1).cumsum(-2)
    inside = (
        summed[..., tall:, wide:]
        - summed[..., :-tall, wide:]
        - summed[..., tall:, :-wide]
        + summed[..., :-tall, :-wide]
    )
    rows, columns = inside.shape[-2:]
    y, x = np.mgrid[:rows, :columns]
    far = (y - (rows - 1) / 2) ** 2 + (x - (columns - 1) / 2) ** 2
    # Breaks ties towards the center; the weight is far below any real difference.
    best = (inside - 1e-9 * far / max(1.0, far.max())).reshape(*lead, -1).argmax(-1)
    top, left = np.divmod(best, columns)
    boxes = np.stack(
        [left / width, top / height, (left + wide) / width, (top + tall) / height], -1
    )
    held = np.take_along_axis(inside.reshape(*lead, -1), best[..., None], -1)[..., 0]
    return boxes, np.clip(held, 0.0, 1.0)
