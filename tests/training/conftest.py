"""A model of one convolution, and a loader of arrays in memory."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from configs import default
from hiercam_keras.data.loader import Batch
from hiercam_keras.models.initializers import numpy_initializers

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

    def epoch(self, number=0):
        order = np.arange(self.num_examples)
        if self.training:
            order = np.random.default_rng(number).permutation(order)
        for batch in range(self.num_batches):
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


def _images(seed, count):
    """Images whose brightness tells two families, whose hue three species."""
    rng = np.random.default_rng(seed)
    family, species = rng.integers(0, 2, count), rng.integers(0, 3, count)
    images = rng.integers(0, 60, (count, SIDE, SIDE, 3))
    images += 60 * family[:, None, None, None]
    images[np.arange(count), :, :, species] += 100
    labels = {"family": family.astype(np.int32), "species": species.astype(np.int32)}
    return images.astype(np.uint8), labels


@pytest.fixture
def loaders():
    """Training (4 batches of 8, 2 images left over) and validation (10 images)."""
    return (
        ArrayLoader(*_images(0, 34), 8, True),
        ArrayLoader(*_images(1, 10), 8, False),
    )


@pytest.fixture
def make_model():
    """A model with a head for each rank; the same weights each time."""

    def make(ranks=("family",), dropout=0.25):
        counts = {"family": 2, "species": 3}
        keras.utils.set_random_seed(0)
        with numpy_initializers():
            image = keras.Input((SIDE, SIDE, 3), name="image")
            x = keras.layers.Rescaling(1 / 255)(image)
            x = keras.layers.Conv2D(6, 3, 2, use_bias=False, name="conv")(x)
            x = keras.layers.BatchNormalization(name="bn", momentum=0.5)(x)
            x = keras.layers.Activation("relu", name="top")(x)
            x = keras.layers.GlobalAveragePooling2D()(x)
            x = keras.layers.Dropout(dropout, name="head_dropout")(x)
            heads = {
                rank: keras.layers.Dense(counts[rank], name=f"logits_{rank}")(x)
                for rank in ranks
            }
        out = heads if len(ranks) > 1 else heads[ranks[0]]
        model = keras.Model(image, out, name="one_convolution")
        return model, {rank: counts[rank] for rank in ranks}

    return make


@pytest.fixture
def config():
    """The defaults, with a learning rate for a few steps."""
    config = default.get_config()
    config.train.update({"learning_rate": 0.02, "epochs": 3})
    return config


@pytest.fixture
def train(loaders, make_model, config, tmp_path):
    """Builds, compiles and trains; fields of config.train may be changed."""
    from hiercam_keras.training import fit

    def train(ranks=("family",), resume=False, validation=True, folder=None, **fields):
        changed = config.copy_and_resolve_references()
        changed.train.update(fields)
        model, counts = make_model(ranks)
        training, val = loaders
        fit.compile_model(model, counts, changed.train, training.num_batches)
        before = {weight.path: np.array(np.asarray(weight)) for weight in model.weights}
        folder = folder or tmp_path / "run"
        rows = fit.train(
            model,
            training,
            val if validation else None,
            counts,
            changed,
            folder,
            resume,
        )
        return SimpleNamespace(model=model, rows=rows, before=before, folder=folder)

    return train
