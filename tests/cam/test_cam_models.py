"""Finding, reading and differentiating layers of all kinds of Keras 3 models."""

import jax
import keras
import numpy as np
import pytest
from absl import logging

from hiercam_keras import cam
from hiercam_keras.cam import graph, targets
from hiercam_keras.errors import UserError

layers = keras.layers


def fill(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def close(found, expected, tolerance=1e-5):
    expected = np.asarray(expected)
    scale = np.abs(expected).max()
    assert 0 < scale < np.inf  # zeros or NaN would be compared with nothing
    np.testing.assert_allclose(found, expected, atol=tolerance * scale)


def trunk(x):
    x = layers.Conv2D(4, 3, strides=2, name="c1")(x)
    x = layers.Activation("swish", name="a1")(x)
    x = layers.Conv2D(5, 2, name="c2")(x)
    return layers.Activation("swish", name="a2")(x)


@pytest.fixture(scope="module")
def reference():
    """The Functional model that the others rebuild, and its explanation."""
    inputs = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(trunk(inputs))
    return fill(keras.Model(inputs, layers.Dense(3, name="logits")(x)))


@pytest.fixture(scope="module")
def expected(reference, images):
    return {
        layer: cam.Explainer(reference, layer)(images, [0, 1, 2, 0, 1]).cams
        for layer in ("a1", "a2")
    }


def copy_weights(model, reference):
    model.set_weights(reference.get_weights())
    return model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.c1 = layers.Conv2D(4, 3, strides=2, name="c1")
        self.c2 = layers.Conv2D(5, 2, name="c2")
        self.swish = layers.Activation("swish", name="swish")
        self.dense = layers.Dense(3)

    def call(self, x, training=False):
        x = self.swish(self.c2(self.swish(self.c1(x))))
        return self.dense(keras.ops.mean(x, (1, 2)))


def sequential():
    stack = [keras.Input((12, 10, 3))]
    stack += [layers.Conv2D(4, 3, strides=2), layers.Activation("swish", name="a1")]
    stack += [layers.Conv2D(5, 2), layers.Activation("swish", name="a2")]
    return keras.Sequential([*stack, layers.GlobalAveragePooling2D(), layers.Dense(3)])


def nested():
    inner = keras.Input((12, 10, 3))
    backbone = keras.Model(inner, trunk(inner), name="backbone")
    inputs = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(backbone(inputs))
    return keras.Model(inputs, layers.Dense(3)(x))


def nested_sequential():
    inner = keras.Input((12, 10, 3))
    backbone = keras.Model(inner, trunk(inner), name="backbone")
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input((12, 10, 3)), backbone, *head])


@pytest.mark.parametrize(
    "build,first,last",
    [
        (sequential, "a1", "a2"),
        (nested, "backbone/a1", "backbone/a2"),
        (nested, "a1", "backbone"),
        (nested_sequential, "backbone/a1", "a2"),
        (Subclassed, "swish:0", "swish:1"),
    ],
)
def test_other_kinds_of_models_give_the_same_maps(
    build, first, last, reference, expected, images
):
    model = build()
    model(images[:1].astype("float32"))
    copy_weights(model, reference)
    explain = cam.Explainer(model, [first, last])
    result = explain.explain_many(images, [0, 1, 2, 0, 1])
    at_first, at_last = (result["gradcam", path] for path in explain.layers)
    close(at_first.cams, expected["a1"])
    close(at_last.cams, expected["a2"])


def test_last_activation_is_found_and_said(reference, expected, images, caplog):
    logging.use_absl_handler()
    with caplog.at_level("INFO", logger="absl"):
        explain = cam.Explainer(reference)
    assert "explaining the layer a2, 4x3x5" in caplog.text
    close(explain(images, [0, 1, 2, 0, 1]).cams, expected["a2"])


def test_last_activation_of_a_model_that_was_never_called(images):
    explain = cam.Explainer(Subclassed())
    explain(images)
    assert explain.layers == ("swish:1",)


