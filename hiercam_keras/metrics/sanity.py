"""Do maps change when the model's weights are made random?

Adebayo et al. 2018 ("Sanity checks for saliency maps", arXiv:1810.03292): maps of the
trained model against those of the same model with layers made random. A method whose
maps stay alike does not explain the model. `cam.randomization` makes the weights.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from hiercam_keras.maps import is_degenerate
from hiercam_keras.metrics import agreement, resampling

MEASURES = ("spearman", "spearman_signed", "ssim")


def similarity(trained: Any, changed: Any) -> dict[str, np.ndarray]:
    """How alike maps of one picture are before and after: name -> (...).

    spearman and ssim are of the clipped maps, the heatmaps that people look at;
    spearman_signed is of the signed ones: the paper shows both, since a map may keep
    its places and turn its sign. All are -1 .. 1, and 1 for equal maps. NaN where one
    of the maps is constant (for ssim and spearman: after clipping): there is nothing
    to compare, and no similarity is no proof of a passed check.

    Args:
      trained, changed: (..., h, w), signed.

    Raises:
      ValueError: shapes that do not broadcast, or values that are not finite.
    """
    trained, changed = np.broadcast_arrays(
        np.asarray(trained, np.float64), np.asarray(changed, np.float64)
    )
    flat = is_degenerate(trained) | is_degenerate(changed)
    # Shifted to be positive, a signed map keeps its order through the clipping.
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
    """One row a stage and measure, the trained model first.

    Args:
      trained: (N, h, w), maps of the trained model.
      stages: (layer that was made random last, maps (N, h, w)), one after another, so
        that all stages need not be in memory at once.
      groups: (N,) labels of the groups that are resampled, as the species.
      seed: of the resampling.

    Returns:
      Rows of stage (0 is the trained model), layer, measure, mean, low, high (95 %) and
      count (pictures where both maps show something).
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
