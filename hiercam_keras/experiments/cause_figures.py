"""Figures of the page on causes, drawn from the cells of its tables."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from hiercam_keras.data.exchanged import Drawn
from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.experiments.cause_pooling import CausedRun
from hiercam_keras.experiments.figures import point
from hiercam_keras.experiments.results import Result
from hiercam_keras.report import dots, matrix, picture_grid
from hiercam_keras.report.picture_grid import Cell
from hiercam_keras.wording import spaced


def draw(found: Mapping[str, Result], evidence: Evidence) -> dict[str, bytes]:
    """All figures of the page: PNG bytes by file name."""
    drawn = {"effects.png": _effects(found["effects"], evidence)}
    for name, table in found.items():
        if name.startswith("maps-"):
            drawn[f"{name}.png"] = _maps(table)
    return drawn


def _effects(table: Result, evidence: Evidence) -> bytes:
    """PNG of the causes, with the planted cells framed."""
    columns = list(table.header[2:])
    rows = [f"{row[1]}, {row[0]} model" for row in table.rows]
    cells = np.array([[point(cell) for cell in row[2:]] for row in table.rows])
    framed = [
        (place, columns.index(spaced(evidence[row[1]][0])))
        for place, row in enumerate(table.rows)
        if row[1] in evidence and spaced(evidence[row[1]][0]) in columns
    ]
    title = "Fall of the step when a part has a sibling's form"
    return matrix.matrix_png(
        {title: cells[..., 0]},
        rows,
        [column.replace(" ", "\n") for column in columns],
        framed,
        middle=0.0,
        label="nats (95 % intervals)",
        intervals={title: cells[..., 1:]},
    )


def _maps(table: Result) -> bytes:
    """PNG of every method and layer, on val and on the reported images."""
    rows = [" at ".join(filter(None, map(str, row[:2]))) for row in table.rows]
    series = {table.header[i]: [point(row[i]) for row in table.rows] for i in (2, 3)}
    label = "rank correlation of energy and effect over the parts"
    return dots.dots_png(rows, series, label, reference=0.0)


def exchanges(drawn: Drawn, runs: Sequence[CausedRun]) -> bytes:
    """JPEG of one bird with all its exchanges, each with the step that falls most.

    Args:
      drawn: the birds; the first one with the most exchanges is shown.
      runs: trainings of one model, over which the falls are means.
    """
    counts = {record.example_id: 0 for record in drawn.plain}
    for one in drawn.exchanged:
        counts[one.of] += 1
    shown = max(counts, key=counts.get)
    effects = [run.test.effects for run in runs]
    row = list(effects[0].example_ids).index(shown)
    steps = np.mean([one.falls["step"][row] for one in effects], axis=0)  # (R, P, H)
    parts, hows = effects[0].parts, effects[0].hows
    plain = next(one for one in drawn.plain if one.example_id == shown)
    cells = {(hows[0], "as drawn"): Cell(_pixels(plain.path), shown.partition("/")[2])}
    for one in drawn.exchanged:
        if one.of == shown:
            falls = steps[:, parts.index(one.part), hows.index(one.how)]
            words = [one.donor] if one.donor else []
            if np.isfinite(falls).any():
                rank = int(np.nanargmax(falls))
                words.append(f"{effects[0].ranks[rank]} step {-falls[rank]:+.2f}")
            picture = _pixels(one.record.path)
            cells[one.how, spaced(one.part)] = Cell(picture, "\n".join(words))
    return picture_grid.grid_jpg(
        cells, list(hows), ["as drawn", *(spaced(part) for part in parts)]
    )


def _pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
