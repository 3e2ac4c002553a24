"""A small tree, small models and images, shared by the CAM tests."""

import numpy as np
import pytest
import small_tree


@pytest.fixture(scope="session")
def tree():
    return small_tree.tree()


@pytest.fixture(scope="session")
def images():
    """uint8 (5, 12, 10, 3): not square, so that swapped axes are detected."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def small_model():
    """Two convolutions, global average pooling, a linear head of 7 species."""
    import keras

    keras.utils.set_random_seed(7)
    layers = keras.layers
    inputs = keras.Input((12, 10, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.Conv2D(4, 3, strides=2, name="first")(x)
    x = layers.Activation("swish", name="first_activation")(x)
    x = layers.Conv2D(6, 2, name="second")(x)
    x = layers.Activation("swish", name="top_activation")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(7, name="logits")(x))
    # Larger weights than initial ones, for distinct logits and maps of both signs.
    rng = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="session")
def explain(small_model, tree):
    from hiercam_keras import cam

    return cam.Explainer(small_model, "top_activation", taxonomy=tree)
