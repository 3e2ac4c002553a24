"""docs/METRICS.md: its code runs, and its names are those of the tables."""

import pathlib
import re

import keras
import numpy as np
import pytest

from configs import default
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.faithfulness.measure import NAMES

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "METRICS.md").read_text("utf-8")


def test_the_code_of_the_page_runs():
    keras.utils.set_random_seed(3)
    image = keras.Input((12, 10, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3, name="logits")(x))
    rng = np.random.default_rng(0)
    names = {
        "model": model,
        "images": rng.integers(0, 256, (4, 12, 10, 3), dtype=np.uint8),
        "labels": [0, 1, 2, 0],
        "masks": rng.random((4, 12, 10)) > 0.5,
    }
    (block,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
    exec(compile(block, "METRICS.md", "exec"), names)
    asked = tuple(name for name in NAMES if not name.startswith("aopc"))
    assert tuple(names["faithfulness"]) == asked
    assert names["faithfulness"]["drop"].shape == (4, 1)
    assert names["hits"].shape == (4,) and 0 <= names["at_half"] <= 1
    assert 0 <= names["recall"] <= 1
    rows = [row for row in names["table"] if row["measure"] == "spearman_signed"]
    assert [row["layer"] for row in rows] == ["", "logits", "conv"]
    assert rows[0]["mean"] == pytest.approx(1) and rows[2]["mean"] < 0.999


def test_every_field_that_is_named_is_in_the_config():
    config = default.get_config()
    sections = "faithfulness|coherence|localize|sanity"
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", TEXT))
    assert len(named) >= 14
    for name in named:
        section, field = name.split(".")
        assert field in config[section], name


def test_one_number_of_draws_everywhere():
    assert default.get_config().localize.resamples == resampling.DRAWS
