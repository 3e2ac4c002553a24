"""Figures of the study's page, drawn from the cells of its tables."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.experiments import figures
from hiercam_keras.experiments.figures import by_series, point
from hiercam_keras.experiments.results import Result
from hiercam_keras.report import dots, matrix


def draw(found: Mapping[str, Result], evidence: Evidence) -> dict[str, bytes]:
    """All figures of the study: PNG bytes by file name."""
    drawn = {}
    for name, table in found.items():
        kind = name.partition("-")[0]
        if kind == "accuracy":
            png = figures.accuracy(_explained(table))
        elif kind == "parts":
            png = _parts(table, evidence)
        elif kind == "views":
            png = _views(table)
        elif kind == "background":
            png = _background(table)
        elif kind == "agreement":
            png = _agreement(table)
        else:
            continue
        drawn[f"{name}.png"] = png
    return drawn


def _explained(table: Result) -> Result:
    rows = [(row[0], explained(row[1]), *row[2:]) for row in table.rows]
    return dataclasses.replace(table, rows=rows)


def explained(condition: str) -> str:
    """A condition with an explanation of its habitat correlation."""
    meaning = {"0": ", no information", "1": ", predicts the family"}

    def word(match: re.Match) -> str:
        return f"habitat correlation {match[1]}{meaning.get(match[1], '')}"

    return re.sub(r"\bhabitat ([\d.]+)", word, condition)


def _parts(table: Result, evidence: Evidence) -> bytes:
    """PNG of the finest model's lifts with their intervals."""
    finest = table.rows[0][0]
    chosen = [row for row in table.rows if row[0] == finest]
    questions = list(dict.fromkeys(row[2] for row in chosen))
    columns = [part.replace("_", "\n") for part, _ in evidence.values()]
    shape = (len(questions), len(columns), 3)
    cells: dict[str, np.ndarray] = {}
    for row in chosen:
        panel = cells.setdefault(
            explained(row[1]).replace(", which", "\nwhich"), np.full(shape, np.nan)
        )
        panel[questions.index(row[2])] = [
            point(cell) for cell in row[3 : 3 + len(columns)]
        ]
    ranks = list(evidence)
    framed = [
        (place, ranks.index(question.rpartition(" ")[2]))
        for place, question in enumerate(questions)
        if question.rpartition(" ")[2] in ranks
    ]
    return matrix.matrix_png(
        {title: panel[..., 0] for title, panel in cells.items()},
        questions,
        columns,
        framed,
        label=f"lift, {finest} model (95 % intervals)",
        intervals={title: panel[..., 1:] for title, panel in cells.items()},
    )


def _views(table: Result) -> bytes:
    """PNG of the lifts by view; views with a much lower accuracy are pale."""
    rows = [f"stride {row[0]}, {row[1]}, {row[3]}" for row in table.rows]
    pale = [place for place, row in enumerate(table.rows) if row[-1] == "no"]
    series = {table.header[i]: [point(row[i]) for row in table.rows] for i in (5, 6)}
    label = "lift (pale: the accuracy is lost)" if pale else "lift"
    return dots.dots_png(rows, series, label, reference=1.0, pale=pale)


def _background(table: Result) -> bytes:
    rows = [row for row in table.rows if row[0].endswith(" model")]
    places = range(1, len(table.header) - 1)
    series = {
        explained(table.header[i].replace("correlation ", "")): [
            point(row[i]) for row in rows
        ]
        for i in places
    }
    area = next(row for row in table.rows if row[0] == "share of the picture")
    return dots.dots_png(
        [row[0] for row in rows],
        series,
        "share of the energy on the background (dotted: its share of the picture)",
        reference=area[1].value,
    )


def _agreement(table: Result) -> bytes:
    rows, series = by_series(table, (1,), 0, 2)
    series = {explained(name): points for name, points in series.items()}
    return dots.dots_png(rows, series, "Pearson correlation of the maps")