def test_layer_that_is_no_cut_vertex(images):
    """A branch of a residual block, which deltas explain without cutting the graph."""
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    branch = layers.Conv2D(4, 3, padding="same", activation="tanh", name="branch")(x)
    total = layers.Add(name="add")([x, branch])
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(total))
    model = fill(keras.Model(inputs, outputs))
    explain = cam.Explainer(model, ["stem", "branch", "add"])
    found = explain.explain_many(images, [2] * 5, "hirescam")
    result = {layer: one for (_, layer), one in found.items()}
    # With a linear head hirescam is additive; the stem also acts through the branch.
    stem_alone = result["add"].cams - result["branch"].cams
    a = keras.Model(inputs, x)(images.astype("float32"))
    kernel = np.asarray(model.layers[-1].kernel)[:, 2]
    cells = a.shape[1] * a.shape[2]
    close(stem_alone[:, 0], np.asarray(a) @ kernel / cells)
    assert np.abs(result["stem"].cams - stem_alone).max() > 1e-3


def test_channels_first_gives_the_same_maps(reference, expected, images):
    stack = [keras.Input((3, 12, 10))]
    first = dict(data_format="channels_first")
    stack += [layers.Conv2D(4, 3, strides=2, **first)]
    stack += [layers.Activation("swish", name="a1")]
    stack += [layers.Conv2D(5, 2, **first), layers.Activation("swish", name="a2")]
    stack += [layers.GlobalAveragePooling2D(**first), layers.Dense(3)]
    model = copy_weights(keras.Sequential(stack), reference)
    explain = cam.Explainer(model, ["a1", "a2"])
    turned = np.moveaxis(images, -1, 1)
    result = explain.explain_many(turned, [0, 1, 2, 0, 1])
    close(result["gradcam", "a1"].cams, expected["a1"])
    close(result["gradcam", "a2"].cams, expected["a2"])
    pixels = cam.Explainer(model)(turned, [0] * 5, method="saliency").cams
    close(pixels, cam.Explainer(reference)(images, [0] * 5, method="saliency").cams)


def test_mixed_precision_maps_are_float32(reference, expected, images):
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = sequential()
    finally:
        keras.config.set_dtype_policy(policy)
    copy_weights(model, reference)
    result = cam.Explainer(model, "a2")(images, [0, 1, 2, 0, 1])
    assert result.cams.dtype == result.scores.dtype == np.float32
    # bfloat16 has 8 bits: its activations are right to a few parts in a hundred.
    close(result.cams, expected["a2"], 0.05)


def test_float64_model_gives_float64_maps(images):
    # Flatten, because Keras' own global average pooling computes in float32.
    with jax.enable_x64(True):
        keras.config.set_dtype_policy("float64")
        try:
            inputs = keras.Input((12, 10, 3), dtype="float64")
            x = layers.Flatten()(trunk(inputs))
            model = fill(keras.Model(inputs, layers.Dense(3)(x)))
        finally:
            keras.config.set_dtype_policy("float32")
        labels = [0, 1, 2, 0, 1]
        explain = cam.Explainer(model, "a2")
        result = explain(images.astype(np.float64), labels, "hirescam")
    assert result.cams.dtype == result.scores.dtype == np.float64
    _, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(
        result.cams.sum((-2, -1))[:, 0], result.scores[:, 0] - bias[labels], rtol=1e-11
    )


def test_multi_rank_model(tree, images):
    inputs = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(trunk(inputs))
    outputs = {
        "species": layers.Dense(7, name="species")(x),
        "family": layers.Dense(3, name="family")(x),
    }
    model = fill(keras.Model(inputs, outputs))
    explain = cam.Explainer(model, "a2", taxonomy=tree)
    result = explain(
        images,
        [targets.label(1, "family"), targets.marginal("family", 1), targets.path()],
    )
    kernel, bias = model.get_layer("family").get_weights()
    np.testing.assert_allclose(
        result.cams[:, 0].sum((-2, -1)), result.scores[:, 0] - bias[1], rtol=1e-4
    )
    species = result.head_logits()
    np.testing.assert_allclose(
        result.scores[:, 1], np.logaddexp(species[:, 3], species[:, 4]), rtol=1e-5
    )
    np.testing.assert_allclose(
        result.head_logits("family")[:, 1], result.scores[:, 0], rtol=1e-5
    )


