"""Dots on whiskers: what is drawn, and what is left out."""

import io

import numpy as np
from PIL import Image

from hiercam_keras.report import intervals, style


def pixels(png, color):
    """How many pixels of the drawing have a color."""
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(image - wanted).max(-1) < 6).sum())


def test_marked_values_have_the_other_color():
    rows = {"a": (1.2, 1.0, 1.4), "b": (0.9, 0.8, 1.1)}
    plain = intervals.intervals_png({"wing": rows}, "times chance", 1.0)
    marked = intervals.intervals_png(
        {"wing": rows}, "times chance", 1.0, {"wing": ("a",)}
    )
    assert pixels(plain, style.CYCLE[1]) == 0 < pixels(plain, style.CYCLE[0])
    assert pixels(marked, style.CYCLE[1]) > 0
    assert pixels(marked, style.CYCLE[0]) < pixels(plain, style.CYCLE[0])


def test_what_is_not_known_is_not_drawn():
    nan = float("nan")
    known = intervals.intervals_png({"p": {"$a$": (1.0, 0.5, 1.5)}}, "x")
    point = intervals.intervals_png({"p": {"$a$": (1.0, nan, nan)}}, "x")
    none = intervals.intervals_png({"p": {"$a$": (nan, nan, nan)}}, "x")
    counts = [pixels(png, style.CYCLE[0]) for png in (known, point, none)]
    assert counts[0] > counts[1] > counts[2] == 0


def test_a_row_that_a_panel_lacks_stays_empty():
    png = intervals.intervals_png(
        {"p": {"a": (0.2, 0.1, 0.3)}, "q": {"b": (0.4, 0.3, 0.5)}},
        "accuracy",
        {"a": 0.05},
        percent=True,
    )
    image = Image.open(io.BytesIO(png))
    assert image.width > image.height
