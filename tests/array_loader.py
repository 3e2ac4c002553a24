"""A loader of arrays in memory; also for tests that run in other processes."""

import numpy as np

from hiercam_keras.data.loader import Batch

SIDE = 8


class ArrayLoader:
    """What `fit.train` needs of a loader, over arrays."""

    def __init__(self, images, labels, batch_size, training):
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        self.training = training
        self.num_examples = len(images)
        exact = len(images) / batch_size
        self.num_batches = int(exact) if training else int(np.ceil(exact))

    def epoch(self, number=0, start_step=0):
        order = np.arange(self.num_examples)
        if self.training:
            order = np.random.default_rng(number).permutation(order)
        for batch in range(start_step, self.num_batches):
            own = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            mask = np.arange(self.batch_size) < len(own)
            index = np.resize(own, self.batch_size)
            yield Batch(
                self.images[index],
                {rank: values[index] for rank, values in self.labels.items()},
                [str(i) for i in index],
                mask,
                np.zeros((self.batch_size, 7), np.float32),
            )


def make_images(seed, count):
    """Images whose brightness tells two families, whose hue three species."""
    rng = np.random.default_rng(seed)
    family, species = rng.integers(0, 2, count), rng.integers(0, 3, count)
    images = rng.integers(0, 60, (count, SIDE, SIDE, 3))
    images += 60 * family[:, None, None, None]
    images[np.arange(count), :, :, species] += 100
    labels = {"family": family.astype(np.int32), "species": species.astype(np.int32)}
    return images.astype(np.uint8), labels
