"""Confusions: the right entries, in the right order, at every size."""

import io

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report.confusion import (
    confusion_png,
    save_confusion,
    shorten,
    top_confusions,
)

MATRIX = np.array([[5, 2, 0], [0, 3, 4], [2, 0, 0]])


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_top_confusions_leave_the_diagonal_and_zeros_out():
    assert top_confusions(MATRIX) == [(1, 2, 4), (0, 1, 2), (2, 0, 2)]
    assert top_confusions(MATRIX, top=1) == [(1, 2, 4)]
    assert MATRIX[0, 0] == 5  # the counts themselves are left alone


def test_right_answers_are_blue_and_mistakes_orange():
    right = pixels(confusion_png(np.diag([3, 3, 3]), ["a", "b", "c"]))
    wrong = pixels(confusion_png(np.diag([3, 3], k=1), ["a", "b", "c"]))

    def count(image, high, low):  # in the matrix, left of the bar
        image = image[:, : image.shape[1] * 6 // 10]
        return np.sum(image[..., high] > image[..., low] + 60)

    assert count(right, 2, 0) > 1000 and count(right, 0, 2) < 100
    assert count(wrong, 0, 2) > 1000 and count(wrong, 2, 0) < 100


def test_many_taxa_become_a_list_and_hostile_names_are_text(tmp_path):
    names = ["$\\frac{", "<script>", *(f"Taxon {i}" for i in range(68))]
    matrix = np.eye(70, dtype=int) * 3
    matrix[0, 1] = 2
    groups = ["a", "a", *["b"] * 68]
    path = save_confusion(tmp_path / "c.png", matrix, names, groups)
    with Image.open(path) as image:
        assert image.height < 500  # one confusion, one bar
    assert confusion_png(matrix, names, groups) != confusion_png(
        matrix.T, names, groups
    )


def test_no_confusion_at_all_is_said():
    assert pixels(confusion_png(np.eye(70, dtype=int), ["x"] * 70)).min() < 255


def test_taxon_without_pictures_is_drawn_empty():
    empty = confusion_png(np.zeros((2, 2), int), ["a", "b"], ["x", "y"])
    full = confusion_png(np.eye(2, dtype=int), ["a", "b"], ["x", "y"])
    assert pixels(empty).shape == pixels(full).shape
    assert pixels(empty).mean() > pixels(full).mean()  # no cell is inked


@pytest.mark.parametrize(
    ("names", "groups"), [(["a", "b"], None), (["a", "b", "c"], ["x"])]
)
def test_sizes_that_do_not_fit_are_named(names, groups):
    with pytest.raises(UserError, match=r"shape \(3, 3\) with"):
        confusion_png(MATRIX, names, groups)


def test_shorten_keeps_the_length():
    assert shorten("abcdef", 4) == "abc…" and shorten("abcd", 4) == "abcd"
