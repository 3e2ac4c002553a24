"""The compare sheets: PNGs with the models side by side.

Rows are pictures; columns are the picture with its true lineage, then for every model
the overlay with its prediction. Pillow draws them in pixels, so no picture is resampled
twice.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hiercam_keras import wording
from hiercam_keras.errors import UserError
from hiercam_keras.report import canvas, style
from hiercam_keras.report.overlay import DEFAULT_ALPHA, encode, overlay
from hiercam_keras.report.schema import NO_HEATMAP, Model, Picture, View
from hiercam_keras.workdir import write_bytes

ROWS_PER_SHEET = 12

_MARGIN = 28
_GAP = 14
_WHITE = (255, 255, 255)
_BAND = (246, 247, 249)
_TRACK = (222, 225, 230)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Pixels: `cell` is the side of a picture, `text` the width of a text block; `noun`
    is what the pictures show."""

    cell: int
    text: int
    num_models: int
    noun: str

    @property
    def column(self) -> int:
        return self.cell + _GAP + self.text + _GAP

    @property
    def width(self) -> int:
        return 2 * _MARGIN + (1 + self.num_models) * self.column

    def left(self, column: int) -> int:
        return _MARGIN + column * self.column


def write_sheets(
    out_dir: str | os.PathLike,
    pictures: Sequence[Picture],
    models: Sequence[Model],
    title: str,
    name: str = "sheet",
    rows: int = ROWS_PER_SHEET,
    cell: int = 176,
    alpha: float = DEFAULT_ALPHA,
    noun: str = "object",
) -> list[Path]:
    """Writes `<name>_01.png`, `<name>_02.png`, ... with `rows` pictures on each.

    Args:
      out_dir: folder of the sheets.
      pictures: one row each, with one view per model.
      models: columns, in order.
      title: at the top of each sheet.
      name: start of the file names.
      rows: pictures on a sheet.
      cell: side of a picture in pixels.
      alpha: strength of the overlays, 0 .. 1.
      noun: what the pictures show, as in "bird".

    Returns:
      The files written; none without pictures.

    Raises:
      UserError: a picture's views are not those of the models, in order.
    """
    for picture in pictures:
        check_views(picture, models)
    pages = [pictures[i : i + rows] for i in range(0, len(pictures), rows)]
    skip = shared_depth(pictures)
    layout = _Layout(cell, max(190, round(1.15 * cell)), len(models), noun)
    paths = []
    for number, page in enumerate(pages, 1):
        note = f"{number} of {len(pages)}" if len(pages) > 1 else ""
        sheet = _draw_sheet(page, models, title, note, skip, layout, alpha)
        path = Path(out_dir) / f"{name}_{number:02d}.png"
        write_bytes(path, encode(sheet, "png"))
        paths.append(path)
    return paths


def check_views(picture: Picture, models: Sequence[Model]) -> None:
    """Raises UserError unless a picture has one view per model, in order."""
    found = [view.model for view in picture.views]
    expected = [model.name for model in models]
    if found != expected:
        raise UserError(
            f"{picture.example_id} has views of {found}, expected {expected}"
        )


def shared_depth(pictures: Sequence[Picture]) -> int:
    """Number of coarse taxa that all lineages share, true or predicted.

    Texts omit them (such as Animalia, Chordata, Aves). The finest taxon of a lineage
    is always kept.
    """
    lineages = [p.true for p in pictures]
    lineages += [view.predicted for p in pictures for view in p.views]
    return shared_prefix(lineages)


def shared_prefix(lineages: Sequence[Sequence[str]]) -> int:
    """Length of the common prefix of all lineages, without any finest taxon."""
    lineages = [tuple(lineage) for lineage in lineages]
    depth = min((len(lineage) for lineage in lineages), default=1) - 1
    while depth > 0 and len({lineage[:depth] for lineage in lineages}) > 1:
        depth -= 1
    return max(depth, 0)


def _draw_sheet(
    pictures: Sequence[Picture],
    models: Sequence[Model],
    title: str,
    note: str,
    skip: int,
    layout: _Layout,
    alpha: float,
) -> Image.Image:
    heights = [
        16 + max(layout.cell, _write_row(canvas.scratch(), picture, 0, skip, layout))
        for picture in pictures
    ]
    head = _write_head(canvas.scratch(), models, title, note, layout)
    height = head + sum(heights) + _MARGIN
    sheet = Image.new("RGB", (layout.width, height), _WHITE)
    draw = ImageDraw.Draw(sheet)
    _write_head(draw, models, title, note, layout)
    top = head
    for number, (picture, high) in enumerate(zip(pictures, heights, strict=True)):
        if number % 2 == 0:
            box = (_MARGIN - 12, top - 8, layout.width - _MARGIN + 12, top + high - 9)
            draw.rounded_rectangle(box, 10, fill=_BAND)
        _paste_row(sheet, picture, top, layout, alpha)
        _write_row(draw, picture, top, skip, layout)
        top += high
    return sheet


