"""Trainings of networks that hold other models, with every option that names layers."""

import keras
import numpy as np
import pytest
from array_loader import ArrayLoader, make_images

from hiercam_keras.errors import UserError
from hiercam_keras.models import heads
from hiercam_keras.training import fit, rates

LABELS = {"family": 2, "species": 3}


@pytest.fixture
def loaders():
    """Training (4 batches of 8) and validation (10 images), of 32 px."""

    def make(seed, count, training):
        images, labels = make_images(seed, count)
        return ArrayLoader(images.repeat(4, 1).repeat(4, 2), labels, 8, training)

    return make(0, 34, True), make(1, 10, False)


def trained(loaders, config, folder, name, **options):
    keras.utils.set_random_seed(0)
    config.train.update({"epochs": 1, **options})
    model = heads.build_model(f"user_networks:{name}", 32, LABELS)
    training, validation = loaders
    fit.compile_model(model, LABELS, config.train, training.num_batches)
    rows = fit.train(model, training, validation, LABELS, config, folder)
    return model, rows


def test_the_filter_loss_sees_the_maps_of_a_nested_model(loaders, config, tmp_path):
    """The value in the log is that of the maps, computed by themselves."""
    model, (row,) = trained(
        loaders, config, tmp_path / "run", "nested_last", filter_loss=1.0
    )
    assert model.cam_layer == "inner"
    assert np.isfinite(row["filter_loss"]) and row["filter_loss"] < 0
    assert row["filter_information"] > 0
    from hiercam_keras.training.filter_loss import filter_loss

    images = next(iter(loaders[0].epoch(0))).images
    first = next(layer for layer in model.layers if "conv2d" in layer.name)
    maps = model.get_layer("inner")(first(images / np.float32(255)))
    found = -float(filter_loss(maps)) / maps.shape[-1]
    # A sum of float32 logarithms that nearly cancel.
    np.testing.assert_allclose(row["filter_information"], found, rtol=1e-3)


def test_a_layer_that_is_called_twice_gives_no_single_map(config):
    image = keras.Input((32, 32, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same", name="twice")
    x = keras.layers.GlobalAveragePooling2D()(conv(conv(image)))
    model = keras.Model(image, keras.layers.Dense(2, name="logits_family")(x))
    model.cam_layer = "twice"
    config.train.filter_loss = 0.1
    with pytest.raises(UserError, match="outputs maps once, found 'twice'"):
        fit.compile_model(model, {"family": 2}, config.train, 4)


def test_rates_differ_for_layers_of_one_name():
    """Two nested models may both have a "conv/kernel": a path is no key."""
    model = heads.build_model("user_networks:nested", 32, LABELS)
    found = rates.layer_rates(model, 0.5, 0.01)
    inner = model.get_layer("inner")
    first, last = model.get_layer("conv").kernel, inner.get_layer("conv").kernel
    assert first.path == last.path
    assert found[id(first)] == pytest.approx(0.005)
    assert found[id(last)] == pytest.approx(0.5)
