"""`augment.apply` in TensorFlow operations, with parameters drawn by NumPy."""

import numpy as np
import tensorflow as tf

from hiercam_keras.data import augment

_NUM_WHOLE = 10


def pack(crop: np.ndarray, drawn: augment.Augmentation) -> dict[str, np.ndarray]:
    """Packs the augmentation of B images into two arrays, as each tensor has a cost.

    Args:
      crop: int (B, 2) top and left of the crops in their windows.
      drawn: arrays of B.
    """
    count = len(crop)
    whole = [crop, drawn.flip, drawn.erase, drawn.fill]
    real = [drawn.color.reshape(count, 9), drawn.haze[:, None]]
    return {
        "whole": np.concatenate(whole, axis=1).astype(np.int32),
        "real": np.concatenate(real, axis=1).astype(np.float32),
    }


def apply(
    window: tf.Tensor, packed: dict[str, tf.Tensor], size: int, recolor: bool
) -> tf.Tensor:
    """Applies the drawn augmentation to one image.

    Args:
      window: uint8 (height, width, 3), each side at least `size`.
      packed: the result of `pack`, without the axis B.
      size: side of the model input, pixels.
      recolor: whether colors may change.

    Returns:
      uint8 (size, size, 3), at most 1 level from `augment.apply`.
    """
    top, left, down, across, *erase_and_fill = tf.unstack(packed["whole"], _NUM_WHOLE)
    places = tf.range(size)
    # Whole rows are moved, in the order of the output; strides of -1 are slow.
    rows = top + tf.where(down > 0, places[::-1], places)
    image = tf.gather(window, rows)[:, left : left + size]
    image = tf.reshape(image, (size, size, 3))
    image = tf.cond(across > 0, lambda: tf.reverse(image, [1]), lambda: image)
    if recolor:
        real = packed["real"]
        image = _recolor(image, tf.reshape(real[:9], (3, 3)), real[9])
    y0, x0, y1, x1, *fill = erase_and_fill
    return tf.cond(
        y1 > y0,
        lambda: _erase(image, y0, x0, y1, x1, fill, size),
        lambda: image,
    )


def _recolor(image, color, haze):
    pixels = tf.cast(tf.reshape(image, (-1, 3)), tf.float32)
    count = pixels.shape[0]
    # As in `augment`, a product with ones is faster than a mean over the long axis.
    sums = tf.matmul(tf.ones((1, count)), pixels)[0]
    luma = tf.tensordot(sums, tf.constant(augment.LUMA / count, tf.float32), 1)
    mixed = tf.matmul(pixels, color, transpose_b=True) + (haze * luma + 0.5)
    mixed = tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)
    return tf.reshape(mixed, image.shape)


def _erase(image, y0, x0, y1, x1, fill, size):
    rows, cols = tf.range(size), tf.range(size)
    inside = ((rows >= y0) & (rows < y1))[:, None] & ((cols >= x0) & (cols < x1))
    start = tf.stack([*fill, 0])
    noise = tf.slice(tf.constant(augment.noise(size)), start, (size, size, 3))
    return tf.where(inside[:, :, None], noise, image)
