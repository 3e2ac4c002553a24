"""Sanity check of maps by randomization of the model's weights.

Adebayo et al. 2018 ("Sanity checks for saliency maps", arXiv:1810.03292): compares maps
of the trained model with those of the same model with randomized layers. If the maps
stay similar, the method does not explain the model. `cam.randomization` randomizes.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from hiercam_keras.maps import is_degenerate
from hiercam_keras.metrics import agreement, resampling

MEASURES = ("spearman", "spearman_signed", "ssim")


def similarity(trained: Any, changed: Any) -> dict[str, np.ndarray]:
    """Similarities of maps of one picture before and after: name -> (...).

    spearman and ssim compare the clipped maps, which are shown as heatmaps;
    spearman_signed compares the signed ones. The paper shows both, since a map may keep
    its places and change its sign. All are -1 .. 1, and 1 for equal maps. NaN if one of
    the maps is constant (for ssim and spearman: after clipping), as a missing
    similarity is no proof of a passed check.

    Args:
      trained, changed: (..., h, w), signed.

    Raises:
      ValueError: shapes do not broadcast, or values are not finite.
    """
    trained, changed = np.broadcast_arrays(
        np.asarray(trained, np.float64), np.asarray(changed, np.float64)
    )
    flat = is_degenerate(trained) | is_degenerate(changed)
    # A signed map that is shifted to be positive keeps its order under clipping.
    lifted = [maps - maps.min((-2, -1), keepdims=True) for maps in (trained, changed)]
    flat_signed = is_degenerate(lifted[0]) | is_degenerate(lifted[1])
    return {
        "spearman": np.where(flat, np.nan, agreement.spearman(trained, changed)),
        "spearman_signed": np.where(flat_signed, np.nan, agreement.spearman(*lifted)),
        "ssim": np.where(flat, np.nan, agreement.ssim(trained, changed)),
    }


def sanity_table(
    trained: Any, stages: Iterable[tuple[str, Any]], groups: Any = None, seed: int = 0
) -> list[dict[str, Any]]:
    """One row for each stage and measure, the trained model first.

    Args:
      trained: (N, h, w), maps of the trained model.
      stages: iterable of (last randomized layer, maps (N, h, w)), consumed one at a
        time.
      groups: (N,) labels of the groups that are resampled, such as the species.
      seed: of the resampling.

    Returns:
      Rows of stage (0 is the trained model), layer, measure, mean, low, high (95 %) and
      count (pictures for which neither map is constant).
    """
    rows = []
    everything = itertools.chain([("", trained)], stages)
    for stage, (layer, maps) in enumerate(everything):
        for measure, values in similarity(trained, maps).items():
            found = resampling.mean(values, groups, seed=seed)
            rows.append(
                {
                    "stage": stage,
                    "layer": layer,
                    "measure": measure,
                    "mean": found.value,
                    "low": found.low,
                    "high": found.high,
                    "count": found.n,
                }
            )
    return rows
