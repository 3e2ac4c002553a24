"""Every backbone by name: published size, CAM layer, input, output stride, files.

Each is built once, of 64 px, with zeros for its random weights: what is tested is the
graph. The larger EfficientNets differ from B0 by numbers only and are slow tests.
"""

import functools
import inspect
from unittest import mock

import keras
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.models import (
    backbones,
    efficientnet_lite,
    files,
    heads,
    imagenet,
    initializers,
    layers,
    weights,
    xla_layers,
)
from hiercam_keras.models.stride import with_output_stride

# Parameters with a head of 1000 labels, and channels: those that keras.io lists for
# keras.applications (the 7 of a Normalization in EfficientNet included). Two have their
# own top in the papers: MobileNetV3's is left out with its hidden layer.
PUBLISHED = {
    "efficientnet_b0": (5_330_571, 1280),
    "efficientnet_b1": (7_856_239, 1280),
    "efficientnet_b2": (9_177_569, 1408),
    "efficientnet_b3": (12_320_535, 1536),
    "efficientnet_v2_b0": (7_200_312, 1280),
    # Parameter counts of the published files, including batch norm statistics.
    "efficientnet_lite0": (4_694_024, 1280),
    "efficientnet_lite1": (5_470_344, 1280),
    "efficientnet_lite2": (6_150_168, 1280),
    "resnet50": (25_636_712, 2048),
    "resnet50_v2": (25_613_800, 2048),
    "convnext_tiny": (28_589_128, 768),
    "mobilenet_v3_small": (1_516_120, 576),
    "mobilenet_v3_large": (3_957_352, 960),
}
SLOW = (
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_lite1",
    "efficientnet_lite2",
)
ALL = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in PUBLISHED
]
# Their relatives are slow tests, where stride 8 has been tested for all.
RELATIVES = (*SLOW, "efficientnet_lite0", "resnet50", "mobilenet_v3_large")
ONE_OF_A_KIND = [
    pytest.param(name, marks=pytest.mark.slow if name in RELATIVES else ())
    for name in PUBLISHED
]


@functools.cache
def build(name):
    zeros = mock.patch.object(
        initializers, "variance_scaling", lambda shape, *_: np.zeros(shape)
    )
    with zeros:
        return backbones.build_backbone(name, 64)


def finer(name, stride):
    with mock.patch.object(
        initializers, "variance_scaling", lambda shape, *_: np.zeros(shape)
    ):
        return with_output_stride(build(name), stride)


def test_every_backbone_is_listed():
    known = {name for name in backbones.BACKBONES if name != "tiny"}
    assert known == PUBLISHED.keys()
    assert known == imagenet.FILES.keys() | efficientnet_lite.VARIANTS.keys()


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_those_published(name):
    published, channels = PUBLISHED[name]
    backbone = build(name)
    head = channels * 1000 + 1000
    assert backbone.count_params() + head == published
    assert backbone.output.shape == (None, 2, 2, channels)
    assert backbone.cam_layer == backbones.cam_layer(name) == backbone.layers[-1].name
    assert backbone.input.name == "image" and backbone.input.dtype == "float32"


@pytest.mark.parametrize("name", ALL)
def test_the_map_doubles_twice_with_the_same_weights(name):
    """Cole et al. 2022's high-resolution variant: stride 1 in the last stages."""
    coarse, fine = build(name), finer(name, 8)
    assert fine.output.shape[1:3] == (8, 8)  # 2 x 2 at output stride 32
    names = [list(weights.named_variables(model)) for model in (fine, coarse)]
    assert names[0] == names[1] and len(names[0]) + 3 >= len(fine.weights)
    assert [w.shape for w in fine.weights] == [w.shape for w in coarse.weights]
    assert [x.name for x in fine.layers] == [x.name for x in coarse.layers]


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_the_high_resolution_variant_doubles_the_map(name):
    """Stride 16: 4 x 4 cells of 64 px instead of 2 x 2."""
    fine = finer(name, 16)
    layer = backbones.cam_layer(name)
    assert build(name).get_layer(layer).output.shape[1:3] == (2, 2)
    assert fine.get_layer(layer).output.shape[1:3] == (4, 4)


