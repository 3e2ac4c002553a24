"""Data room: `augment.apply` in TensorFlow operations, on what NumPy has drawn."""

from collections.abc import Mapping

import tensorflow as tf

from hiercam_keras.data import augment


def apply(
    window: tf.Tensor, drawn: Mapping[str, tf.Tensor], size: int, recolor: bool
) -> tf.Tensor:
    """Carries out what was drawn for one image.

    Args:
      window: uint8 (height, width, 3), each side at least `size`.
      drawn: crop (2,) and the fields of `augment.Augmentation`, without the axis B.
      size: side of the model input, pixels.
      recolor: False leaves colors alone.

    Returns:
      uint8 (size, size, 3), at most 1 level from `augment.apply`.
    """
    top, left = drawn["crop"][0], drawn["crop"][1]
    image = window[top : top + size, left : left + size]
    image.set_shape((size, size, 3))
    # A stride of -1 or 1 that a tensor chooses: no branch in the graph.
    step = 1 - 2 * tf.cast(drawn["flip"], tf.int32)
    image = image[:: step[0], :: step[1]]
    image.set_shape((size, size, 3))
    if recolor:
        image = _recolor(image, drawn["color"], drawn["haze"])
    y0, x0, y1, x1 = tf.unstack(drawn["erase"])
    return tf.cond(
        y1 > y0,
        lambda: _erase(image, y0, x0, y1, x1, drawn["fill"], size),
        lambda: image,
    )


def _recolor(image, color, haze):
    pixels = tf.cast(tf.reshape(image, (-1, 3)), tf.float32)
    luma = tf.tensordot(
        tf.reduce_mean(pixels, axis=0), tf.constant(augment.LUMA, tf.float32), 1
    )
    mixed = tf.matmul(pixels, color, transpose_b=True) + (haze * luma + 0.5)
    mixed = tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)
    return tf.reshape(mixed, image.shape)


def _erase(image, y0, x0, y1, x1, fill, size):
    rows, cols = tf.range(size), tf.range(size)
    inside = ((rows >= y0) & (rows < y1))[:, None] & ((cols >= x0) & (cols < x1))
    start = tf.concat([fill, [0]], axis=0)
    noise = tf.slice(tf.constant(augment.noise(size)), start, (size, size, 3))
    return tf.where(inside[:, :, None], noise, image)
