"""Reads parts of windows in TensorFlow operations, planned by `decode_regions`.

Only the needed region is decoded, at a reduced scale if that suffices, and only its
pixels are computed, along one axis and then along the other.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from hiercam_keras.data import decode, resize_windows


def read(
    example: Mapping[str, tf.Tensor],
    branches: Sequence[int],
    count: tuple[int, int] | None = None,
) -> tf.Tensor:
    """A part of the window of one image.

    Args:
      example: path, and the fields of `decode_regions.Cuts` without the axis B.
      branches: the sorted values of `branch` in the data.
      count: height and width of all parts, if known at graph construction.

    Returns:
      uint8 (height, width, 3).

    Raises:
      tf.errors.OpError: at run time, for a file that TensorFlow cannot read or that has
        another size than planned.
    """
    data = tf.io.read_file(example["path"])
    image, scale = tf.cond(
        tf.io.is_jpeg(data),
        lambda: (_decode_jpeg(data, example, branches), example["fit"][:2]),
        lambda: _decode_png(data, example),
    )
    height, width = tf.unstack(example["count"]) if count is None else count
    # The kernel is Pillow's BILINEAR: a triangle, widened where the image shrinks. Each
    # pass goes along the rows' axis, with all else as channels, which is vectorized.
    shift = example["fit"][2:]
    tall = _resize_rows(image, scale[0], shift[0], height)
    across = tf.transpose(tf.reshape(tall, (height, -1)))
    across = tf.reshape(across, tf.stack([tf.shape(image)[1], -1, 1]))
    wide = tf.reshape(_resize_rows(across, scale[1], shift[1], width), (-1, height))
    pixels = tf.transpose(tf.cast(wide + resize_windows.ROUNDING, tf.uint8))
    return tf.reshape(pixels, tf.stack([height, width, 3]))


def _decode_jpeg(data, example, branches):
    place = _place(example, tf.io.extract_jpeg_shape(data)[:2])

    def part(reduction):
        return tf.io.decode_and_crop_jpeg(
            data,
            place,
            channels=3,
            ratio=reduction,
            # The accurate transform is the one that Pillow uses.
            dct_method="INTEGER_ACCURATE",
        )

    scales = [decode.REDUCTIONS[branch] for branch in branches]
    if len(scales) == 1:
        return part(scales[0])
    chosen = tf.reduce_sum(tf.cast(example["branch"] > branches[:-1], tf.int32))
    return tf.switch_case(chosen, [lambda r=r: part(r) for r in scales])


def _decode_png(data, example):
    """Pixels and scales: only JPEG is decoded at a reduced scale."""
    image = tf.io.decode_png(data, 3)
    times = tf.gather(decode.REDUCTIONS, example["branch"])
    place = _place(example, tf.shape(image)[:2]) * times
    top, left, height, width = tf.unstack(place)
    part = image[top : top + height, left : left + width]
    return part, example["fit"][:2] / tf.cast(times, tf.float32)


def _place(example, size):
    """The region to decode; an error if the file has another size than planned."""
    fits = tf.reduce_all(tf.equal(size, example["place"][:2]))
    # The operation itself: `tf.debugging.Assert` adds a conditional.
    with tf.control_dependencies([tf.raw_ops.Assert(condition=fits, data=[size])]):
        return tf.identity(example["place"][2:])


def _resize_rows(image, scale, shift, count):
    """(H, W, C) resized along H, float32 (1, count, 1, W * C)."""
    return tf.raw_ops.ScaleAndTranslate(
        images=tf.reshape(image, tf.stack([1, tf.shape(image)[0], 1, -1])),
        size=tf.stack([count, 1]),
        scale=tf.stack([scale, 1.0]),
        translation=tf.stack([shift, 0.0]),
        kernel_type="triangle",
        antialias=True,
    )
