"""Maps that are shown next to each other, on one scale or each on its own. NumPy only.

On a scale of its own every map has a hottest place, a map that says almost nothing
too: places can be compared, amounts cannot. On the scale of its row a color is a value,
which makes sense where maps have one unit: those of the same network, head and kind of
question. Values are not the weight of the evidence, however. The gradient of a step,
d log P(child | parent), is proportional to 1 - P, so of two steps the surer one has the
smaller values, and is pale in its row. That is why a scale of its own is the default,
with a remark on every map that is weak in its row.
"""

import dataclasses

import numpy as np

from hiercam_keras.cam.heatmaps import heatmap, resize
from hiercam_keras.errors import UserError
from hiercam_keras.maps import is_degenerate

ROW, MAP = SCALES = ("row", "map")

# A map is weak whose largest value is below this share of the largest of its row.
WEAK = 0.2
# A map is nearly constant whose values differ by less than this share of the largest.
NEARLY_CONSTANT = 0.2


@dataclasses.dataclass(frozen=True)
class ShownRow:
    """K maps as they are drawn.

    Attributes:
      heat: float32 (K, H, W) in [0, 1].
      remarks: K texts on maps that their colors could make look like more than they
        are: weak in their row, or nearly constant; "" for others.
      top: the value of the hottest color, None where each map has its own.
    """

    heat: np.ndarray
    remarks: tuple[str, ...]
    top: float | None


def check_scale(scale: str) -> str:
    """The scale; UserError for an unknown one."""
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
    """Signed maps (K, h, w) as heat that is drawn in one row.

    Args:
      cams: signed maps. Degenerate ones are zeros in the result, and do not count.
      size: H and W of the heat, or one number for both.
      scale: "row" divides the positive parts by the largest value of the row; "map"
        gives each map its own scale, from its smallest to its largest value, see
        `heatmaps.heatmap`.
      one_unit: whether values of two of the maps can be compared. If not, each has its
        own scale, and none is called weak.
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
    """What the reader of a picture has to know of a map (h, w), or "".

    Args:
      cam: signed, not degenerate.
      share: its largest value over the largest of its row.
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
