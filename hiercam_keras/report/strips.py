"""Room report: a few pictures with all their overlays, models and steps, as one PNG.

One row a picture: what it is, where each model looked, and what chose each taxon among
its siblings. Captions stand below, so that it can be shown small.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hiercam_keras.report import canvas, style
from hiercam_keras.report.overlay import DEFAULT_ALPHA, encode, overlay
from hiercam_keras.report.schema import Model, Picture
from hiercam_keras.workdir import write_bytes

_CELL = 168  # pixels, the side of a picture
_GAP = 12
_MARGIN = 18
_HEAD = 58
_CAPTION = 46


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
    """Writes the PNG; nothing without pictures.

    Args:
      path: of the file.
      pictures: rows, with one view per model and the steps of one of them.
      models: in the order of the views.
      steps_of: name of the model whose steps they are.
    """
    if not pictures:
        return None
    heads = _heads(pictures, models, steps_of)
    width = 2 * _MARGIN + len(heads) * (_CELL + _GAP) - _GAP
    row = _CELL + _CAPTION
    sheet = Image.new(
        "RGB", (width, _HEAD + len(pictures) * row + _MARGIN // 2), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for column, (above, below) in enumerate(heads):
        spot = (_MARGIN + column * (_CELL + _GAP), 12)
        y = canvas.write(draw, spot, above, 13, _CELL, color=style.MUTED)
        canvas.write(draw, (spot[0], y), below, 15, _CELL, bold=True)
    for number, picture in enumerate(pictures):
        cells = _cells(picture, len(heads) - 1 - len(models))
        for column, (image, right, name, share) in enumerate(cells):
            spot = (_MARGIN + column * (_CELL + _GAP), _HEAD + number * row)
            canvas.paste(sheet, image, spot)
            _write_caption(draw, (spot[0], spot[1] + _CELL + 5), right, name, share)
    write_bytes(path, encode(sheet, "png"))
    return Path(path)


def _heads(
    pictures: Sequence[Picture], models: Sequence[Model], steps_of: str
) -> list[tuple[str, str]]:
    heads = [("the picture", "")]
    for model in models:
        whose, _, asked = model.name.partition(" asked for ")
        heads.append((f"{whose} model, asked for", f"the {asked or model.rank}"))
    steps = max((picture.steps for picture in pictures), key=len)
    above = f"{steps_of} model, step to".strip()
    return heads + [(above, f"the {step.rank}") for step in steps]


def _cells(picture: Picture, num_steps: int) -> Iterator[tuple]:
    """Image, whether right (None: nothing was said), name and share of each column."""
    image = canvas.fit(picture.image, _CELL)
    yield image, None, picture.true_name, None
    for view in picture.views:
        heat = overlay(image, view.heatmap, DEFAULT_ALPHA, degenerate=view.degenerate)
        yield heat, view.correct, view.predicted_name, view.probability
    for step in picture.steps[:num_steps]:
        flat = step.heatmap is None
        heat = np.zeros((2, 2)) if flat else step.heatmap
        shown = overlay(image, heat, DEFAULT_ALPHA, degenerate=flat or step.degenerate)
        yield shown, step.correct, step.name, step.probability


def _write_caption(
    draw: ImageDraw.ImageDraw,
    spot: tuple[int, int],
    right: bool | None,
    name: str,
    share: float | None,
) -> None:
    left, y = spot
    if right is None:
        canvas.write(draw, spot, name, 13, _CELL, bold=True)
        return
    color = style.RIGHT if right else style.WRONG
    canvas.mark(draw, (left + 8, y + 9), right, color)
    y = canvas.write(draw, (left + 21, y), name, 13, _CELL - 21, color=color)
    said = f"probability {style.percent(share)}"
    canvas.write(draw, (left + 21, y), said, 12, _CELL - 21, color=style.MUTED)
