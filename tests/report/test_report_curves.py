"""Learning curves: which column goes where, and what is drawn."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report.curves import (
    _lines,
    learning_curves_png,
    save_learning_curves,
    series_of,
)

LOG = {
    "epoch": [0, 1],
    "loss": [2.0, 1.0],
    "val_loss": [2.5, 1.5],
    "accuracy": [0.2, 0.5],
    "val_accuracy": [0.1, 0.4],
    "learning_rate": [1e-3, 1e-3],
}


def test_columns_are_sorted_by_head_quantity_and_split():
    names = ["val_loss", "family_accuracy", "val_sub_family_loss", "epoch", "loss",
             "val_species_sparse_categorical_accuracy", "acc", "glossy"]  # fmt: skip
    assert set(series_of({name: [1.0] for name in names})) == {
        ("", "loss", True),
        ("family", "accuracy", False),
        ("sub_family", "loss", True),
        ("", "loss", False),
        ("species", "accuracy", True),
        ("", "accuracy", False),
    }


def test_one_head_gives_one_curve_and_epochs_count_from_one():
    lines = _lines({"family": LOG})
    assert list(lines) == ["family"]
    assert lines["family"]["loss", True] == ([1, 2], [2.5, 1.5])


def test_heads_of_one_run_are_told_apart_and_their_total_is_left_out():
    log = {"epoch": [1], "loss": [3.0], "family_loss": [1.0], "species_loss": [2.0]}
    lines = _lines({"both": log})
    assert sorted(lines) == ["both family", "both species"]


def test_a_head_named_like_its_run_is_named_once():
    assert list(_lines({"family": {"family_loss": [1.0], "loss": [1.0]}})) == ["family"]


def test_figure_is_written_whole(tmp_path):
    path = save_learning_curves(
        tmp_path / "curves.png", {"$\\frac": LOG, "family": LOG}, {"family": 0.125}
    )
    with Image.open(path) as image:
        assert image.format == "PNG" and image.width > 1000
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_figure_depends_on_the_numbers_and_is_reproducible():
    one = learning_curves_png({"a": LOG})
    assert one == learning_curves_png({"a": LOG})
    other = learning_curves_png({"a": LOG | {"val_accuracy": [0.9, 0.95]}})
    pixels = [
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in (one, other)
    ]
    half = pixels[0].shape[1] // 2
    np.testing.assert_array_equal(pixels[0][:400, :half], pixels[1][:400, :half])
    assert np.any(pixels[0][:400, half:] != pixels[1][:400, half:])


def test_an_epoch_without_numbers_leaves_a_gap_and_no_error():
    whole = learning_curves_png({"a": LOG})
    gap = learning_curves_png({"a": LOG | {"val_loss": [math.nan, 1.0]}})
    assert gap[:8] == whole[:8] and gap != whole  # a PNG too, and another one


def test_a_log_without_curves_is_named():
    with pytest.raises(UserError, match=r"\['epoch', 'seconds'\]"):
        learning_curves_png({"a": {"epoch": [0], "seconds": [1.0]}})