def preprocessed(name, layer):
    """Input of the first convolution for the pixel value (255, 0, 51)."""
    model = build(name)
    tensor = model.get_layer(layer).input
    until = keras.Model(model.input, tensor)
    pixel = np.array([255, 0, 51], "uint8")
    images = np.broadcast_to(pixel, (1, 64, 64, 3))
    return np.asarray(until(images))[0, 32, 32]


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        # Caffe: BGR minus the mean.
        ("resnet50", "conv1_pad", [51 - 103.939, -116.779, 255 - 123.68]),
        ("resnet50_v2", "conv1_pad", [1.0, -1.0, -0.6]),
        ("mobilenet_v3_small", "conv", [1.0, -1.0, -0.6]),
        ("efficientnet_lite0", "stem_conv", [1.0, -127 / 128, -76 / 128]),
        (
            "convnext_tiny",
            "convnext_tiny_stem",
            [0.515 / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225],
        ),
        (
            "efficientnet_v2_b0",
            "stem_conv",
            [0.515 / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225],
        ),
    ],
)
def test_preprocessing_is_inside(name, layer, expected):
    np.testing.assert_allclose(preprocessed(name, layer), expected, rtol=1e-5)


def test_drop_path_reaches_every_kind_of_network():
    rates = {}
    drops = ("efficientnet_v2_b0", "efficientnet_lite0", "convnext_tiny", "resnet50")
    for name in drops:
        model = build(name)
        dropped = [x for x in model.layers if x.name.endswith("_drop")]
        before = [x.rate for x in dropped]
        heads.set_drop_connect(model, 0.1)
        rates[name] = [x.rate for x in dropped]
        np.testing.assert_allclose(rates[name], np.array(before) / 2)
        heads.set_drop_connect(model, 0.4)  # of 0.1: back to 0.2
    assert rates["resnet50"] == []
    # 16 blocks, of which 9 have a shortcut; the rate of block k is 0.2 k/16, halved.
    lite = [0.1 * k / 16 for k in (2, 4, 6, 7, 9, 10, 12, 13, 14)]
    np.testing.assert_allclose(rates["efficientnet_lite0"], lite)
    assert rates["convnext_tiny"][0] == 0
    assert rates["convnext_tiny"][-1] == pytest.approx(0.1)
    assert len(rates["convnext_tiny"]) == 18


def test_momentum_reaches_every_batch_norm():
    model = build("mobilenet_v3_small")
    heads.set_momentum(model, 0.8)
    norms = [
        layer
        for layer in layers.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {layer.momentum for layer in norms} == {0.8} and len(norms) == 34


def test_imagenet_files_are_those_of_keras_applications():
    """File names and checksums must occur in Keras' sources."""
    modules = {
        "efficientnet_b": keras.applications.EfficientNetB0,
        "efficientnet_v2": keras.applications.EfficientNetV2B0,
        "resnet": keras.applications.ResNet50,
        "convnext": keras.applications.ConvNeXtTiny,
        "mobilenet": keras.applications.MobileNetV3Small,
    }
    for name, file in imagenet.FILES.items():
        make = next(f for prefix, f in modules.items() if name.startswith(prefix))
        source = inspect.getsource(inspect.getmodule(make))
        assert f'"{file.checksum}"' in source, name
        base = file.url.rsplit("/", 1)[0]
        assert base in source, name


def test_weights_that_a_backbone_does_not_have():
    model = build("resnet50_v2")
    with pytest.raises(UserError, match="synthetic: they are of efficientnet_b0"):
        backbones.load_backbone_weights(model, "synthetic", "resnet50_v2")
    with pytest.raises(UserError, match="none for backbone 'mine:build'"):
        backbones.load_backbone_weights(model, "imagenet", "mine:build")


def test_transformers_are_told():
    with pytest.raises(
        UserError, match="'vit_b16' is not known.*Transformers are presets"
    ):
        backbones.build_backbone("vit_b16", 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PUBLISHED))
def test_fast_layers_and_the_file_keep_the_outputs(name, tmp_path):
    """Stock layers, fast layers and the saved file give the same logits."""
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), "uint8")
    keras.utils.set_random_seed(0)
    labels = {"family": 3, "species": 5}
    model = heads.build_model(name, 64, labels, output_stride=16)
    rng = np.random.default_rng(1)
    for weight in model.weights:  # statistics and scales that do something
        if weight.path.endswith(("/gamma", "/moving_variance")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    expected = model.predict_on_batch(images)
    xla_layers.accelerate(model, xla_layers.KINDS)
    found = model.predict_on_batch(images)
    files.save_model(tmp_path / "model.keras", model, {})
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for rank, logits in expected.items():
        scale = np.abs(logits).max()
        np.testing.assert_allclose(found[rank], logits, atol=2e-5 * scale)
        np.testing.assert_array_equal(loaded.predict_on_batch(images)[rank], logits)
