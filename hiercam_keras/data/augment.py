"""Augmentation in NumPy; `augment_tf` computes the same in TensorFlow.

`draw` draws the parameters, as a stateless function of the seed, the epoch and the
example's index; `apply` applies them to an image. The same seed therefore gives the
same batches with every reader and in every order of reading.
"""

from typing import Any, NamedTuple

import numpy as np

# ITU-R BT.601, as in the YIQ space of the hue rotation.
LUMA = np.array([0.299, 0.587, 0.114])
_RGB_TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_NUM_DRAWS = 16
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's step from state to state
_ASPECT = 3.3  # longest erased rectangle, Zhong et al. 2017 (arXiv:1708.04896)
_NOISE_SEED = 20171108


class Augmentation(NamedTuple):
    """Augmentation parameters of B images, applied as: crop, flip, color, erase.

    Attributes:
      shift: float64 (B, 2) in [0, 1): place of the crop in its window, from top and
      left. flip: bool (B, 2): mirrored top to bottom, left to right.
      color: float32 (B, 3, 3): output channel by input channel.
      haze: float32 (B,): share of the crop's mean luma that is added to every channel.
      erase: int32 (B, 4): y0, x0, y1, x1 of the erased rectangle, pixels; 0s for none.
      fill: int32 (B, 2): offset of the fill in the table of noise.
    """

    shift: np.ndarray
    flip: np.ndarray
    color: np.ndarray
    haze: np.ndarray
    erase: np.ndarray
    fill: np.ndarray


def draw(
    config: Any | None, seed: int, epoch: int, indices: np.ndarray, size: int
) -> Augmentation:
    """Draws the augmentation parameters of each image.

    Args:
      config: the config's `augment`; None for no augmentation.
      seed: of the run.
      epoch: 0, 1, ...
      indices: int (B,) of the examples in the loader's records.
      size: side of the model input, pixels.
    """
    u = _uniform(seed, epoch, np.asarray(indices))
    if config is None:
        config = {}
    factors = {
        name: 1 + (2 * u[:, column] - 1) * config.get(name, 0.0)
        for column, name in ((4, "brightness"), (5, "contrast"), (6, "saturation"))
    }
    turns = (2 * u[:, 7] - 1) * config.get("hue", 0.0)
    color, haze = _color(**factors, turns=turns)
    vertical, horizontal = (
        (u[:, column] < 0.5) & bool(config.get(name, False))
        for column, name in ((0, "vertical_flip"), (1, "horizontal_flip"))
    )
    return Augmentation(
        shift=u[:, 2:4],
        flip=np.stack([vertical, horizontal], axis=1),
        color=color.astype(np.float32),
        haze=haze.astype(np.float32),
        erase=_rectangles(config, u[:, 8:13], size),
        fill=np.floor(u[:, 13:15] * (size + 1)).astype(np.int32),
    )


def crop_starts(shift: np.ndarray, extent: np.ndarray, size: int) -> np.ndarray:
    """Top and left of each crop in its window, int32 (B, 2); uniform over places."""
    slack = extent - size
    return np.minimum(np.floor(shift * (slack + 1)), slack).astype(np.int32)


def changes_color(config: Any | None) -> bool:
    """Whether any image's colors may change."""
    names = ("brightness", "contrast", "saturation", "hue")
    return config is not None and any(config.get(name, 0.0) for name in names)


def apply(
    window: np.ndarray,
    crop: np.ndarray,
    drawn: Augmentation,
    size: int,
    recolor: bool = True,
) -> np.ndarray:
    """Applies the drawn augmentation to one image.

    Args:
      window: uint8 (height, width, 3), each side at least `size`.
      crop: (2,) top and left of the crop.
      drawn: the arrays of `draw` for this image, without the axis B.
      size: side of the model input, pixels.
      recolor: whether colors may change.

    Returns:
      uint8 (size, size, 3).
    """
    top, left = crop
    image = window[top : top + size, left : left + size]
    if drawn.flip[0]:
        image = image[::-1]
    if drawn.flip[1]:
        image = image[:, ::-1]
    if recolor:
        image = _recolor(image, drawn.color, drawn.haze)
    y0, x0, y1, x1 = drawn.erase
    if y1 > y0:
        image = image.copy()
        dy, dx = drawn.fill
        image[y0:y1, x0:x1] = noise(size)[dy + y0 : dy + y1, dx + x0 : dx + x1]
    return np.ascontiguousarray(image)


