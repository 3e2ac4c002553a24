"""Models with several inputs, and arrays that a model cannot accept."""

import contextlib
import functools
import re

import keras
import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import targets
from hiercam_keras.cam.randomization import randomized
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError

layers = keras.layers
RNG = np.random.default_rng(2)
PHOTOS = RNG.integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
PLACES = RNG.normal(size=(3, 2)).astype("float32")


def filled(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


def two_inputs(structure, image_first=True):
    """Inputs photo and place: logits are linear in both, so maps have a closed form."""
    photo = keras.Input((8, 6, 3), name="photo")
    place = keras.Input((2,), name="place")
    x = layers.Conv2D(4, 3, activation="tanh", name="conv")(photo)
    x = layers.GlobalAveragePooling2D()(x)
    # A product: the place changes the map, and not by a constant.
    gate = layers.Dense(4, name="gate")(place)
    outputs = layers.Dense(3, name="logits")(layers.Multiply()([x, gate]))
    return filled(keras.Model(structure(photo, place), outputs))


STRUCTURES = {
    "list": lambda photo, place: [photo, place],
    "image last": lambda photo, place: [place, photo],
    "dict": lambda photo, place: {"photo": photo, "place": place},
}


def expected_maps(model, places, labels):
    """Grad-CAM in float64: sum_k gate_k w_k A_k / cells."""
    conv, gate = model.get_layer("conv"), model.get_layer("gate")
    taps = keras.Model(model.inputs, [conv.output, gate.output])
    names = [tensor.name for tensor in model.inputs]
    given = {"photo": PHOTOS.astype("float32"), "place": places}
    a, g = taps([given[name] for name in names])
    kernel = np.asarray(model.get_layer("logits").kernel, np.float64)[:, labels]
    a, g = np.asarray(a, np.float64), np.asarray(g, np.float64)
    return np.einsum("bhwc,bc,cb->bhw", a, g, kernel) / (a.shape[1] * a.shape[2])


def close(found, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", STRUCTURES)
def test_other_inputs_are_held_fixed(kind):
    model = two_inputs(STRUCTURES[kind])
    explain = cam.Explainer(model, "conv", batch_size=2)  # the second batch is padded
    labels = [0, 2, 1]
    result = explain(PHOTOS, labels, other_inputs={"place": PLACES})
    close(result.cams[:, 0], expected_maps(model, PLACES, labels))
    for given in ([PLACES], PLACES):
        again = explain(PHOTOS, labels, other_inputs=given)
        np.testing.assert_array_equal(again.cams, result.cams)
    whole = {"photo": PHOTOS, "place": PLACES}
    if kind != "dict":
        whole = [whole[tensor.name] for tensor in model.inputs]
    np.testing.assert_array_equal(explain(whole, labels).cams, result.cams)


def test_one_row_is_for_every_image():
    model = two_inputs(STRUCTURES["dict"])
    explain = cam.Explainer(model, "conv")
    every = np.repeat(PLACES[:1], 3, axis=0)
    expected = expected_maps(model, every, [1, 1, 1])
    for given in (PLACES[0], PLACES[:1], every):
        close(explain(PHOTOS, [1] * 3, other_inputs=given).cams[:, 0], expected)


def test_methods_that_run_the_model_again_hold_them_fixed_too():
    model = two_inputs(STRUCTURES["list"])
    options = cam.Options(flip=True, scorecam_channels=2, ig_steps=4)
    explain = cam.Explainer(model, "conv", options=options)
    names = ["gradcam", "scorecam", "saliency", "integrated_gradients"]
    ask = functools.partial(explain.explain_many, methods=names)
    result = ask(PHOTOS, [0, 1, 2], other_inputs=PLACES)
    mirrored = ask(PHOTOS[:, :, ::-1], [0, 1, 2], other_inputs=PLACES)
    assert [name for name, _ in result] == [name for name, _ in mirrored] == names
    for name in result:
        close(mirrored[name].cams[..., ::-1], result[name].cams)
    for i in range(3):
        alone = ask(PHOTOS[i : i + 1], [i], other_inputs=PLACES[i])
        for name in result:
            close(alone[name].cams[0], result[name].cams[i])


def test_scorer_and_randomization_take_them():
    model = two_inputs(STRUCTURES["dict"])
    scorer = Scorer(model)
    z = np.asarray(model({"photo": PHOTOS.astype("float32"), "place": PLACES}))
    expected = z[:, 0] - np.logaddexp(z[:, 1], z[:, 2])
    found = scorer(PHOTOS, scorer.rows([0] * 3), other_inputs={"place": PLACES})
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    stages = [stage.layer for stage in randomized(model)]
    assert stages[0] == "logits" and set(stages) == {"logits", "gate", "conv"}


def test_a_siamese_network_asks_which_image():
    left, right = keras.Input((8, 6, 3), name="left"), keras.Input((8, 6, 3), name="b")
    tower = keras.Sequential(
        [
            layers.Conv2D(3, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
        ],
        name="tower",
    )
    x = layers.Subtract()([tower(left), tower(right)])
    model = filled(keras.Model([left, right], layers.Dense(1)(x)))
    with pytest.raises(UserError, match=r"several inputs.*'left' \('batch', 8, 6, 3\)"):
        cam.Explainer(model)
    with pytest.raises(UserError, match="image_input='right' is none.*'left'"):
        cam.Explainer(model, image_input="right")
    other = np.roll(PHOTOS, 1, axis=0)
    a = np.asarray(tower.layers[0](PHOTOS.astype("float32")), np.float64)
    cells = a.shape[1] * a.shape[2]
    expected = a @ np.asarray(model.layers[-1].kernel, np.float64)[:, 0] / cells
    paths = set()
    for which, sign in (("left", 1), (1, -1)):
        explain = cam.Explainer(model, image_input=which)
        (path,) = explain.layers  # the call that sees this image, not the last one
        paths.add(path)
        result = explain(PHOTOS, [1] * 3, other_inputs=other)
        close(result.cams[:, 0], sign * expected)
        with pytest.raises(UserError, match="does not depend on the image"):
            blind = {"tower/conv:0", "tower/conv:1"} - {path}
            cam.Explainer(model, *blind, image_input=which)
    assert paths == {"tower/conv:0", "tower/conv:1"}


class Mapping(keras.Model):
    """A subclassed model that takes a dict and does not declare its inputs."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, activation="tanh", name="conv")
        self.gate = layers.Dense(4, name="gate")
        self.head = layers.Dense(3, name="logits")

    def call(self, inputs, training=False):
        x = keras.ops.mean(self.conv(inputs["photo"]), (1, 2))
        return self.head(x * self.gate(inputs["place"]))


def test_a_subclassed_model_of_a_dict():
    model, reference = Mapping(), two_inputs(STRUCTURES["dict"])
    photos = PHOTOS.astype("float32")
    model({"photo": photos, "place": PLACES})
    for name in ("conv", "gate", "logits"):
        inner = next(layer for layer in model.layers if layer.name == name)
        inner.set_weights(reference.get_layer(name).get_weights())
    expected = expected_maps(reference, PLACES, [0, 1, 2])
    given = {"photo": photos, "place": PLACES}
    close(cam.Explainer(model, "conv")(given, [0, 1, 2]).cams[:, 0], expected)
    explain = cam.Explainer(model, "conv", image_input="photo")
    found = explain(photos, [0, 1, 2], other_inputs={"place": PLACES})
    close(found.cams[:, 0], expected)
    with pytest.raises(UserError, match="does not say how.*image_input="):
        cam.Explainer(model, "conv")(photos, other_inputs={"place": PLACES})


@pytest.mark.parametrize(
    "given,part",
    [
        (None, "no value for the model's input 'place'; found none"),
        ({"palce": PLACES}, "no value for the model's input 'place'; found 'palce'"),
        ({"place": PLACES, "date": PLACES}, "'date' is none of the model's other"),
        ([PLACES, PLACES], "found 2 other inputs, the model has 1 .*'place'"),
        (PLACES[:2], r"\(2, 2\) for 3 images.*one row for each"),
        (PLACES[:, :, None], r"'place' takes \('batch', 2\)"),
        (np.array(["a", "b", "c"]), "expected an array of numbers"),
    ],
)
def test_other_inputs_that_do_not_fit(given, part):
    explain = cam.Explainer(two_inputs(STRUCTURES["dict"]), "conv")
    with pytest.raises(UserError, match=part):
        explain(PHOTOS, other_inputs=given)


def test_a_model_without_images():
    flat = keras.Input((5,), name="values")
    with pytest.raises(UserError, match="no input .* images .*'values'"):
        cam.Explainer(keras.Model(flat, layers.Dense(2)(flat)))


def small(shape=(8, 6, 3), scale=1 / 255, **options):
    inputs = keras.Input(shape)
    x = layers.Rescaling(scale)(inputs)
    x = layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv", **options)(
        x
    )
    x = layers.Conv2D(4, 3, strides=2, activation="tanh", name="top", **options)(x)
    x = layers.GlobalAveragePooling2D(**options)(x)
    return filled(keras.Model(inputs, layers.Dense(6)(x)))


@pytest.fixture(scope="module")
def explain():
    return cam.Explainer(small())


BAD = {
    "one image": (PHOTOS[0], "single image give images\\[None\\]"),
    "gray, no channel": (PHOTOS[..., 0], "np.repeat\\(images\\[..., None\\], 3"),
    "gray": (PHOTOS[..., :1], "np.repeat\\(images, 3, axis=-1\\)"),
    "alpha": (np.concatenate([PHOTOS, PHOTOS[..., :1]], -1), "found 4 channels"),
    "channels first": (np.moveaxis(PHOTOS, -1, 1), "np.moveaxis\\(images, 1, -1\\)"),
    "size": (np.zeros((3, 16, 6, 3), "uint8"), r"\(B, 8, 6, 3\).*resize them"),
    "none": (PHOTOS[:0], "at least one image"),
    "words": (np.array([["a"]]), "expected an array of numbers"),
    "uneven": ([PHOTOS[0], PHOTOS[0, :3]], "is no array of numbers"),
}


@pytest.mark.parametrize("kind", BAD)
def test_images_that_do_not_fit(explain, kind):
    images, part = BAD[kind]
    with pytest.raises(UserError, match=part):
        explain(images)


def test_one_image_of_a_network_of_any_size_is_not_gray():
    explain = cam.Explainer(small((None, None, 3)))
    with pytest.raises(UserError, match="single image give images\\[None\\]"):
        explain(PHOTOS[0])
    with pytest.raises(UserError, match="np.repeat\\(images\\[..., None\\], 3"):
        explain(PHOTOS[..., 0])


def test_channels_last_images_of_a_channels_first_network():
    model = small((3, 8, 6), data_format="channels_first")
    explain = cam.Explainer(model, "conv", data_format="channels_first")
    with pytest.raises(UserError, match="channels last; np.moveaxis\\(images, -1, 1"):
        explain(PHOTOS)
    with pytest.raises(UserError, match="np.repeat\\(images, 3, axis=1\\)"):
        explain(np.moveaxis(PHOTOS[..., :1], -1, 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_images_that_are_not_finite(explain, bad):
    images = PHOTOS.astype("float32")
    images[1, 3, 2, 0] = bad
    with pytest.raises(UserError, match="1 of the 3 images.*first is number 1"):
        explain(images)


def test_what_keras_refuses_is_one_message():
    """A model without a declared input shape, built for three channels."""
    model = FullyConvolutional()
    model(PHOTOS.astype("float32"))
    with pytest.raises(UserError, match=r"images\[None\]"):
        cam.Explainer(model)(PHOTOS[0])
    with pytest.raises(UserError, match=r"cannot be run on .*\(3, 8, 6, 1\)"):
        cam.Explainer(model)(PHOTOS[..., :1].astype("float32"))


@pytest.mark.parametrize(
    "scale,images,warned",
    [
        (1 / 255, PHOTOS / 255, True),
        (1 / 127.5, (PHOTOS / 255).astype("float32"), True),
        (1.0, PHOTOS / 255, False),
        (1 / 255, PHOTOS.astype("float32"), False),
        (1 / 255, PHOTOS // 255, False),
    ],
)
def test_small_floats_for_a_network_of_bytes(scale, images, warned, caplog):
    explain = cam.Explainer(small(scale=scale))
    with caplog.at_level("WARNING", logger="absl"):
        explain(images)
        explain(images)
    found = [r for r in caplog.records if "multiply the images by 255" in r.message]
    assert len(found) == warned


class Tensor:
    """Cannot be converted to NumPy, like torch tensors that require a gradient."""

    def __init__(self, values, detached=False, here=False):
        self.values, self.detached, self.here = values, detached, here

    def detach(self):
        return Tensor(self.values, True, self.here)

    def cpu(self):
        return Tensor(self.values, self.detached, True)

    def __array__(self, dtype=None, copy=None):
        if not (self.detached and self.here):
            raise RuntimeError("call detach() and cpu() first")
        return np.asarray(self.values, dtype)


def test_arrays_of_other_libraries(explain):
    expected = explain(PHOTOS, [1, 2, 3]).cams
    import jax.numpy as jnp

    given = {"jax": (jnp.asarray(PHOTOS), jnp.asarray([1, 2, 3]))}
    given["list"] = (list(PHOTOS), [1, 2, 3])
    given["like torch"] = (Tensor(PHOTOS), Tensor(np.array([1, 2, 3])))
    with contextlib.suppress(ImportError):  # neither is needed to explain
        import torch

        given["torch"] = (
            torch.tensor(PHOTOS, dtype=torch.float32, requires_grad=True),
            torch.tensor([1, 2, 3]),
        )
    with contextlib.suppress(ImportError):
        import tensorflow as tf

        given["tf"] = (tf.constant(PHOTOS), tf.constant([1, 2, 3]))
    for name, (images, labels) in given.items():
        np.testing.assert_allclose(
            explain(images, labels).cams, expected, rtol=1e-6, err_msg=name
        )
        asked = explain(images, targets.label(labels))
        np.testing.assert_allclose(asked.cams, expected, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "labels",
    [
        np.eye(6, dtype=int)[[1, 2, 3]],
        np.eye(6)[[1, 2, 3]],
        np.eye(6, dtype=bool)[[1, 2, 3]],
        np.array([[0, 1, 1, 0, 0, 0]] * 3),
    ],
    ids=["one-hot", "floats", "bools", "multi-hot"],
)
def test_one_hot_labels_are_refused(explain, labels):
    with pytest.raises(UserError, match=r"one-hot.*labels.argmax\(-1\)"):
        explain(PHOTOS, labels)


def test_labels_that_look_a_little_like_one_hot_are_labels(explain):
    labels = np.array([[0, 1], [1, 0], [0, 1]])
    assert explain(PHOTOS, labels).labels.tolist() == labels.tolist()
    six = np.array([[0, 1, 2, 3, 4, 5]] * 3)
    assert explain(PHOTOS, six).labels.tolist() == six.tolist()


class FullyConvolutional(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, strides=2, activation="tanh", name="top")
        self.dense = layers.Dense(6)

    def call(self, images):
        return self.dense(keras.ops.mean(self.conv(images), (1, 2)))


@pytest.mark.parametrize("build", [lambda: small((None, None, 3)), FullyConvolutional])
def test_one_program_for_each_size_of_images(build):
    explain = cam.Explainer(build())
    for height, width in [(8, 6), (12, 9), (8, 6)]:
        images = RNG.uniform(0, 255, (2, height, width, 3)).astype("float32")
        result = explain(images, [1, 2])
        alone = cam.Explainer(explain.model, "top")(images, [1, 2])
        np.testing.assert_array_equal(result.cams, alone.cams)
        assert result.cams.shape[2:] == ((height - 1) // 2, (width - 1) // 2)
    assert len(explain._compiled) == 2 and explain.layers == ("top",)


class Masked(layers.Layer):
    def call(self, x, mask_image=None):
        return x if mask_image is None else x * mask_image


def test_an_optional_input_may_be_left_out():
    photo = keras.Input((8, 6, 3), name="photo")
    mask = keras.Input((1,), name="weight", optional=True)
    x = layers.Conv2D(4, 3, activation="tanh", name="conv")(photo)
    x = Masked()(layers.GlobalAveragePooling2D()(x), mask)
    explain = cam.Explainer(filled(keras.Model([photo, mask], layers.Dense(3)(x))))
    full = explain(PHOTOS, [1] * 3)
    half = explain(PHOTOS, [1] * 3, other_inputs=[np.float32([0.5])])
    close(half.cams, full.cams / 2)
    assert full.cams.any()


def test_maps_of_one_cell_are_refused():
    part = "'top' gives maps of one cell.*4 x 4 x 3.*built for them.*conv"
    with pytest.raises(UserError, match=part):
        cam.Explainer(small((4, 4, 3)), "top")
    explain = cam.Explainer(small((None, None, 3)), "top")
    with pytest.raises(UserError, match="one cell.*3 x 4 x 3.*of 6 x 8 x 3 or more"):
        explain(np.zeros((1, 3, 4, 3), "uint8"))
    assert explain(np.zeros((1, 6, 8, 3), "uint8")).cams.shape == (1, 1, 2, 3)
    one = lambda x: x.reshape(-1, 1, 1, 4)  # noqa: E731
    with pytest.raises(UserError, match="reshape= turns"):
        cam.Explainer(small(), "top", reshape=one)


def test_a_network_of_one_cell_alone():
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(2, 3, 4, "same", name="only")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))
    with pytest.raises(UserError, match="'only' gives maps of one cell.*larger images"):
        cam.Explainer(keras.Model(inputs, layers.Dense(2)(x)))


def test_the_size_that_does_is_more_than_twice_the_size():
    """Three halvings of 2 px: 4 and 8 px are one cell, too."""
    inputs = x = keras.Input((None, None, 3))
    for number in range(3):
        x = layers.Conv2D(2, 3, 2, "same", activation="relu", name=f"c{number}")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(UserError, match="images of 16 x 16 x 3 or more"):
        cam.Explainer(model, "c2")(np.zeros((1, 2, 2, 3), "uint8"))


def test_a_result_is_printed_on_one_line(explain):
    text = repr(explain(PHOTOS, [targets.predicted(), targets.label(2)]))
    assert re.fullmatch(
        r"<Explanation of 3 images by gradcam at top: cams \(3, 2, 3, 2\) float32, "
        r"targets label-own, label-own; \d of 6 maps without a heatmap>",
        text,
    )
