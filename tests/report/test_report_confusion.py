"""Confusions: the right entries, in the right order, at every size."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report.confusion import (
    _matrix_figure,
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


def axes_of(matrix, groups, title="t"):
    names = [f"taxon {i}" for i in range(len(matrix))]
    columns = np.flatnonzero(matrix.any(0) | matrix.any(1))
    return _matrix_figure(matrix, names, groups, title, columns).axes[0]


def test_only_taxa_with_pictures_or_answers_are_drawn():
    """Of six taxa 1 and 4 have pictures, and 2 was predicted for one of them."""
    matrix = np.zeros((6, 6), int)
    matrix[1, 1], matrix[1, 2], matrix[4, 1] = 3, 1, 2
    axes = axes_of(matrix, [""] * 6)
    shown = [[one.get_text() for one in ticks] for ticks in
             (axes.get_yticklabels(), axes.get_xticklabels())]  # fmt: skip
    assert shown == [["taxon 1", "taxon 4"], ["taxon 1", "taxon 2", "taxon 4"]]
    title = axes.get_title()
    assert title == "t\n2 of 6 taxa have pictures, 1 more predicted"
    cells = axes.images[0].get_array()
    assert cells.shape[:2] == (2, 3)
    np.testing.assert_allclose(cells[1, 2], to_rgba("#e5e7eb"))  # never recognized
    np.testing.assert_allclose(cells[1, 1], 1)  # white: taxon 4 was never called 2
    assert cells[0, 0, 2] > cells[0, 0, 0] and cells[0, 1, 0] > cells[0, 1, 2]
    assert axes_of(np.eye(3, dtype=int), [""] * 3).get_title() == "t"


def test_many_taxa_of_which_few_have_pictures_are_a_matrix():
    matrix = np.zeros((80, 80), int)
    matrix[70, 71] = 1
    with Image.open(io.BytesIO(confusion_png(matrix, ["x"] * 80))) as image:
        assert image.height > 500  # the list would have one bar
    none = confusion_png(np.zeros((3, 3), int), ["a", "b", "c"], ["x", "y", "z"])
    assert pixels(none).min() < 255  # which says that there are no pictures


@pytest.mark.parametrize(
    ("groups", "lines", "texts"),
    [
        ("abcdef", 0, []),
        ("aaaaaa", 0, []),
        ("aabcde", 1, ["a"]),
        ("abbcde", 2, ["b"]),
        ("aaabbb", 1, ["a", "b"]),
    ],
)
def test_lines_are_around_groups_of_several_taxa(groups, lines, texts):
    axes = axes_of(np.ones((6, 6), int), list(groups))
    assert len(axes.lines) == 2 * lines  # across and down
    assert [t.get_text() for t in axes.texts if t.get_text() != "1"] == texts


@pytest.mark.parametrize(
    ("names", "groups"), [(["a", "b"], None), (["a", "b", "c"], ["x"])]
)
def test_sizes_that_do_not_fit_are_named(names, groups):
    with pytest.raises(UserError, match=r"shape \(3, 3\) with"):
        confusion_png(MATRIX, names, groups)


def test_shorten_keeps_the_length():
    assert shorten("abcdef", 4) == "abc…" and shorten("abcd", 4) == "abcd"
