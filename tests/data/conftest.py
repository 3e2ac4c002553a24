"""Small image folders in iNat naming, made on the spot."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

CLASSES = (
    "00001_Animalia_Chordata_Aves_Anseriformes_Anatidae_Cygnus_olor",
    "00007_Animalia_Chordata_Aves_Anseriformes_Anatidae_Anas_crecca",
    "00042_Animalia_Chordata_Aves_Piciformes_Picidae_Picus_viridis",
)


@pytest.fixture
def class_names():
    """Three class folders' names; ids are not contiguous."""
    return CLASSES


@pytest.fixture
def pattern():
    """Makes an RGB image (height, width, 3) with four colored quarters and a ramp."""

    def make(width=60, height=40, seed=0):
        rng = np.random.default_rng(seed)
        ramp = np.add.outer(np.arange(height), np.arange(width)) / (height + width)
        image = np.empty((height, width, 3), np.float64)
        image[:] = rng.integers(0, 128, 3)
        image[: height // 2, : width // 2, 0] = 200
        image[: height // 2, width // 2 :, 1] = 200
        image[height // 2 :, : width // 2, 2] = 200
        return (image + 50 * ramp[..., None]).astype(np.uint8)

    return make


@pytest.fixture
def bird_folder(tmp_path, pattern):
    """A data_dir of three species with four JPEG files each, of different sizes."""
    root = tmp_path / "birds"
    for k, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(4):
            image = pattern(50 + 7 * i + 10 * k, 40 + 5 * k, seed=10 * k + i)
            Image.fromarray(image).save(root / name / f"{i}.jpg", quality=92)
    return root


@pytest.fixture
def data_config(tmp_path):
    """The data part of a config for small images."""
    return ConfigDict(
        {
            "source": "image_folder",
            "root": "",
            "image_size": 32,
            "batch_size": 5,
            "pipeline": "arrays",
            "workers": 2,
            "cache_dir": str(tmp_path / "cache"),
            "cache_mb": 16,
            "max_bad_share": 0.3,
        }
    )


@pytest.fixture
def config(tmp_path):
    """The data part of a config: records of field work, pictures in a folder."""
    return ConfigDict(
        {
            "source": "auto",
            "root": "",
            "workers": 1,
            "cache_dir": str(tmp_path / "cache"),
            "lineages": "",
            "ranks": (),
            "groups": "",
            "table": "",
        }
    )
