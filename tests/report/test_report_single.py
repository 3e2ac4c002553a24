"""The figure for one photo."""

import dataclasses
import io
import re

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report import photo_figure
from hiercam_keras.report.photo_answer import (
    Contrast,
    RankAnswer,
    RowScales,
    disagreement,
)
from hiercam_keras.report.photo_figure import save_single, single_png

IMAGE = np.full((64, 64, 3), 120, np.uint8)
HEAT = np.outer(np.linspace(0, 1, 8), np.linspace(0, 1, 8)).astype(np.float32)
ANSWER = RankAnswer(
    "family",
    "Picidae",
    0.9,
    (("Tytonidae", 0.08), ("Strigidae", 0.02)),
    HEAT,
    step=HEAT,
)


def pixels(*args, **options) -> np.ndarray:
    png = single_png(IMAGE, *args, **options, dpi=50)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def count(image: np.ndarray, color: tuple[int, int, int]) -> int:
    return int(np.sum(np.all(image == color, axis=2)))


def test_a_column_per_rank():
    widths = [pixels([ANSWER] * n).shape[1] for n in (1, 2, 4)]
    # 2.3 inches a column at 50 dots per inch; matplotlib 3.10 rounds by one more pixel.
    np.testing.assert_allclose(np.diff(widths), [115, 230], atol=1)


def test_a_remark_is_written_below():
    plain, longer = pixels([ANSWER] * 2), pixels([ANSWER] * 2, remark="Only owls.")
    assert longer.shape[0] > plain.shape[0] and longer.shape[1] == plain.shape[1]
    added = longer[plain.shape[0] :]
    assert (added < 128).any()


def test_bar_is_as_long_as_the_probability():
    accent = (0x34, 0x57, 0xA6)
    whole = count(pixels([dataclasses.replace(ANSWER, probability=1.0)]), accent)
    half = count(pixels([dataclasses.replace(ANSWER, probability=0.5)]), accent)
    assert whole > 100
    assert half / whole == pytest.approx(0.5, abs=0.05)


def test_known_truth_colors_the_answer():
    right = pixels([dataclasses.replace(ANSWER, true_name="Picidae")])
    wrong = pixels([dataclasses.replace(ANSWER, true_name="Strigidae")])
    green, red = (0x15, 0x80, 0x3D), (0xC2, 0x41, 0x0C)
    assert count(right, green) > 100 and count(right, red) == 0
    assert count(wrong, red) > 100 and count(wrong, green) == 0


def test_a_missing_step_a_degenerate_map_and_a_contrast_are_drawn_apart():
    figures = [
        pixels([ANSWER]),
        pixels([dataclasses.replace(ANSWER, step=None, step_note="only child")]),
        pixels([dataclasses.replace(ANSWER, degenerate=True)]),
        pixels([ANSWER], Contrast("Tytonidae", 0.08, HEAT)),
    ]
    for i, one in enumerate(figures):
        for other in figures[:i]:
            assert np.any(one != other)


def test_a_step_to_another_taxon_than_the_column_s_is_named(monkeypatch):
    """The best species need not be of the best family: the step leads to the former."""
    written = _written(monkeypatch)
    other = dataclasses.replace(ANSWER, step_name="Strigidae", degenerate=True)
    only = dataclasses.replace(
        other, step=None, step_note="only child", parent="Cuculidae"
    )
    single_png(IMAGE, [ANSWER, dataclasses.replace(other, step_name="Picidae"), other])
    said = " ".join(written)
    assert said.count("step: why this family?") == 2
    assert said.count("step: why Strigidae?") == 1
    assert said.count("no place speaks for it") == 2
    assert written.count("›") == 2
    written.clear()
    single_png(IMAGE, [ANSWER, only])
    assert "›" not in written  # as Picidae would hold Picidae
    assert any("Strigidae" in text and "only child" in text for text in written)


