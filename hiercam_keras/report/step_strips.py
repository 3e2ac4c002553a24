"""A few pictures with the overlays of all models and steps, as one PNG.

Each row has the picture, the overlay of each model, and the step maps of the predicted
taxa. Captions are below the pictures and wrap, so the sheet is readable when small.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from hiercam_keras.report import canvas, style
from hiercam_keras.report.overlay import DEFAULT_ALPHA, encode, hatched, overlay
from hiercam_keras.report.schema import (
    OWN_SCALES,
    STEPS_APART,
    STEPS_SHARE,
    Model,
    Picture,
)
from hiercam_keras.workdir import write_bytes

_CELL = 168  # pixels, the side of a picture
_GAP = 12
_MARGIN = 18
_HEAD = 58  # at least
_CAPTION = 46  # at least


def of_different_taxa(
    pictures: Sequence[Picture], depth: int, count: int
) -> list[Picture]:
    """The first pictures of different taxa at a depth of the lineage.

    Args:
      pictures: in order.
      depth: place of the rank in the lineages.
      count: at most.
    """
    first: dict[tuple[str, ...], Picture] = {}
    for picture in pictures:
        first.setdefault(picture.true[: depth + 1], picture)
    return list(first.values())[:count]


def write_strips(
    path: str | os.PathLike,
    pictures: Sequence[Picture],
    models: Sequence[Model],
    steps_of: str = "",
) -> Path | None:
    """Writes the PNG; returns None without pictures.

    Args:
      path: of the file.
      pictures: rows, with one view per model and the steps of one of them.
      models: in the order of the views.
      steps_of: name of the model that the steps belong to.
    """
    if not pictures:
        return None
    heads = _heads(pictures, models, steps_of)
    rows = [list(_cells(picture, len(heads) - 1 - len(models))) for picture in pictures]
    draw = canvas.scratch()
    head = max(_HEAD, *(_write_head(draw, 0, one) + 6 for one in heads))
    captions = [
        max(_CAPTION, *(_write_caption(draw, (0, 5), cell) + 6 for cell in cells))
        for cells in rows
    ]
    width = 2 * _MARGIN + len(heads) * (_CELL + _GAP) - _GAP
    shared = any(picture.steps_top is not None for picture in pictures)
    note = f"{OWN_SCALES} {STEPS_SHARE if shared else STEPS_APART}"
    below = head + sum(_CELL + caption for caption in captions)
    height = _write_note(draw, below, note, width) + _MARGIN // 2
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    lefts = [_MARGIN + column * (_CELL + _GAP) for column in range(len(heads))]
    for left, one in zip(lefts, heads, strict=True):
        _write_head(draw, left, one)
    top = head
    for cells, caption in zip(rows, captions, strict=True):
        for left, cell in zip(lefts, cells, strict=False):
            canvas.paste(sheet, cell.image, (left, top))
            _write_caption(draw, (left, top + _CELL + 5), cell)
        top += _CELL + caption
    _write_note(draw, top, note, width)
    write_bytes(path, encode(sheet, "png"))
    return Path(path)


class _Cell(NamedTuple):
    """A picture of the sheet and its caption.

    Attributes:
      image: uint8 (side, side, 3).
      name: predicted name, or true name for the picture itself.
      note: below the name.
      right: whether the prediction is right; None without one.
      common: common name; "" for none.
    """

    image: np.ndarray
    name: str
    note: str = ""
    right: bool | None = None
    common: str = ""


def _write_head(draw: ImageDraw.ImageDraw, left: int, head: tuple[str, str]) -> int:
    """Draws the title of a column; returns the y below it."""
    y = canvas.write(draw, (left, 12), head[0], 13, _CELL, color=style.MUTED)
    return canvas.write(draw, (left, y), head[1], 15, _CELL, bold=True)


def _write_note(draw: ImageDraw.ImageDraw, top: int, note: str, width: int) -> int:
    """Which colors of the sheet can be compared; returns the y below it."""
    room = width - 2 * _MARGIN
    return canvas.write(draw, (_MARGIN, top), note, 11, room, color=style.MUTED)


def _heads(
    pictures: Sequence[Picture], models: Sequence[Model], steps_of: str
) -> list[tuple[str, str]]:
    heads = [("the picture", "")]
    for model in models:
        owner, _, asked = model.name.partition(" asked for ")
        heads.append((f"{owner} model, asked for", f"the {asked or model.rank}"))
    steps = max((picture.steps for picture in pictures), key=len)
    above = f"{steps_of} model, step to".strip()
    return heads + [(above, f"the {step.rank}") for step in steps]


def _cells(picture: Picture, num_steps: int) -> Iterator[_Cell]:
    image = canvas.fit(picture.image, _CELL)
    yield _Cell(image, picture.true_name, common=picture.common_name)
    for view in picture.views:
        heat = overlay(image, view.heatmap, DEFAULT_ALPHA, degenerate=view.degenerate)
        note = f"probability {style.percent(view.probability)}"
        note += f"; {view.remark}" if view.remark else ""
        name = view.common_name
        yield _Cell(heat, view.predicted_name, note, view.correct, name)
    for step in picture.steps[:num_steps]:
        if step.heatmap is None:
            name = step.common_name
            yield _Cell(hatched(image), step.name, step.note, common=name)
            continue
        heat = overlay(image, step.heatmap, DEFAULT_ALPHA, degenerate=step.degenerate)
        note = f"probability {style.percent(step.probability)}"
        note += f"; {step.remark}" if step.remark else ""
        yield _Cell(heat, step.name, note, step.correct, step.common_name)


def _write_caption(
    draw: ImageDraw.ImageDraw, spot: tuple[int, int], cell: _Cell
) -> int:
    """Draws the caption of a picture; returns the y below it."""
    left, y = spot
    width, color = _CELL, style.INK
    if cell.right is not None:
        color = style.RIGHT if cell.right else style.WRONG
        canvas.mark(draw, (left + 8, y + 9), cell.right, color)
        left, width = left + 21, _CELL - 21
    bold = cell.right is None
    y = canvas.write(draw, (left, y), cell.name, 13, width, bold=bold, color=color)
    if cell.common:
        y = canvas.write(draw, (left, y), cell.common, 12, width)
    if cell.note:
        y = canvas.write(draw, (left, y), cell.note, 12, width, color=style.MUTED)
    return y