def _write_head(
    draw: ImageDraw.ImageDraw,
    models: Sequence[Model],
    title: str,
    note: str,
    layout: _Layout,
) -> int:
    """Draws the title and column names; returns the y of the first row."""
    y = canvas.write(draw, (_MARGIN, 20), title, 20, layout.width - 160, bold=True)
    if note:
        spot = (layout.width - _MARGIN, 24)
        draw.text(spot, note, style.MUTED, canvas.font(13), anchor="ra")
    ends = [
        canvas.write(
            draw,
            (layout.left(column), y + 16),
            heading,
            14,
            layout.column - _GAP,
            bold=True,
        )
        for column, heading in enumerate(["picture", *(m.name for m in models)])
    ]
    return max(ends) + 16


def _paste_row(
    sheet: Image.Image, picture: Picture, top: int, layout: _Layout, alpha: float
) -> None:
    image = canvas.fit(picture.image, layout.cell)
    canvas.paste(sheet, image, (layout.left(0), top))
    for column, view in enumerate(picture.views, 1):
        heat = overlay(image, view.heatmap, alpha, degenerate=view.degenerate)
        canvas.paste(sheet, heat, (layout.left(column), top))


def _write_row(
    draw: ImageDraw.ImageDraw,
    picture: Picture,
    top: int,
    skip: int,
    layout: _Layout,
) -> int:
    """Draws the texts of a row; returns the y below the lowest."""
    left = layout.left(0) + layout.cell + _GAP
    y = canvas.write(
        draw, (left, top + 4), picture.true_name, 14, layout.text, bold=True
    )
    if picture.common_name:
        y = canvas.write(draw, (left, y), picture.common_name, 13, layout.text)
    y = canvas.lineage(draw, (left, y + 4), picture.true[skip:-1], (), layout.text)
    lines = []
    if picture.agreement is not None:
        lines.append(f"agreement {wording.number(picture.agreement, '{:.2f}')}")
    if picture.object_area is not None:
        lines.append(
            f"{layout.noun}: {style.percent(picture.object_area)} of the picture"
        )
    for line in lines:
        y = canvas.write(draw, (left, y + 4), line, 12, layout.text, color=style.MUTED)
    ends = [y]
    for column, view in enumerate(picture.views, 1):
        spot = (layout.left(column) + layout.cell + _GAP, top + 4)
        ends.append(_draw_view(draw, view, picture, spot, skip, layout))
    return max(ends)


def _draw_view(
    draw: ImageDraw.ImageDraw,
    view: View,
    picture: Picture,
    spot: tuple[int, int],
    skip: int,
    layout: _Layout,
) -> int:
    (left, y), width = spot, layout.text
    color = style.verdict(view.correct)
    canvas.mark(draw, (left + 8, y + 9), view.correct, color)
    y = canvas.write(
        draw, (left + 22, y), view.predicted_name, 14, width - 22, bold=True,
        color=color,
    )  # fmt: skip
    if view.common_name:
        y = canvas.write(draw, (left + 22, y), view.common_name, 13, width - 22)
    y = canvas.lineage(
        draw,
        (left, y + 4),
        view.predicted[skip:-1],
        picture.true[skip:],
        width,
        view.known if view.known is None else max(0, view.known - skip),
    )
    y += 8
    bar = width - 52
    draw.rounded_rectangle((left, y, left + bar, y + 9), 4, fill=_TRACK)
    filled = round(bar * float(np.clip(view.probability, 0, 1)))
    if filled >= 2:
        draw.rounded_rectangle((left, y, left + filled, y + 9), 4, fill=color)
    share = style.percent(view.probability)
    draw.text((left + width, y + 4), share, style.INK, canvas.font(12), anchor="rm")
    y += 17
    notes = []
    if view.degenerate:
        notes.append(NO_HEATMAP)
    elif view.energy_on_object is not None:
        share = style.percent(view.energy_on_object)
        notes.append(f"{share} of the energy on the {layout.noun}")
    if view.remark and not view.degenerate:
        notes.append(view.remark)
    numbers = [] if view.degenerate else list(view.numbers.items())[:2]
    notes += [f"{label}: {wording.number(value)}" for label, value in numbers]
    for note in notes:
        y = canvas.write(draw, (left, y), note, 12, width, color=style.MUTED) + 3
    return y
