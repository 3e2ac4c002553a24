"""Mixup and CutMix: mixes pairs of training images, and their labels by the same share.

The draws depend on the images of the batch and the epoch, so a resumed training draws
the same. The labels of all ranks are mixed by one share.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hiercam_keras.errors import UserError

_STREAM = 0x6D69786D  # separates these draws from those of the augmentation


def check(options: Any) -> None:
    """Raises UserError for a negative alpha."""
    for name in ("mixup", "cutmix"):
        if options[name] < 0:
            raise UserError(
                f"config.train.{name} is {options[name]}, expected 0 (off) or an alpha "
                "above it."
            )


def one_hot(labels: np.ndarray, count: int) -> np.ndarray:
    """Integer labels (B,) as float32 (B, count); 0 for -1, an image without a label."""
    found = np.eye(count, dtype=np.float32)[labels]
    found[labels < 0] = 0
    return found


def mix(
    images: np.ndarray,
    labels: Mapping[str, np.ndarray],
    options: Any,
    key: tuple[int, int],
    weights: Mapping[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    """Mixes each image of a batch with another one of it.

    Mixup (Zhang et al. 2018, arXiv:1710.09412): share a of the one, 1 - a of the other,
    a ~ Beta(alpha, alpha). CutMix (Yun et al. 2019, arXiv:1905.04899, equations 1, 2):
    a box of area 1 - a is pasted from the other image; its share is that of the box
    after clipping at the border. There is one draw for a batch. If both are on, each
    batch uses one of them with probability 1/2.

    Args:
      images: (B, S, S, 3); the result is rounded if they are integers.
      labels: rank -> distributions (B, N).
      options: `config.train`, with the alphas `mixup` and `cutmix`; 0 is off.
      key: seed of the draw: a number from the batch's images, and the epoch.
      weights: rank -> weights of the images' losses (B,), mixed like the labels.

    Returns:
      Images, labels and weights in the same form.
    """
    rng = np.random.default_rng((_STREAM, *key))
    on = [name for name in ("mixup", "cutmix") if options[name]]
    if not on:
        return images, dict(labels), weights
    chosen = on[rng.integers(len(on))]
    share = float(rng.beta(options[chosen], options[chosen]))
    other = rng.permutation(len(images))
    if chosen == "mixup":
        mixed = _blend(images, images[other], share)
        if images.dtype.kind in "iu":
            mixed = np.round(mixed)
        mixed = mixed.astype(images.dtype)
    else:
        rows, columns = _box(rng, images.shape[1:3], share)
        mixed = images.copy()
        mixed[:, rows, columns] = images[other][:, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1.0 - area / (images.shape[1] * images.shape[2])

    def blend_all(by_rank):
        return {rank: _blend(one, one[other], share) for rank, one in by_rank.items()}

    return mixed, blend_all(labels), weights and blend_all(weights)


def _blend(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    share = np.float32(share)
    return share * one.astype(np.float32) + (1 - share) * other.astype(np.float32)


def _box(rng, size: tuple[int, int], share: float) -> tuple[slice, slice]:
    """Rows and columns of a box of area 1 - share around a random point, clipped."""
    slices = []
    for side in size:
        length = round(side * np.sqrt(1.0 - share))
        center = int(rng.integers(side))
        start = center - length // 2
        slices.append(slice(max(0, start), min(side, start + length)))
    return slices[0], slices[1]
