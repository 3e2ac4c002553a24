"""The figure for one photo.

On the left is the photo with its prediction; on the right one column per rank, coarse
to fine: the map of the most probable taxon of the rank (marginal), the map of the
choice within its parent (step), and the probabilities of the most probable taxa.

The steps follow the path to the prediction at the finest rank. The most probable taxa
of coarser ranks can be off this path: the most probable species may belong to another
family than the most probable family. The figure then names the step's taxon.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from hiercam_keras.errors import UserError
from hiercam_keras.report import style
from hiercam_keras.report.inches import (
    fitted,
    paper,
    picture,
    rounded,
    show,
    write,
    write_lines,
)
from hiercam_keras.report.overlay import color_bar, overlay
from hiercam_keras.report.photo_answer import (
    Believed,
    Contrast,
    RankAnswer,
    RowScales,
    disagreement,
)
from hiercam_keras.report.whole import Picture, draw, padded

# Inches.
_MARGIN = 0.4
_PHOTO = 4.5
_CELL = 2.05
_COLUMN = 2.3
_HEIGHT = 7.3
_ROW_TOPS = (0.95, 3.4)  # of the two rows of maps, from the top
_BARS_TOP = 5.78
_MAX_BARS = 3
_BAR = 0.4  # a bar with its text
_BELOW = 1.15  # side of a map below the photo
_SCALE = 0.75  # the color bar of a row, with its numbers
_SAID = ((10, 2), (8, 3))  # of the sentences below: font size, most lines
_NO_HEATMAP = "no place speaks for it"


def single_png(
    image: np.ndarray,
    ranks: Sequence[RankAnswer],
    contrast: Contrast | None = None,
    title: str = "",
    alpha: float = 0.6,
    dpi: int = 144,
    scales: RowScales | None = None,
    whole: Picture | None = None,
    believed: Believed | None = None,
    remark: str = "",
) -> bytes:
    """Draws the figure for one photo.

    Args:
      image: uint8 (H, W, 3), the model's input picture (square).
      ranks: coarse to fine, at least one; ranks with a single taxon are best omitted.
      contrast: the runner-up and its map, or None.
      title: small text at the top left (such as the file's name).
      alpha: strength of the overlays.
      dpi: pixels per inch; the figure is 7.3 inches high or more.
      scales: of the two rows; None where each map has its own.
      whole: the whole photo where the image is a part of it: shown in its place, with
        the finest rank's map in that part.
      believed: how far down the answer is believed, in place of `contrast`.
      remark: a sentence below the figure, such as on taxa that were left out.

    Returns:
      PNG bytes; about 2:1 with four ranks, and higher by its remark and by a sentence
      if the ranks disagree.

    Raises:
      UserError: there is no rank, or an image or map has another shape or dtype.
    """
    if not ranks:
        raise UserError("a figure of one photo needs at least one rank")
    scales = scales or RowScales()
    tops = (scales.own, scales.steps)
    bars = _SCALE if tops != (None, None) else 0.05
    width = 2 * _MARGIN + _PHOTO + 0.35 + len(ranks) * _COLUMN + bars
    with style.drawing():
        said = " ".join(filter(None, (remark, disagreement(ranks))))
        size, lines = fitted(said, width - 2 * _MARGIN, _SAID, "normal")
        line = 1.2 * size / 72
        below = 0.25 + line * len(lines) if said else 0.0
        figure = style.new_figure(width, _HEIGHT + below, layout=None)
        axes = paper(figure)
        _draw_photo(axes, image, ranks, title, alpha, whole)
        if believed is None:
            _draw_answer(axes, image, ranks[-1], contrast, alpha)
        else:
            _draw_believed(axes, image, believed, alpha)
        for column, answer in enumerate(ranks):
            left = _MARGIN + _PHOTO + 0.55 + column * _COLUMN
            if column and answer.nested:
                write(axes, left - 0.21, 0.75, "›", 13, style.MUTED)
            _draw_rank(axes, image, answer, left, alpha)
        left = _MARGIN + _PHOTO + 0.55 + len(ranks) * _COLUMN
        for row_top, top in zip(_ROW_TOPS, tops, strict=True):
            if top is not None:
                _draw_scale(axes, left - 0.1, row_top, top, alpha)
        room = left - (_COLUMN - _CELL) - _MARGIN - _PHOTO - 0.55
        write_lines(axes, _MARGIN + _PHOTO + 0.55, _HEIGHT - 0.09, scales.note,
                     room, ((7.5, 1), (6.5, 1), (5, 2)), style.MUTED)  # fmt: skip
        for place, text in enumerate(lines if said else ()):
            write(axes, _MARGIN, _HEIGHT + 0.22 + line * place, text, size)
        return style.to_png(figure, dpi, photographs=True)


def save_single(
    path: str | os.PathLike,
    image: np.ndarray,
    ranks: Sequence[RankAnswer],
    contrast: Contrast | None = None,
    title: str = "",
    alpha: float = 0.6,
    scales: RowScales | None = None,
    whole: Picture | None = None,
    believed: Believed | None = None,
    remark: str = "",
) -> Path:
    """Writes `single_png` to a file, atomically."""
    png = single_png(
        image,
        ranks,
        contrast,
        title,
        alpha,
        scales=scales,
        whole=whole,
        believed=believed,
        remark=remark,
    )
    return style.save_png(path, png)


def _draw_photo(
    axes: Axes,
    image: np.ndarray,
    ranks: Sequence[RankAnswer],
    title: str,
    alpha: float,
    whole: Picture | None,
) -> None:
    top = _ROW_TOPS[0]
    if whole is None:
        show(axes, image, _MARGIN, top, _PHOTO)
    else:
        finest = ranks[-1]
        drawn = draw(whole, finest.heatmap, finest.degenerate, alpha)
        show(axes, padded(drawn), _MARGIN, top, _PHOTO)
    write_lines(axes, _MARGIN, 0.75, title, _PHOTO, ((9, 1), (7, 2)), style.MUTED)


def _draw_answer(
    axes: Axes,
    image: np.ndarray,
    best: RankAnswer,
    contrast: Contrast | None,
    alpha: float,
) -> None:
    """Draws the answer at the finest rank below the photo."""
    y = _ROW_TOPS[0] + _PHOTO + 0.36
    width = _PHOTO if contrast is None else _PHOTO - _BELOW - 0.1
    known = best.true_name is not None
    right = known and best.true_name == best.name
    note = f"{style.percent(best.probability)} sure"
    if known:
        true = best.titled(best.true_name)
        note += ", and right" if right else f", but it is {true}"
    second = _second(best, contrast)
    text = ""
    if second:
        text = f"second: {best.titled(second[0])}, {style.percent(second[1])}"
    color = style.INK if not known else style.RIGHT if right else style.WRONG
    common = best.common(best.name)
    _write_answer(axes, best.name, common, note, text, width, color)
    if contrast is not None:
        heat = overlay(image, contrast.heatmap, alpha, degenerate=contrast.degenerate)
        left = _MARGIN + _PHOTO - _BELOW
        show(axes, heat, left, y - 0.2, _BELOW)
        below = y + _BELOW
        write(axes, left, below - 0.08, "first against second", 7.5, style.MUTED)
        _write_remark(axes, left, below + 0.03, contrast.remark, _BELOW)


def _draw_believed(
    axes: Axes, image: np.ndarray, believed: Believed, alpha: float
) -> None:
    """Draws the believed answer below the photo, and what speaks for its children."""
    y = _ROW_TOPS[0] + _PHOTO + 0.36
    gap = 0.1
    width = _PHOTO - len(believed.children) * (_BELOW + gap)
    color = style.INK
    if believed.right is not None:
        color = style.RIGHT if believed.right else style.WRONG
    texts = (believed.name, believed.common, believed.note, believed.question)
    _write_answer(axes, *texts, width, color)
    for place, child in enumerate(believed.children):
        left = _MARGIN + width + gap + place * (_BELOW + gap)
        heat = overlay(image, child.heatmap, alpha, degenerate=child.degenerate)
        show(axes, heat, left, y - 0.2, _BELOW)
        text = f"for {child.name}, {style.percent(child.probability)}"
        _write_remark(axes, left, y + _BELOW - 0.08, text, _BELOW)


def _write_answer(
    axes: Axes,
    name: str,
    common: str,
    note: str,
    below: str,
    width: float,
    color: str,
) -> None:
    """Writes the names of an answer, a note in color, and a muted line."""
    y = _ROW_TOPS[0] + _PHOTO + 0.36
    sizes = ((17, 1), (14, 1), (11, 2), (8, 3))
    write_lines(axes, _MARGIN, y, name, width, sizes, weight="bold")
    sizes = ((11, 1), (9, 1), (7, 2))
    if common:
        y += 0.25
        small = ((11, 1), (9, 1), (7, 1), (5.5, 2))
        write_lines(axes, _MARGIN, y, common, width, small)
    write_lines(axes, _MARGIN, y + 0.31, note, width, sizes, color)
    if below:
        write_lines(axes, _MARGIN, y + 0.62, below, width, sizes, style.MUTED)


def _second(best: RankAnswer, contrast: Contrast | None) -> tuple[str, float] | None:
    if contrast is not None:
        return contrast.name, contrast.probability
    return best.others[0] if best.others else None


def _draw_rank(
    axes: Axes,
    image: np.ndarray,
    answer: RankAnswer,
    left: float,
    alpha: float,
) -> None:
    write(axes, left, 0.44, answer.rank, 9, style.MUTED)
    common = answer.common(answer.name)
    if common:
        sizes = ((12, 1), (10, 1), (8, 1), (6, 2))
        write_lines(axes, left, 0.66, answer.name, _CELL, sizes, weight="bold")
        sizes = ((8, 1), (7, 1), (5.5, 2), (4, 3))
        write_lines(axes, left, 0.85, common, _CELL, sizes)
    else:
        sizes = ((12, 1), (10, 1), (8, 2), (6, 3))
        write_lines(axes, left, 0.75, answer.name, _CELL, sizes, weight="bold")
    heat = overlay(image, answer.heatmap, alpha, degenerate=answer.degenerate)
    show(axes, heat, left, _ROW_TOPS[0], _CELL)
    below = _ROW_TOPS[0] + _CELL
    if answer.degenerate:
        write(axes, left, below + 0.13, _NO_HEATMAP, 8, style.MUTED)
    else:
        _write_remark(axes, left, below + 0.12, answer.remark, _CELL)
    step_top = _ROW_TOPS[1]
    caption = _step_caption(answer)
    if answer.step is not None:
        degenerate = answer.step_degenerate
        step = overlay(image, answer.step, alpha, degenerate=degenerate)
        show(axes, step, left, step_top, _CELL)
        sizes = ((8, 1), (7, 1), (5.5, 1))
        write_lines(axes, left, step_top - 0.1, caption, _CELL, sizes, style.MUTED)
        _write_remark(axes, left, step_top + _CELL + 0.12, answer.step_remark, _CELL)
    else:
        _empty(axes, left, step_top, caption)
    _draw_bars(axes, answer, left)


def _write_remark(
    axes: Axes, left: float, top: float, remark: str, width: float
) -> None:
    """Writes a remark below a map, from `top` on downward."""
    if remark:
        size, lines = fitted(remark, width, ((6.5, 1), (6, 1), (5.5, 2)), "normal")
        for k, line in enumerate(lines):
            write(axes, left, top + k * 1.15 * size / 72, line, size, style.MUTED)


def _draw_scale(
    axes: Axes, left: float, top: float, value: float, alpha: float
) -> None:
    """The color bar of a row of maps, from 0 to `value`."""
    bar = color_bar(128, 4, alpha)
    picture(axes, bar, left, top, 0.11, _CELL, interpolation="auto")
    for at, text in ((top + 0.1, f"{value:.2g}"), (top + _CELL, "0")):
        write(axes, left + 0.17, at, text, 7.5, style.MUTED)


def _step_caption(answer: RankAnswer) -> str:
    other = answer.step_name if answer.step_name != answer.name else ""
    if answer.step is None:
        note = answer.step_note or "no step"
        return f"{other}: {note}" if other else note
    if answer.step_degenerate:
        return f"step to {other or answer.name}: {_NO_HEATMAP}"
    return f"step: why {other or f'this {answer.rank}'}?"


def _draw_bars(axes: Axes, answer: RankAnswer, left: float) -> None:
    """Draws the predicted taxon and the next ones, each name above its bar."""
    entries = [(answer.name, answer.probability), *answer.others][:_MAX_BARS]
    for row, (name, probability) in enumerate(entries):
        top = _BARS_TOP + row * _BAR
        share = float(np.clip(probability, 0.0, 1.0))
        color = style.ACCENT if row == 0 else "#a8b3c7"
        if answer.true_name is not None and row == 0:
            color = style.RIGHT if name == answer.true_name else style.WRONG
        for length, fill in ((1.0, style.FAINT), (share, color)):
            spot = (left, top + 0.62 * _BAR)
            axes.add_patch(
                Rectangle(spot, length * _CELL, 0.2 * _BAR, color=fill, lw=0)
            )
        weight = "bold" if row == 0 else "normal"
        common = answer.common(name)
        if common:
            sizes = ((7.5, 1), (6.5, 1), (5, 2))
            _write_bar(axes, left, top + 0.18 * _BAR, name, sizes, 0.78, weight)
            sizes = ((6, 1), (5, 1), (4, 2))
            _write_bar(
                axes, left, top + 0.46 * _BAR, common, sizes, 0.72, color=style.MUTED
            )
        else:
            sizes = ((8.5, 1), (7, 1), (5.5, 2))
            _write_bar(axes, left, top + 0.36 * _BAR, name, sizes, 0.78, weight)
        axes.text(left + _CELL, top + 0.36 * _BAR, style.percent(probability),
                  fontsize=8.5, ha="right", va="center", color=style.MUTED)  # fmt: skip


def _write_bar(
    axes: Axes,
    left: float,
    at: float,
    text: str,
    sizes: Sequence[tuple[float, int]],
    width: float,
    weight: str = "normal",
    color: str = style.INK,
) -> None:
    """Writes text above a bar, within a share of its width."""
    size, lines = fitted(text, width * _CELL, sizes, weight)
    axes.text(left, at, "\n".join(lines), fontsize=size, weight=weight, color=color,
              va="center", linespacing=1.0)  # fmt: skip


def _empty(axes: Axes, left: float, top: float, note: str) -> None:
    look = {"facecolor": "#f3f4f6", "edgecolor": "none"}
    axes.add_patch(rounded(left, top, _CELL, **look))
    size, lines = fitted(note, 0.9 * _CELL, ((9, 3), (7, 5)), "normal")
    middle = (left + _CELL / 2, top + _CELL / 2)
    axes.text(*middle, "\n".join(lines), ha="center", va="center", fontsize=size,
              color=style.MUTED)  # fmt: skip
