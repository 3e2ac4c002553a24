"""docs/API.md: its code runs, and it documents all public names."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import hiercam_keras as hc
from hiercam_keras import cam
from hiercam_keras.cam import methods, profiles, targets

PAGE = pathlib.Path(__file__).parent.parent.parent / "docs" / "API.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def text():
    return PAGE.read_text(encoding="utf-8")


def code(text: str) -> str:
    """The Python blocks of the page, with the line numbers preserved."""
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        for number, line in enumerate(block[1].splitlines(), first):
            lines[number] = line
    return "\n".join(lines)


def test_blocks_keep_their_lines():
    page = (
        "a\n```python\nx = 1\n\ny = 2\n```\n```bash\nls\n```\n```python\nz = 3\n```\n"
    )
    assert code(page).split("\n") == [
        *["", "", "x = 1", "", "y = 2"],
        *[""] * 5,
        "z = 3",
        "",
    ]


def test_the_page_begins_with_twelve_lines_and_one_import(text):
    first = BLOCK.search(text)[1].strip().splitlines()
    lines = [line for line in first if line and not line.startswith("#")]
    assert len(lines) <= 12
    assert [line for line in lines if "import" in line] == [
        "import hiercam_keras as hc"
    ]
    for name in ("overlay", "faithfulness", "compare"):
        assert f"hc.{name}(" in text[: BLOCK.search(text).end()]


def test_the_plain_gradcam_has_thirty_lines_and_needs_no_engine(text):
    (block,) = (b[1] for b in BLOCK.finditer(text) if "def plain_gradcam" in b[1])
    plain, engine = block.split("result = hc.Explainer")
    assert "jax.grad(" in plain and "hc." not in plain and "assert_allclose" in engine
    assert len([line for line in plain.splitlines() if line]) <= 30


def test_the_engine_agrees_with_the_plain_gradcam_of_the_page(text):
    """On a network of two convolutions, and for the methods as functions of arrays."""
    import keras

    (block,) = (b[1] for b in BLOCK.finditer(text) if "def plain_gradcam" in b[1])
    names: dict = {}
    exec(block.split("efficientnet =")[0], names)
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            keras.layers.Conv2D(4, 3, strides=2, activation="swish"),
            keras.layers.Conv2D(6, 3, activation="swish", name="last"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(5),
        ]
    )
    images = np.random.default_rng(0).normal(size=(3, 16, 12, 3)).astype("float32")
    labels = np.array([4, 0, 2])
    plain = names["plain_gradcam"](model, "last", images, labels)
    found = hc.Explainer(model)(images, labels).cams[:, 0]
    scale = np.abs(found).max()
    np.testing.assert_allclose(plain / scale, found / scale, atol=1e-5)
    # The layers above are linear: every gradient is a kernel's column over the cells.
    activations = keras.Model(model.inputs[0], model.get_layer("last").output)(images)
    columns = model.layers[-1].kernel.numpy()[:, labels].T / np.prod(found.shape[1:])
    for image, column, expected in zip(activations, columns, found, strict=True):
        grads = np.broadcast_to(column, image.shape)
        alone = hc.methods.gradcam(image, grads)
        np.testing.assert_allclose(alone / scale, expected / scale, atol=1e-5)


def test_the_page_names_the_whole_api(text):
    assert [name for name in hc.__all__ if f"hc.{name}" not in text] == []


@pytest.mark.slow  # two networks of EfficientNetB0's size compile, one is trained
def test_the_code_of_the_page_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = compile(code(text), str(PAGE), "exec")
    names = {"__name__": "api_page"}
    exec(program, names)
    # The script ran to its end and created its files.
    assert names["together"].shape == (4, 1, 7, 7)
    assert names["arrays"]["cam"].shape == (2, 2, 7, 7)
    with Image.open(tmp_path / "overlay.png") as picture:
        assert picture.size == (64, 64)


def test_the_page_names_every_method_profile_and_target(text):
    rows = set(re.findall(r"^\| `([\w+]+)", text, re.MULTILINE))
    assert methods.METHODS.keys() <= rows
    assert profiles.PROFILES.keys() <= rows
    builders = {
        name
        for name, value in vars(targets).items()
        if getattr(value, "__module__", "") == targets.__name__
        and getattr(value, "__annotations__", {}).get("return") == "Target"
    }
    assert {"label", "step", "path", "contrast"} <= builders <= rows


def test_the_page_tells_every_field_and_option(text):
    fields = {field.name for field in dataclasses.fields(cam.Explanation)}
    told = set(re.findall(r"`(\w+)", text))
    assert fields - {"rows", "method", "layer", "space"} <= told
