"""`augment.apply` in TensorFlow operations, with parameters drawn by NumPy."""

import numpy as np
import tensorflow as tf

from hiercam_keras.data import augment


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
    crop, flip, *erase = tf.split(packed["whole"], 5)
    down, across = tf.unstack(flip)
    places = tf.range(size)
    # Whole rows are moved, in the order of the output; strides of -1 are slow.
    image = tf.gather(window, crop[0] + tf.where(down > 0, places[::-1], places))
    if window.shape[1] != size:
        image = image[:, crop[1] : crop[1] + size]
    image = tf.reshape(image, (size, size, 3))
    image = tf.cond(across > 0, lambda: tf.reverse(image, [1]), lambda: image)
    if recolor:
        real = packed["real"]
        image = _recolor(image, tf.reshape(real[:9], (3, 3)), real[9])
    return _erase(image, *erase, size)


def _recolor(image, color, haze):
    pixels = tf.cast(tf.reshape(image, (-1, 3)), tf.float32)
    count = pixels.shape[0]
    # As in `augment`, a product with ones is faster than a mean over the long axis.
    sums = tf.matmul(tf.ones((1, count)), pixels)[0]
    luma = tf.tensordot(sums, tf.constant(augment.LUMA / count, tf.float32), 1)
    mixed = tf.matmul(pixels, color, transpose_b=True) + (haze * luma + 0.5)
    mixed = tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)
    return tf.reshape(mixed, image.shape)


def _erase(image, first, end, fill, size):
    """Copies a rectangle of noise, of no pixels where nothing is erased; selecting by
    a mask of the image costs many times as much."""
    noise = tf.constant(augment.noise(size))
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=image,
        begin=first,
        end=end,
        strides=[1, 1],
        value=tf.strided_slice(noise, fill + first, fill + end),
    )
