"""Dot plots and matrices: what is drawn is what was given."""

import io

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.report import dots, matrix, style


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has_color(png: bytes, color: str) -> int:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels(png).astype(int) - wanted).max(-1) < 8).sum())


def test_every_series_has_its_color_and_a_missing_point_is_not_drawn():
    rows = ["a", "$x$ <b>", "c"]
    series = {
        "one": [(0.5, 0.4, 0.6), None, (0.1, float("nan"), float("nan"))],
        "two": [None, (0.7, 0.6, 0.8), (float("nan"), 0.0, 0.0)],
    }
    both = dots.dots_png(rows, series, "share", reference=0.5, marks=[0.1, None, 0.3])
    one = dots.dots_png(rows, {"one": series["one"], "two": [None] * 3}, "share")
    assert has_color(both, style.CYCLE[1]) > has_color(one, style.CYCLE[1]) > 0
    with pytest.raises(ValueError, match="'one' has 3 points, expected 2"):
        dots.dots_png(rows[:2], {"one": series["one"]}, "share")


def test_a_longer_interval_is_a_longer_line():
    short, long = (
        has_color(
            dots.dots_png(["a", "b"], {"s": [(5, *ends), (5, 0, 10)]}, "x"),
            style.CYCLE[0],
        )
        for ends in ((4.9, 5.1), (0, 10))
    )
    assert long > short + 300


def test_rows_that_do_not_compare_are_pale():
    series = {"one": [(0.5, 0.4, 0.6), (0.7, 0.6, 0.8)]}
    plain = dots.dots_png(["a", "b"], series, "share")
    pale = dots.dots_png(["a", "b"], series, "share", pale=[1])
    assert 0 < has_color(pale, style.CYCLE[0]) < 0.7 * has_color(plain, style.CYCLE[0])
    assert has_color(pale, style.PALE) > has_color(plain, style.PALE) + 50


def test_a_matrix_tells_its_intervals():
    panel = [[1.0, 1.1], [0.9, 1.0]]
    ends = np.stack([np.array(panel) - 0.1, np.array(panel) + 0.1], axis=-1)
    ends[1, 1] = float("nan")
    args = (["r", "s"], ["c", "d"])
    plain = matrix.matrix_png({"one": panel}, *args)
    with_ends = matrix.matrix_png({"one": panel}, *args, intervals={"one": ends})
    assert pixels(with_ends).shape[0] > pixels(plain).shape[0]
    ends[0, 0] = float("nan")
    fewer = matrix.matrix_png({"one": panel}, *args, intervals={"one": ends})
    assert has_color(with_ends, style.INK) > has_color(fewer, style.INK) + 20


def test_a_matrix_shows_its_panels_and_frames():
    panel = [[1.0, 2.0], [0.5, float("nan")]]
    args = (["r", "s"], ["c", "d"])
    plain = matrix.matrix_png({"first": panel, "second": panel}, *args)
    framed = matrix.matrix_png({"first": panel, "second": panel}, *args, [(1, 0)])
    assert has_color(framed, style.INK) > has_color(plain, style.INK) + 200
    wide, one = pixels(plain), pixels(matrix.matrix_png({"first": panel}, *args))
    assert wide.shape[1] > 1.4 * one.shape[1]
    with pytest.raises(ValueError, match=r"'bad' has shape \(1, 2\)"):
        matrix.matrix_png({"bad": [[1, 2]]}, *args)
