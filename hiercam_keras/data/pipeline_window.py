"""Data room: `windows.read` in TensorFlow operations.

Only what an example shows is decoded (rows and columns up to its last one), at a
reduced scale where that suffices, and only its pixels are computed. Each pixel is the
same to the bit whether it is computed alone or with its whole window.
"""

from collections.abc import Mapping

import tensorflow as tf

from hiercam_keras.data import decode, windows

# Chroma is interpolated from its neighbors: the last decoded column differs.
_MARGIN = 4


def read(example: Mapping[str, tf.Tensor], reduce: bool) -> tf.Tensor:
    """The part of a window that an example shows.

    Args:
      example: path; resized and start of `windows.Windows`; first, int32 (2,) top and
        left of the part in the window; count, int32 (2,) its height and width.
      reduce: JPEG files may be decoded at 1/2, 1/4 or 1/8.

    Returns:
      uint8 (height, width, 3).
    """
    data = tf.io.read_file(example["path"])
    resized = tf.cast(example["resized"], tf.float32)
    stop = tf.cast(example["start"] + example["first"] + example["count"], tf.float32)
    image, span = tf.cond(
        tf.io.is_jpeg(data),
        lambda: _decode_jpeg(data, example["resized"], stop, reduce),
        lambda: _decode_png(data),
    )
    # Kernel and borders are those of Pillow's BILINEAR: a triangle, widened where the
    # image shrinks, that sees past the window's edge.
    scale, shift = resized / span, -tf.cast(example["start"], tf.float32)
    first, count = example["first"], example["count"]
    rows = _resize_rows(image, scale[0], shift[0], first[0], count[0])
    columns = tf.transpose(rows, (1, 0, 2))
    columns = _resize_rows(columns, scale[1], shift[1], first[1], count[1])
    return tf.cast(tf.transpose(columns, (1, 0, 2)) + windows.ROUNDING, tf.uint8)


def _decode_jpeg(data, resized, stop, reduce):
    """Pixels, and the height and width of the whole image in them, float32 (2,)."""
    stored = tf.io.extract_jpeg_shape(data)[:2]
    if not reduce:
        return _decode_part(data, stored, resized, stop, 1)
    least = tf.reduce_min(stored // tf.maximum(resized, 1))
    branch = tf.reduce_sum(tf.cast(least >= (2, 4, 8), tf.int32))
    return tf.switch_case(
        branch,
        [
            lambda r=r: _decode_part(data, stored, resized, stop, r)
            for r in reversed(decode.REDUCTIONS)
        ],
    )


def _decode_part(data, stored, resized, stop, reduction):
    span = tf.cast(stored, tf.float32) / reduction
    scale = span / tf.cast(resized, tf.float32)
    seen = tf.math.ceil((stop + 1) * scale + tf.maximum(scale, 1.0))
    whole = (stored + reduction - 1) // reduction
    part = tf.minimum(tf.cast(seen, tf.int32) + _MARGIN, whole)
    image = tf.io.decode_and_crop_jpeg(
        data,
        tf.concat([(0, 0), part], axis=0),
        channels=3,
        ratio=reduction,
        # The accurate transform is the one that Pillow uses.
        dct_method="INTEGER_ACCURATE",
    )
    return image, span


def _decode_png(data):
    image = tf.io.decode_png(data, 3)
    return image, tf.cast(tf.shape(image)[:2], tf.float32)


def _resize_rows(image, scale, shift, first, count):
    """Rows first .. first + count of (H, W, 3) resized along H, float32.

    Columns and channels are handed over as channels, which the kernel vectorizes; rows
    before the first are computed too, as another origin would round differently.
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    rows = tf.raw_ops.ScaleAndTranslate(
        images=tf.reshape(image, tf.stack([1, height, 1, width * 3])),
        size=tf.stack([first + count, 1]),
        scale=tf.stack([scale, 1.0]),
        translation=tf.stack([shift, 0.0]),
        kernel_type="triangle",
        antialias=True,
    )
    return tf.reshape(rows[0, first:], tf.stack([count, width, 3]))
