"""A model of one convolution, and a loader of arrays in memory."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from array_loader import SIDE, ArrayLoader, make_images

from configs import default
from hiercam_keras.models.initializers import numpy_initializers


@pytest.fixture
def loaders():
    """Training (4 batches of 8, 2 images left over) and validation (10 images)."""
    return (
        ArrayLoader(*make_images(0, 34), 8, True),
        ArrayLoader(*make_images(1, 10), 8, False),
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
        model.cam_layer = "top"
        return model, {rank: counts[rank] for rank in ranks}

    return make


@pytest.fixture
def config():
    """The defaults, with a learning rate for a few steps."""
    config = default.get_config()
    config.train.update(
        {"learning_rate": 0.02, "epochs": 3, "keep_best_images": 0}  # 10 val images
    )
    return config


@pytest.fixture
def train(loaders, make_model, config, tmp_path):
    """Builds, compiles and trains; fields of config.train may be changed."""
    from hiercam_keras.training import fit

    def train(
        ranks=("family",),
        resume=False,
        validation=True,
        folder=None,
        statistics=(),
        **fields,
    ):
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
            statistics,
        )
        return SimpleNamespace(
            model=model, rows=rows, before=before, folder=folder, training=training
        )

    return train
