"""The region of a file that a part of a window needs, computed in NumPy.

tf.data decodes and resizes by these numbers, so the tf.data graph has no control flow.
"""

from typing import NamedTuple

import numpy as np

from hiercam_keras.data import decode, resize_windows

# Chroma is interpolated from neighbors, so the outermost decoded pixels differ.
_MARGIN = 4


class Cuts(NamedTuple):
    """Regions of B files, in pixels of the decoder's output.

    Attributes:
      place: int32 (B, 6): height and width of the file's image, then top, left, height
        and width of the decoded region, at the reduced scale.
      branch: int32 (B,): the reduced scale, an index of `decode.REDUCTIONS`.
      fit: float32 (B, 4): scale along y and x, then shift along y and x, from the
        decoded region to the resized part: `output = input * scale + shift`.
      count: int32 (B, 2): height and width of the part.
    """

    place: np.ndarray
    branch: np.ndarray
    fit: np.ndarray
    count: np.ndarray


def of(
    where: resize_windows.Windows,
    indices: np.ndarray,
    first: np.ndarray,
    count: np.ndarray,
    reduce: bool,
) -> Cuts:
    """The regions of parts of windows.

    Args:
      where: windows of all images.
      indices: (B,) of the windows.
      first: int (B, 2) top and left of the part in the window.
      count: int (B, 2) height and width of the part.
      reduce: whether JPEG files may be decoded at 1/2, 1/4 or 1/8.
    """
    stored = _stored(where.original[indices]).astype(np.int64)
    resized = where.resized[indices].astype(np.float64)
    least = np.maximum(np.ceil(resized), 1).astype(np.int64)
    enough = (stored // least).min(axis=1)
    scales = np.array(decode.REDUCTIONS)
    fits = scales <= np.maximum(enough, 1)[:, None] if reduce else scales == 1
    branch = np.broadcast_to(fits, (len(stored), len(scales))).argmax(axis=1)
    span = stored / scales[branch][:, None]
    step = span / resized  # decoded pixels from one output pixel to the next
    reach = np.maximum(step, 1.0)  # of the kernel, see `pipeline_window`
    begin = where.start[indices] + first
    low = np.floor((begin + 0.5) * step - reach).astype(np.int64) - _MARGIN
    high = np.ceil((begin + count - 0.5) * step + reach).astype(np.int64) + _MARGIN
    low = np.maximum(low, 0)
    high = np.minimum(high, np.ceil(span).astype(np.int64))
    return Cuts(
        np.concatenate([stored, low, high - low], axis=1).astype(np.int32),
        branch.astype(np.int32),
        np.concatenate([1 / step, low / step - begin], axis=1).astype(np.float32),
        np.broadcast_to(count, begin.shape).astype(np.int32),
    )


def _stored(original: np.ndarray) -> np.ndarray:
    """Sizes of the files that are read: copies of very large images are smaller."""
    stored = original.copy()
    for row in np.flatnonzero(original.max(axis=1, initial=0) > decode.MAX_SIDE):
        stored[row] = decode.kept_size(*original[row].tolist())
    return stored
