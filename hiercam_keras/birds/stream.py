"""An endless stream of birds for pretraining.

Each picture belongs to one of many made-up trees; its labels are the child within
the parent at each rank. Habitats are drawn independently of all labels. A batch is a
pure function of (seed, step), so the workers only share the steps.
"""

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from hiercam_keras.birds.habitats import HABITATS
from hiercam_keras.birds.picture import CROP, render
from hiercam_keras.birds.tree import PretrainTree, random_tree
from hiercam_keras.birds.workers import OrderedSteps

# First words of all seeds here; the embedded data use others.
_TREES, _PICTURES = 0x7EEE, 0x91C7


class PretrainBatch(NamedTuple):
    """images: uint8 (B, S, S, 3). tree_index: int32 (B,). trait_labels: int32 (B, 4).

    Column r of trait_labels is the child within its parent at rank position r, 0 the
    coarsest; it is below PretrainStream.num_values[tree_index, r].
    """

    images: np.ndarray
    tree_index: np.ndarray
    trait_labels: np.ndarray


def pretrain_trees(seed: int, num_trees: int) -> list[PretrainTree]:
    """The trees of a stream; tree i does not depend on how many there are."""
    return [
        random_tree(np.random.default_rng([_TREES, seed, i])) for i in range(num_trees)
    ]


def pretrain_batch(
    step: int, trees: list[PretrainTree], seed: int, image_size: int, batch_size: int
) -> PretrainBatch:
    """The batch of a step, a pure function of the arguments."""
    images = np.empty((batch_size, image_size, image_size, 3), dtype=np.uint8)
    index = np.empty(batch_size, dtype=np.int32)
    labels = np.empty((batch_size, 4), dtype=np.int32)
    for i in range(batch_size):
        rng = np.random.default_rng([_PICTURES, seed, step, i])
        index[i] = rng.integers(len(trees))
        tree = trees[index[i]]
        labels[i] = rng.integers(tree.num_values)
        habitat = int(rng.integers(len(HABITATS)))
        images[i] = _picture(tree, labels[i], habitat, rng, image_size)
    return PretrainBatch(images, index, labels)


def _picture(tree: PretrainTree, labels, habitat: int, rng, size: int) -> np.ndarray:
    """A bird as training sees it: drawn larger, saved as JPEG, cropped."""
    drawn_size = round(size / CROP)
    image = Image.fromarray(render(tree.look(labels), habitat, rng, drawn_size).image)
    with io.BytesIO() as file:
        image.save(file, "JPEG", quality=int(rng.integers(55, 96)))
        image = Image.open(file)
        image.load()
    spare = drawn_size - size
    jitter = rng.integers(-(spare // 4), spare // 4 + 1, 2)
    left, top = (spare // 2 + jitter).tolist()
    return np.asarray(image)[top : top + size, left : left + size]


class PretrainStream:
    """An endless iterator of `PretrainBatch`, drawn by processes.

    Use it as a context manager, or call `close()`.

    Args:
      seed: of trees and pictures.
      num_trees: how many trees the pictures come from.
      image_size: side of the pictures in pixels.
      batch_size: pictures per batch.
      workers: processes, each up to two batches ahead; 0 draws in this one.
      start_step: first step, for resuming a run.
    """

    def __init__(
        self,
        seed: int,
        num_trees: int,
        image_size: int,
        batch_size: int,
        workers: int = 1,
        *,
        start_step: int = 0,
    ):
        self.trees = pretrain_trees(seed, num_trees)
        # (num_trees, 4): children per parent, by tree and rank position.
        self.num_values = np.stack([tree.num_values for tree in self.trees])
        self._steps = OrderedSteps(
            pretrain_batch,
            (self.trees, seed, image_size, batch_size),
            start=start_step,
            workers=workers,
        )

    @property
    def step(self) -> int:
        """The step of the next batch."""
        return self._steps.step

    def __iter__(self) -> Iterator[PretrainBatch]:
        return self

    def __next__(self) -> PretrainBatch:
        return next(self._steps)

    def __enter__(self) -> "PretrainStream":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers. Calling it again does nothing."""
        self._steps.close()
