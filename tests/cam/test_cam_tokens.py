"""How tokens become a grid: our own small transformers, which need no keras-hub.

They have the class names and attributes by which keras-hub's layers are recognized.
"""

import jax
import keras
import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import graph, stages, tokens
from hiercam_keras.errors import UserError

layers = keras.layers
WIDTH = 4


class DINOV3Embedding(layers.Layer):
    """Patches of 16 px after one class token and some registers."""

    def __init__(self, num_register_tokens=4, added=0, patch=16, **kwargs):
        super().__init__(**kwargs)
        self.num_register_tokens = num_register_tokens
        self.first = 1 + num_register_tokens + added
        self.projection = layers.Conv2D(
            WIDTH, patch, strides=patch, use_bias=False, name="projection"
        )

    def build(self, shape):
        self.projection.build(shape)

    def compute_output_shape(self, shape):
        batch, height, width, _ = self.projection.compute_output_shape(shape)
        known = None not in (height, width)
        return (batch, height * width + self.first if known else None, WIDTH)

    def call(self, images):
        patches = self.projection(images)
        patches = keras.ops.reshape(patches, (keras.ops.shape(images)[0], -1, WIDTH))
        return keras.ops.pad(patches, ((0, 0), (self.first, 0), (0, 0)))


class Nameless(DINOV3Embedding):
    """Is recognized by the class it is derived from, and lacks an attribute."""

    def __init__(self):
        super().__init__()
        del self.num_register_tokens


class DINOV3Layer(layers.Layer):
    """Each token and the mean of all tokens, with an output of its own kind."""

    def __init__(self, several=False, **kwargs):
        super().__init__(**kwargs)
        self.several = several

    def call(self, x):
        x = x + keras.ops.mean(x, axis=1, keepdims=True)
        return (x, 2 * x) if self.several else x


def transformer(shape=(192, 256, 3), embedding=None, blocks=2, several=False):
    images = keras.Input(shape)
    x = (embedding or DINOV3Embedding(name="patches"))(images)
    for i in range(blocks):
        x = DINOV3Layer(several, name=f"block_{i}")(x)
        x = x[0] if several else x
    model = keras.Model(images, layers.Dense(3, name="head")(x[:, 0]))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1.0, weight.shape))
    return model


def marked(row, column, shape=(192, 256, 3), patch=16):
    """Two pictures that are black but for one patch."""
    image = np.zeros((2, *shape), "float32")
    cell = np.s_[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
    image[:, *cell] = 1.0
    return image


def test_folding_drops_what_comes_first_and_keeps_the_order_of_rows():
    grid = tokens.Grid(2, (2, 3))
    found = grid.fold(np.arange(2 * 8 * 1).reshape(2, 8, 1))
    assert grid.count == 8
    np.testing.assert_array_equal(found[0, ..., 0], [[2, 3, 4], [5, 6, 7]])
    np.testing.assert_array_equal(found[1, ..., 0], [[10, 11, 12], [13, 14, 15]])


def test_registers_and_an_oblong_picture(caplog):
    """197 tokens are 5 and 12 x 16, not 1 and 14 x 14."""
    with caplog.at_level("INFO", logger="absl"):
        explain = cam.Explainer(transformer())
    assert explain.layers == ("block_1:input",)
    assert "block_1:input, 197x4" in caplog.text
    assert "5 special tokens and 12 x 16" in caplog.text
    found = explain(marked(3, 10), [0, 1]).cams
    assert found.shape == (2, 1, 12, 16)
    for one in found[:, 0]:
        assert np.unravel_index(one.argmax(), one.shape) == (3, 10)
    # Input of the last block: twice the patch, plus what all share.
    kernel, weights = (np.float64(w) for w in (explain.model.weights[:2]))
    patch = kernel.sum((0, 1, 2))
    shared = patch / 197
    alpha = weights / 197  # of the mean that the class token adds
    expected = np.full((12, 16), shared @ alpha[:, 0])
    expected[3, 10] += patch @ alpha[:, 0]
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4)


def test_patches_of_the_last_output_have_no_gradient_under_a_class_token():
    explain = cam.Explainer(transformer(), ["block_1", "block_1:input"])
    found = explain.explain_many(marked(3, 10), [0, 1], ["gradcam"])
    assert not found["gradcam", "block_1"].cams.any()
    assert found["gradcam", "block_1:input"].cams.any()


