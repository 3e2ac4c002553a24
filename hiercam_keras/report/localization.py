"""Figures of localization: boxes on pictures, and accuracy against the threshold."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageDraw

from hiercam_keras.report import canvas, style
from hiercam_keras.report.overlay import encode, overlay
from hiercam_keras.workdir import write_bytes

TRUE_COLOR = (90, 220, 120)
FOUND_COLOR = (255, 170, 60)
_CELL = 260
_TEXT = 62
_COLUMNS = 4
_MARGIN = 16
_HEAD = 66


class BoxPicture(NamedTuple):
    """One picture of the sheet.

    Attributes:
      image: uint8 (H, W, 3).
      heatmap: (h, w) in 0 .. 1 over the whole image.
      true_boxes: (N, 4) as x0, y0, x1, y1 in pixels of the image.
      box: (4,) predicted, likewise.
      iou: of the two.
      name: of the true taxon.
      degenerate: whether there is no heatmap.
      shown: the taxon that the map is of; "" if unknown.
    """

    image: np.ndarray
    heatmap: np.ndarray
    true_boxes: np.ndarray
    box: np.ndarray
    iou: float
    name: str
    degenerate: bool
    shown: str = ""


def save_box_sheet(path: str | os.PathLike, pictures: Sequence[BoxPicture]) -> Path:
    """Writes a PNG of pictures under their heatmaps, with true and predicted boxes."""
    rows = -(-len(pictures) // _COLUMNS)
    columns = min(_COLUMNS, len(pictures))
    step_x, step_y = _CELL + _MARGIN, _CELL + _TEXT + _MARGIN
    size = (_MARGIN + columns * step_x, _HEAD + rows * step_y)
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    x = _MARGIN
    for color, text in ((TRUE_COLOR, "true box"), (FOUND_COLOR, "box from the map")):
        draw.rectangle((x, 14, x + 22, 30), outline=color, width=4)
        canvas.write(draw, (x + 30, 13), text, 14, 200)
        x += 150
    words = "in bold: the true taxon"
    canvas.write(draw, (_MARGIN, 38), words, 12, size[0], color=style.MUTED)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, _COLUMNS)
        left, top = _MARGIN + column * step_x, _HEAD + row * step_y
        _draw_picture(sheet, draw, picture, left, top)
    write_bytes(path, encode(sheet, "png"))
    return Path(path)


def save_threshold_curves(
    path: str | os.PathLike,
    thresholds: np.ndarray,
    curves: Mapping[str, np.ndarray],
    marks: Mapping[str, float],
    title: str = "",
) -> Path:
    """Draws the share of right boxes at each threshold.

    Args:
      path: of the PNG.
      thresholds: (T,) shares of a map's maximum.
      curves: "<who> IoU <share>" -> (T,); the first who is drawn in full lines.
      marks: name -> threshold, vertical lines.
      title: above the figure.
    """
    kinds = list(dict.fromkeys(name.split(" IoU ")[1] for name in curves))
    owners = list(dict.fromkeys(name.split(" IoU ")[0] for name in curves))
    with style.drawing():
        figure = style.new_figure(7.2, 4.2)
        axes = figure.subplots()
        for name, values in curves.items():
            who, iou = name.split(" IoU ")
            first = who == owners[0]
            axes.plot(
                thresholds,
                values,
                color=style.CYCLE[kinds.index(iou)],
                linewidth=2.0 if first else 1.2,
                linestyle="-" if first else (0, (3, 2)),
            )
        for name, threshold in marks.items():
            axes.axvline(threshold, color=style.MUTED, linewidth=1.0, linestyle=":")
            axes.text(threshold, 1.0, f" {name}", color=style.MUTED, va="top")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("threshold, as a share of the map's maximum")
        axes.set_ylabel("images with a right box")
        axes.set_title(title)
        handles = [
            Line2D([], [], color=style.CYCLE[i], linewidth=2.4, label=f"IoU {iou}")
            for i, iou in enumerate(kinds)
        ]
        handles += [
            Line2D(
                [], [], color=style.MUTED, lw=1.6, ls="-" if i == 0 else "--", label=who
            )
            for i, who in enumerate(owners)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6)
        return style.save_png(path, style.to_png(figure))


def _draw_picture(sheet, draw, picture: BoxPicture, left: int, top: int) -> None:
    height, width = picture.image.shape[:2]
    scale = _CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(picture.image).resize(size, Image.Resampling.LANCZOS)
    heat = overlay(np.asarray(small), picture.heatmap, degenerate=picture.degenerate)
    x, y = left + (_CELL - size[0]) // 2, top + (_CELL - size[1]) // 2
    sheet.paste(Image.fromarray(heat), (x, y))
    marks = [(box, TRUE_COLOR) for box in picture.true_boxes]
    for box, color in [*marks, (picture.box, FOUND_COLOR)]:
        if np.isfinite(box).all():
            x0, y0, x1, y1 = (np.asarray(box) * scale).tolist()
            edges = (x + min(x0, x1), y + min(y0, y1), x + max(x0, x1), y + max(y0, y1))
            draw.rectangle(edges, outline=color, width=3)
    text = "no box to compare with" if picture.iou != picture.iou else ""
    lines = [(picture.name, True), (text or f"IoU {picture.iou:.2f}", False)]
    if picture.shown:
        lines.insert(1, (f"map of {picture.shown}", False))
    y = top + _CELL + 4
    for text, bold in lines:
        face = canvas.font(13 if bold else 12, bold)
        first, *more = canvas.wrapped(canvas.clean(text), face, _CELL)
        color = style.INK if bold else style.MUTED
        draw.text((left, y), f"{first}…" if more else first, color, face)
        y += 18