def test_probabilities_are_explained_by_their_logarithm(reference, images, caplog):
    inputs = reference.input
    model = keras.Model(inputs, layers.Softmax()(reference.output))
    explain = cam.Explainer(model, "a2", probabilities=True)
    log_p = cam.Explainer(reference, "a2")(
        images, targets.log_probability([0, 1, 2, 0, 1])
    )
    result = explain(images, [0, 1, 2, 0, 1])
    close(result.cams, log_p.cams, 1e-4)
    p = keras.ops.softmax  # a layer's own code, in which nothing is found
    hidden = keras.Model(inputs, layers.Lambda(p)(reference.output))
    found = cam.Explainer(hidden, "a2", probabilities=True)(images, [0, 1, 2, 0, 1])
    close(found.cams, log_p.cams, 1e-4)
    with caplog.at_level("WARNING", logger="absl"):
        cam.Explainer(hidden, "a2")(images)
    assert "probabilities=True" in caplog.text


def test_tokens_with_reshape(images):
    """A transformer's (B, tokens, C), folded to maps."""
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 2, strides=2, name="patches")(inputs)
    tokens = layers.Reshape((30, 6), name="tokens")(x)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling1D()(tokens))
    model = fill(keras.Model(inputs, outputs))
    explain = cam.Explainer(
        model, "tokens", reshape=lambda x: x.reshape(-1, 6, 5, x.shape[-1])
    )
    close(
        explain(images, [1] * 5).cams,
        cam.Explainer(model, "patches")(images, [1] * 5).cams,
    )
    with pytest.raises(UserError, match="not a batch of maps.*patches.*reshape="):
        cam.Explainer(model, "tokens")


def test_errors_name_the_layers_that_would_do(reference):
    with pytest.raises(UserError, match="no layer 'a3'.*a2, c2, a1, c1"):
        cam.Explainer(reference, "a3")
    with pytest.raises(UserError, match="no convolutional activation"):
        stack = [keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(2)]
        cam.Explainer(keras.Sequential(stack))
    with pytest.raises(UserError, match="called 2 times; say which: swish:0, swish:1"):
        cam.Explainer(Subclassed(), "swish")(np.zeros((1, 12, 10, 3), "float32"))


def test_errors_about_outputs(reference, tree):
    with pytest.raises(UserError, match="3 logits.*order 2, family 3|no rank"):
        inputs = reference.input
        five = keras.Model(inputs, layers.Dense(5)(reference.layers[-2].output))
        cam.Explainer(five, taxonomy=tree)
    both = keras.Model(reference.input, [reference.output, reference.output])
    with pytest.raises(UserError, match="several outputs"):
        cam.Explainer(both)
    assert cam.Explainer(both, output=1).space.num_columns == 3
    with pytest.raises(UserError, match="no output 2"):
        cam.Explainer(both, output=2)
    maps = keras.Model(reference.input, reference.get_layer("a2").output)
    with pytest.raises(UserError, match="expected logits"):
        cam.Explainer(maps)


def test_family_model_is_known_by_its_number_of_labels(reference, tree):
    explain = cam.Explainer(reference, taxonomy=tree)
    assert explain.space.finest == "family" and explain.space.ranks == (
        "order",
        "family",
    )


def test_model_is_left_as_it_was(reference, images):
    before = np.asarray(reference(images.astype("float32")))
    cam.Explainer(reference, "a1")(images)
    assert not any("call" in layer.__dict__ for layer in graph.layers_of(reference))
    np.testing.assert_array_equal(before, reference(images.astype("float32")))


class Untold(keras.Model):
    """A model with a call without `training`, and layers that depend on it."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, activation="tanh")
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.5)
        self.pool = layers.GlobalAveragePooling2D()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(self.drop(self.pool(self.norm(self.conv(inputs)))))


def test_model_whose_call_takes_no_training_infers(images):
    model = Untold()
    expected = np.asarray(model(images.astype("float32")))
    result = cam.Explainer(model)(images)
    np.testing.assert_allclose(result.logits, expected, atol=1e-5)


def test_several_layers_come_back_as_they_were_asked_for(reference, images):
    for asked in (["a2", "a1"], ["a1", "a2"]):
        found = cam.Explainer(reference, asked).explain_many(images)
        assert [layer for _, layer in found] == asked
