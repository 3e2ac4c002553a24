"""The sheet of steps: its pictures and columns."""

import dataclasses

import numpy as np
from PIL import Image

from hiercam_keras.report import schema, step_strips


def stepped(make, number, **changes):
    picture = make.picture(number, {})
    heat = picture.views[0].heatmap
    steps = (
        schema.Step("order", "one", 0.9, True, heat),
        schema.Step("family", "two", 0.4, False, heat),
        schema.Step("genus", "three", 1.0, True, None),
    )
    return dataclasses.replace(picture, steps=steps, **changes)


def cells(path, columns, rows):
    """The middle of each picture on the sheet: (rows, columns, 3)."""
    image = np.asarray(Image.open(path).convert("RGB"))
    assert image.shape[1] == 2 * 18 + columns * 168 + (columns - 1) * 12
    left = 18 + 84 + 180 * np.arange(columns)
    top = 58 + 84 + 214 * np.arange(rows)
    return image[np.ix_(top, left)]


def test_one_picture_of_each_taxon_in_order(make):
    pictures = [make.picture(n, {}) for n in range(8)]
    # The families of the birds by turns are Picidae twice, Tytonidae, Strigidae.
    found = step_strips.of_different_taxa(pictures, make.RANKS.index("family"), 5)
    assert [one.example_id[:4] for one in found] == ["0000", "0002", "0003"]
    assert len(step_strips.of_different_taxa(pictures, 0, 5)) == 1
    assert len(step_strips.of_different_taxa(pictures, 4, 2)) == 2


def test_models_and_steps_stand_side_by_side(tmp_path, make):
    shown = [
        stepped(make, 0, image=np.full((32, 32, 3), (10, 200, 10), np.uint8)),
        make.picture(1, {}),  # no steps were made of it
    ]
    path = step_strips.write_strips(tmp_path / "s.png", shown, make.models())
    found = cells(path, columns=6, rows=2)
    assert np.abs(found[0, 0].astype(int) - (10, 200, 10)).max() <= 1
    # The last step is no choice: the picture is gray there.
    red, green, blue = found[0, 5].astype(int)
    assert abs(red - green) < 12 and abs(green - blue) < 12
    assert (found[1, 3:] == 255).all()
    assert (found[1, :3] != 255).any()


def test_a_wrong_step_is_told_in_red(tmp_path, make):
    def reds(right):
        picture = stepped(make, 0)
        steps = tuple(dataclasses.replace(s, correct=right) for s in picture.steps)
        views = tuple(dataclasses.replace(v, correct=right) for v in picture.views)
        one = dataclasses.replace(picture, steps=steps, views=views)
        path = step_strips.write_strips(tmp_path / "s.png", [one], make.models())
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        return (np.abs(pixels - (0xC2, 0x41, 0x0C)).max(-1) < 8).sum()

    assert reds(False) > reds(True) + 200


def test_no_pictures_are_no_sheet(tmp_path, make):
    assert step_strips.write_strips(tmp_path / "s.png", [], make.models()) is None
    assert list(tmp_path.iterdir()) == []


def test_an_only_child_is_neither_right_nor_wrong(tmp_path, make):
    """There is no mark and no probability, whether the taxon is right or not."""

    def sheet(right, probability):
        picture = stepped(make, 0)
        only = schema.Step("genus", "three", probability, right, None)
        one = dataclasses.replace(picture, steps=(*picture.steps[:2], only))
        path = step_strips.write_strips(tmp_path / "s.png", [one], make.models())
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    found = sheet(True, 1.0)
    np.testing.assert_array_equal(found, sheet(False, 0.3))
    caption = found[58 + 168 :, 18 + 5 * 180 :]
    for color in ((0x15, 0x80, 0x3D), (0xC2, 0x41, 0x0C)):
        assert not np.all(caption == color, axis=2).any()
    assert (caption < 128).any()  # its name and a note


def test_long_names_wrap(tmp_path, make):
    """No pixel of a name is lost: the caption of a long one has more lines."""
    short = stepped(make, 0)
    long = dataclasses.replace(short, true_name="Verylonggenus epithetus " * 4)
    heights = []
    for one in (short, long):
        path = step_strips.write_strips(tmp_path / "s.png", [one], make.models())
        with Image.open(path) as image:
            heights.append(image.height)
    assert heights[1] >= heights[0] + 17
