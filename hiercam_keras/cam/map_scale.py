"""Color scales of maps in one row: a common scale or one for each map. NumPy only.

With its own scale every map has a hottest place, even if its values are almost zero:
locations can be compared, values cannot. With the scale of the row a color is a value,
which requires maps of the same unit: same network, head and kind of target. Values do
not measure the strength of evidence, however. The gradient of a step,
d log P(child | parent), is proportional to 1 - P, so of two steps the more certain one
has the smaller values and is pale in its row. Therefore each map has its own scale by
default, with a remark on maps that are weak in their row.
"""

import dataclasses

import numpy as np

from hiercam_keras.cam.heatmaps import heatmap, resize
from hiercam_keras.errors import UserError
from hiercam_keras.maps import is_degenerate

ROW, MAP = SCALES = ("row", "map")

# A map is weak if its maximum is below this fraction of the largest in its row.
WEAK = 0.2
# A map is nearly constant if its range is below this fraction of its maximum.
NEARLY_CONSTANT = 0.2


@dataclasses.dataclass(frozen=True)
class ShownRow:
    """K maps, scaled for drawing.

    Attributes:
      heat: float32 (K, H, W) in [0, 1].
      remarks: K texts on maps with misleading colors, weak in their row or nearly
        constant; "" for other maps.
      top: the value of the hottest color; None if each map has its own scale.
    """

    heat: np.ndarray
    remarks: tuple[str, ...]
    top: float | None


def check_scale(scale: str) -> str:
    """Returns the scale; raises UserError unless it is in SCALES."""
    if scale not in SCALES:
        raise UserError(
            f"config.report.scale is {scale!r}, expected one of {', '.join(SCALES)}"
        )
    return scale


def show_row(
    cams: np.ndarray,
    size: int | tuple[int, int],
    scale: str = MAP,
    one_unit: bool = True,
) -> ShownRow:
    """Scales signed maps that are drawn in one row.

    Args:
      cams: signed maps (K, h, w). Degenerate maps become zeros and do not affect the
        scale.
      size: (H, W) of the result, or one number for both.
      scale: "row" divides the positive parts by the largest value of the row; "map"
        scales each map from its smallest to its largest value, see `heatmaps.heatmap`.
      one_unit: whether values of different maps are comparable. If not, each map has
        its own scale and none is remarked as weak.

    Raises:
      UserError: the scale is unknown.
    """
    check_scale(scale)
    cams = np.asarray(cams)
    flat = is_degenerate(cams)
    positive = np.where(flat[:, None, None], 0.0, np.maximum(cams, np.float64(0)))
    peaks = positive.max((1, 2), initial=0)
    largest = float(peaks.max(initial=0))
    shares = peaks / largest if largest > 0 else np.ones_like(peaks)
    remarks = tuple(
        "" if flat[k] else remark(positive[k], shares[k] if one_unit else 1.0)
        for k in range(len(cams))
    )
    if scale == MAP or not one_unit or largest == 0:
        return ShownRow(heatmap(cams, size), remarks, None)
    heat = np.clip(resize(positive / largest, size), 0, 1).astype(np.float32)
    return ShownRow(heat, remarks, largest)


def remark(cam: np.ndarray, share: float = 1.0) -> str:
    """A remark on a map that is weak in its row or nearly constant; else "".

    Args:
      cam: signed (h, w), not degenerate.
      share: its maximum divided by the largest of its row, 0..1.
    """
    positive = np.maximum(np.asarray(cam, np.float64), 0)
    contrast = float(np.ptp(positive) / positive.max())
    found = []
    if share < WEAK:
        found.append(f"weak: its largest value is {_percent(share)} of the row's")
    if contrast < NEARLY_CONSTANT:
        found.append(f"nearly constant: it varies by {_percent(contrast)}")
    return "; ".join(found)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"
