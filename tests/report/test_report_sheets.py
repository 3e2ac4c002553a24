"""The compare sheet: a row per picture, a column per model, pages that go on."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report import canvas, schema
from hiercam_keras.report.overlay import overlay
from hiercam_keras.report.sheets import shared_depth, write_sheets


@pytest.fixture
def models():
    return [schema.Model(name, name, 3, 0.9) for name in ("family", "species")]


def read(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def find(sheet: np.ndarray, patch: np.ndarray) -> bool:
    """Whether the center of a picture occurs in the sheet, pixel by pixel."""
    height, width = patch.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (1, width, 3))
    middle = patch[height // 2][None]
    return bool(np.any(np.all(windows[:, :, 0, 0] == middle, axis=(-1, -2))))


def test_pages_go_on(tmp_path, pictures, models):
    paths = write_sheets(tmp_path, pictures, models, "Title", "chosen", rows=3, cell=64)
    assert [p.name for p in paths] == [f"chosen_0{i}.png" for i in (1, 2, 3)]
    heights = [read(p).shape[0] for p in paths]
    assert min(heights[:2]) > heights[2] + 64  # 3 + 3 + 2 rows
    assert write_sheets(tmp_path, [], models, "Title") == []


def test_every_overlay_of_a_row_stands_in_the_sheet(tmp_path, pictures, models):
    one = pictures[5]
    (path,) = write_sheets(tmp_path, [one], models, "T", cell=64)
    sheet = read(path)
    image = canvas.fit(one.image, 64)
    inner = slice(10, -10)  # the corners are rounded
    for view in one.views:
        assert find(sheet, overlay(image, view.heatmap)[inner, inner])
    assert not find(sheet, overlay(image, one.views[0].heatmap.T)[inner, inner])


def test_right_is_green_and_wrong_is_red(tmp_path, pictures, models):
    def share(picture, color):
        (path,) = write_sheets(tmp_path, [picture], models, "T", cell=64)
        return np.sum(np.all(read(path) == color, axis=2))

    green, red = (0x15, 0x80, 0x3D), (0xC2, 0x41, 0x0C)
    assert share(pictures[0], green) > 200 and share(pictures[0], red) == 0
    assert share(pictures[1], green) == 0 and share(pictures[1], red) > 200
    assert share(pictures[2], green) > 100 and share(pictures[2], red) > 100


def test_shared_taxa_are_left_out_but_never_the_finest(pictures):
    assert shared_depth(pictures) == 1  # all are Aves
    # One woodpecker, both predictions right: Aves and Piciformes are common to all.
    assert shared_depth([pictures[4]]) == 2  # the family that a model names stays
    assert shared_depth([]) == 0


def test_hostile_names_are_text(tmp_path, pictures, models):
    name = "<script>$\\frac{\x1b[2J\n=1" + "long " * 50
    view = dataclasses.replace(
        pictures[0].views[0], predicted_name=name, predicted=(name, name, name)
    )
    picture = dataclasses.replace(
        pictures[0],
        true_name=name,
        true=(name,) * 5,
        views=(view, pictures[0].views[1]),
    )
    (path,) = write_sheets(tmp_path, [picture], models, name, cell=64)
    plain = write_sheets(tmp_path, [pictures[0]], models, "T", "plain", cell=64)[0]
    # They wrap, however long: the sheet grows in height alone.
    assert read(path).shape[1:] == read(plain).shape[1:]
    assert read(path).shape[0] > 2 * read(plain).shape[0]


def test_captions_wrap_and_the_next_row_is_below_them(tmp_path, pictures, models):
    """The height of a row is that of its longest text, and nothing is cut."""
    face = canvas.font(14, bold=True)
    name = "Verylonggenus whoseepithetisevenlongerthanthat"
    lines = canvas.wrapped(name, face, 190)
    assert len(lines) == 3 and "".join(lines) == name.replace(" ", "")
    assert all(face.getlength(line) <= 190 for line in lines)
    longer = dataclasses.replace(pictures[0], true_name=name * 6)
    short, tall = (
        read(write_sheets(tmp_path, [one, pictures[1]], models, "T", cell=64)[0])
        for one in (pictures[0], longer)
    )
    grown = len(tall) - len(short)
    assert grown > 100
    # The second row is the same picture in both, as much lower as the first grew.
    np.testing.assert_array_equal(tall[-100:], short[-100:])


def test_views_of_other_models_are_refused(tmp_path, pictures, models):
    with pytest.raises(UserError, match=r"\['family', 'species'\], expected"):
        write_sheets(tmp_path, pictures, models[::-1], "T")
    assert list(tmp_path.iterdir()) == []