def noise(size: int) -> np.ndarray:
    """The noise that fills erased rectangles, uint8 (2 size, 2 size, 3)."""
    if size not in _tables:
        rng = np.random.Generator(np.random.Philox(_NOISE_SEED))
        _tables[size] = rng.integers(0, 256, (2 * size, 2 * size, 3), dtype=np.uint8)
    return _tables[size]


_tables: dict[int, np.ndarray] = {}


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of an epoch: int64 (count,), a function of its arguments alone."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch))))
    return rng.permutation(count)


def splitmix64(state: np.ndarray) -> np.ndarray:
    """The output of SplitMix64 (Steele et al. 2014) for states, uint64 of any shape."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniform(seed, epoch, indices):
    """Uniform draws (B, 16) in [0, 1).

    The generator is counter-based, so the draws of an example need no earlier ones.
    """
    key = np.random.SeedSequence((seed, epoch, 1)).generate_state(1, np.uint64)
    counter = indices.astype(np.uint64)[:, None] * np.uint64(_NUM_DRAWS)
    counter = counter + np.arange(1, _NUM_DRAWS + 1, dtype=np.uint64)
    return (splitmix64(key + counter * GOLDEN) >> np.uint64(11)) * 2.0**-53


def _color(brightness, contrast, saturation, turns):
    """Brightness, contrast, saturation and hue, in this order, as one affine map.

    Each is linear in the pixels and the crop's mean luma m: x -> b x; x -> c x + (1-c)
    m; x -> s x + (1-s) luma(x); a rotation about the gray axis. There is no clipping in
    between. All but the second keep gray unchanged, so m can be added at the end.
    """
    angle = 2 * np.pi * turns
    turn = np.zeros((len(turns), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 1, 2], turn[:, 2, 1] = -np.sin(angle), np.sin(angle)
    hue = np.linalg.inv(_RGB_TO_YIQ) @ turn @ _RGB_TO_YIQ
    gray = np.broadcast_to(LUMA, (3, 3))
    saturate = saturation[:, None, None] * (np.eye(3) - gray) + gray
    matrix = hue @ saturate * (brightness * contrast)[:, None, None]
    return matrix, brightness * (1 - contrast)


def _recolor(image, color, haze):
    pixels = image.reshape(-1, 3).astype(np.float32)
    # A product with ones is many times faster than a mean over the long axis, and exact
    # in float32 up to 256 x 256 pixels.
    sums = np.ones(len(pixels), np.float32) @ pixels
    luma = float(sums @ LUMA) / len(pixels)
    mixed = pixels @ np.ascontiguousarray(color.T)
    mixed += np.float32(haze * luma + 0.5)
    # Truncation after adding one half rounds; 255.5 would not fit.
    np.clip(mixed, 0, 255, out=mixed)
    return mixed.astype(np.uint8).reshape(image.shape)


def _rectangles(config, u, size):
    """Erased rectangles, never larger than the share that the config allows."""
    low, high = config.get("erasing_area", (0.0, 0.0))
    erased = u[:, 0] < config.get("erasing_probability", 0.0)
    area = (low + (high - low) * u[:, 1]) * size * size
    aspect = np.exp((2 * u[:, 2] - 1) * np.log(_ASPECT))
    height = np.clip(np.floor(np.sqrt(area * aspect)), 1, size)
    width = np.clip(np.floor(np.sqrt(area / aspect)), 1, size)
    top = np.floor(u[:, 3] * (size - height + 1))
    left = np.floor(u[:, 4] * (size - width + 1))
    corners = np.stack([top, left, top + height, left + width], axis=1)
    return np.where(erased[:, None] & (high > 0), corners, 0).astype(np.int32)
