"""Region perturbation of squares in three orders."""

from typing import Any

import numpy as np

from hiercam_keras.metrics.faithfulness import curves, order


def region_curves(
    score: curves.Score,
    images: Any,
    fill: Any,
    maps: Any,
    random_maps: Any,
    side: int = 9,
    regions: int = 100,
) -> dict[str, np.ndarray]:
    """Scores while square regions are replaced, one a step, for `summary.aopc`.

    Samek et al. 2015 (arXiv:1509.06321, section III) use 9 x 9 pixels, 100 steps and
    uniform noise.

    Args:
      score: pictures -> (B,), see `curves`.
      images: (B, H, W, C), 0 .. 255.
      fill: (B, H, W, C), the replacement of removed regions.
      maps: (B, H, W), signed.
      random_maps: (B, H, W), see `order.random_maps`.
      side: of a region, pixels.
      regions: number of steps L, at most the number of regions.

    Returns:
      morf (most relevant first), lerf (least relevant first) and random, each
      (B, L + 1), the whole picture first. The AOPC of a faithful map is largest for
      morf and smallest for lerf.
    """
    first = order.region_positions(maps, side)
    orders = {
        "morf": first,
        "lerf": order.least_first(first),
        "random": order.region_positions(random_maps, side),
    }
    steps = np.arange(min(regions, int(first.max()) + 1) + 1)
    return {
        name: curves.deletion(score, images, fill, places, steps)
        for name, places in orders.items()
    }