def test_the_input_of_a_block_is_the_output_before_it():
    model, images = transformer(), marked(1, 2)
    before = cam.Explainer(model, "block_0")(images, [0, 2]).cams
    inside = cam.Explainer(model)(images, [0, 2]).cams
    by_hand = cam.Explainer(
        model, "block_0", reshape=lambda x: x[:, 5:].reshape(-1, 12, 16, WIDTH)
    )(images, [0, 2]).cams
    np.testing.assert_array_equal(before, inside)
    np.testing.assert_array_equal(by_hand, inside)


def test_a_single_block_and_one_with_several_outputs():
    found = cam.Explainer(transformer(blocks=1, several=True))(marked(8, 1), [0, 0])
    assert np.unravel_index(found.cams[0, 0].argmax(), (12, 16)) == (8, 1)


def test_each_size_of_pictures_has_a_grid_of_its_own():
    explain = cam.Explainer(transformer((None, None, 3)))
    for height, width in ((32, 64), (48, 32)):
        shape = (height, width, 3)
        one = explain(marked(1, 1, shape), [0, 1]).cams[0, 0]
        assert one.shape == (height // 16, width // 16)
        assert np.unravel_index(one.argmax(), one.shape) == (1, 1)


def test_maps_in_a_transformer_are_left_as_they_are():
    explain = cam.Explainer(transformer(), ["projection", "block_0"])
    found = explain.explain_many(marked(3, 10), [0, 1], ["hirescam"])
    assert {one.cams.shape for one in found.values()} == {(2, 1, 12, 16)}


def test_tokens_that_are_no_grid_are_refused():
    model = transformer(embedding=DINOV3Embedding(added=1))
    with pytest.raises(UserError, match="198 tokens.*5 special tokens and 12 x 16.*re"):
        cam.Explainer(model)
    fold = tokens.Grid(6, (12, 16)).fold
    explain = cam.Explainer(model, "block_0", reshape=fold)
    assert explain(marked(3, 10), [0, 1]).cams[0, 0].argmax() == 3 * 16 + 10


def test_a_layer_that_is_no_token_grid_is_refused():
    images = keras.Input((64, 64, 3))
    x = DINOV3Layer(name="block")(DINOV3Embedding()(images))
    x = layers.Cropping1D((3, 0), name="cut")(x)
    model = keras.Model(images, layers.Dense(3)(x[:, 0]))
    with pytest.raises(UserError, match="'cut'.*18, 4.*5 special tokens and 4 x 4"):
        cam.Explainer(model, "cut")


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match="DINOv3 of keras-hub.*num_register_tokens"):
        cam.Explainer(transformer((64, 64, 3), Nameless()))


def test_blocks_without_a_known_attention_are_named():
    explain = cam.Explainer(transformer())
    with pytest.raises(UserError, match="block_0 has 0 layers of attention.*gradcam"):
        explain(marked(3, 10), [0, 1], "legrad")


def test_other_models_are_no_transformers():
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(images)
    model = keras.Model(images, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    spec = jax.ShapeDtypeStruct((2, 8, 8, 3), "float32")
    assert tokens.find(graph.record(model, spec).calls) is None


def test_the_last_call_of_a_transformer_that_is_called_twice():
    images = keras.Input((64, 96, 3))
    x = DINOV3Layer(name="block")(DINOV3Embedding(name="patches")(images))
    tower = keras.Model(images, x, name="tower")
    both = tower(images) + tower(images[:, ::-1])
    model = keras.Model(images, layers.Dense(2)(both[:, 0]))
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 0.5))
    explain = cam.Explainer(model)
    assert explain.layers == ("tower/block:1:input",)
    picture = marked(0, 4, (64, 96, 3))
    found = explain(picture, [0, 1]).cams
    assert np.unravel_index(found[0, 0].argmax(), (4, 6)) == (3, 4)  # upside down
    named = cam.Explainer(model, explain.layers[0])(picture, [0, 1]).cams
    np.testing.assert_array_equal(named, found)


def test_the_ends_of_stages_are_the_inputs_of_blocks_at_four_depths():
    image = keras.Input((64, 64, 3))
    x = DINOV3Embedding()(image)
    for number in range(8):
        x = DINOV3Layer(name=f"block{number}")(x)
    model = keras.Model(image, layers.Dense(3)(x[:, 0]))
    found = stages.ends(model)
    assert found == tuple(f"block{number}:input" for number in (7, 5, 3, 1))
    assert cam.Explainer(model, found).layers == found
