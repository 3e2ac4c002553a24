"""faithfulness: region perturbation, with the AOPC of three orders side by side."""

from typing import Any

import numpy as np

from hiercam_keras.metrics.faithfulness import curves, order, summary
from hiercam_keras.metrics.faithfulness.fills import whole_fill


def region_perturbation(
    score: curves.Score,
    images: Any,
    maps: Any,
    random_maps: Any,
    side: int = 9,
    regions: int = 100,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """AOPC while square regions are replaced by uniform noise, one a step.

    Samek et al. 2015 (arXiv:1509.06321, section III): 9 x 9 pixels and 100 steps there.
    Of raw scores, so that ranks should be compared by log-odds or by the distance to
    the random order, not by the values.

    Args:
      score: pictures -> (B,), see `curves`.
      images: (B, H, W, C), 0 .. 255.
      maps: (B, H, W), signed.
      random_maps: (B, H, W), see `order.random_maps`.
      side: of a region, pixels.
      regions: steps; at most as many as there are regions.
      seed: of the noise, which is the same for the three orders.

    Returns:
      morf (most relevant first), lerf (least relevant first) and random, each (B,). A
      faithful map has morf above random above lerf.
    """
    images = np.asarray(images)
    fill = whole_fill(images, "random", [(seed, i) for i in range(len(images))])
    first = order.region_positions(maps, side)
    orders = {
        "morf": first,
        "lerf": order.least_first(first),
        "random": order.region_positions(random_maps, side),
    }
    steps = np.arange(min(regions, int(first.max()) + 1) + 1)
    return {
        name: summary.aopc(curves.deletion(score, images, fill, places, steps))
        for name, places in orders.items()
    }