def test_ranks_that_disagree_are_said_below_the_figure(monkeypatch):
    written = _written(monkeypatch)
    species = dataclasses.replace(
        ANSWER, rank="species", name="Strix aluco", parent="Strigidae"
    )
    said = disagreement([ANSWER, species])
    assert said.startswith(
        "The ranks disagree: the most probable species, Strix aluco, is not of the "
        f"most probable family, {ANSWER.name}, but of Strigidae. "
    )
    assert disagreement([ANSWER, dataclasses.replace(species, parent="")]) == ""
    open_end = dataclasses.replace(species, parent="Corvidae sp.")
    assert "but of Corvidae sp. Each rank" in disagreement([ANSWER, open_end])
    plain = pixels([ANSWER, ANSWER])
    assert "disagree" not in " ".join(written)
    apart = pixels([ANSWER, species])
    assert said in " ".join(written)
    assert apart.shape[0] > plain.shape[0] and apart.shape[1] == plain.shape[1]


def _written(monkeypatch) -> list[str]:
    """All that is written into figures from now on."""
    texts = []
    write = Axes.text

    def noted(self, x, y, text, **options):
        texts.append(text)
        return write(self, x, y, text, **options)

    monkeypatch.setattr(Axes, "text", noted)
    return texts


def test_file_is_written_whole_whatever_the_names(tmp_path):
    name = "$\\frac{<script>\x1b\n"
    answer = dataclasses.replace(ANSWER, name=name, true_name=name, rank=name)
    path = save_single(tmp_path / "photo.png", IMAGE, [answer], title=name)
    with Image.open(path) as image:
        image.load()
    assert [p.name for p in tmp_path.iterdir()] == ["photo.png"]


def test_the_figure_is_drawn_once_on_one_axes(monkeypatch):
    """Each drawing and each axes is a good part of the start of `cam`."""
    drawn = []
    draw = Figure.draw

    def noted(figure, renderer):
        drawn.append(len(figure.axes))
        return draw(figure, renderer)

    monkeypatch.setattr(Figure, "draw", noted)
    single_png(IMAGE, [ANSWER], dpi=20)
    assert drawn == [1]


def test_no_rank_is_an_error():
    with pytest.raises(UserError, match="at least one rank"):
        single_png(IMAGE, [])


def test_a_row_on_one_scale_has_a_bar(monkeypatch):
    plain = pixels([ANSWER, ANSWER])
    written = _written(monkeypatch)
    scales = RowScales(own=0.7213, steps=None)
    image = pixels([ANSWER, ANSWER], scales=scales)
    # The bar's column: 0.7 inches more than without one, at 50 dots per inch.
    assert image.shape[1] - plain.shape[1] == pytest.approx(35, abs=1)
    assert {"0", "0.72"} <= {*written}
    yellow = np.abs(image[:, -60:].astype(int) - (237, 240, 158)).max(-1) < 25
    top, bottom = np.flatnonzero(yellow.any(1))[[0, -1]]
    # In the upper row, 0.95 to 3 inches from the top, the hottest color at its top.
    assert 0.9 < top / 50 < 1.1 and bottom / 50 < 1.5


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        (RowScales(), "compare places, not amounts"),
        (RowScales(own=1.0), "upper row is on one scale"),
        (RowScales(steps=1.0), "lower row is on one scale.*surer a step, the paler"),
        (RowScales(1.0, 2.0), "the two rows do not compare.*surer a step, the paler"),
    ],
)
def test_the_figure_says_which_colors_compare(scales, words):
    assert re.search(words, scales.note)


def test_remarks_are_written_below_the_maps(monkeypatch):
    written = []
    monkeypatch.setattr(
        photo_figure, "write", lambda figure, left, y, text, *_: written.append(text)
    )
    weak = dataclasses.replace(ANSWER, remark="nearly constant", step_remark="weak")
    single_png(IMAGE, [weak], Contrast("Tyto", 0.1, HEAT, remark="even"))
    assert {"nearly constant", "weak", "even"} <= {*written}
