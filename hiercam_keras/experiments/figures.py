"""experiments: the figures of a page, from the cells of its tables."""

from collections.abc import Mapping, Sequence

import numpy as np

from hiercam_keras.experiments.tables import Cell, Table
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.report import dots, matrix, style

save = style.save_png


def study(
    found: Mapping[str, Table],
    evidence: Mapping[str, tuple[str, int]],
) -> dict[str, bytes]:
    """PNG bytes by file name."""
    figures = {
        "accuracy.png": _accuracy(found["accuracy"]),
        "parts.png": _parts(found["parts"], evidence),
        "views.png": _views(found["views"]),
    }
    for name in ("parts", "background"):
        if f"{name}-close" in found:
            found_ = found[f"{name}-close"]
            png = _parts(found_, evidence) if name == "parts" else _background(found_)
            figures[f"{name}-close.png"] = png
    if "background" in found:
        figures["background.png"] = _background(found["background"])
    if "agreement" in found:
        figures["agreement.png"] = _agreement(found["agreement"])
    return figures


def point(cell: Cell) -> tuple[float, float, float] | None:
    """An estimate as a dot with its interval."""
    if isinstance(cell, Estimate):
        return cell.value, cell.low, cell.high
    return None


def by_series(
    table: Table, row: Sequence[int], series: int, value: int
) -> tuple[list[str], dict[str, list]]:
    """Rows and series of a dot plot from the columns of a table.

    Args:
      row: columns whose text names a row.
      series: column whose text names a series.
      value: column of the estimates.
    """
    names = list(dict.fromkeys(", ".join(str(r[i]) for i in row) for r in table.rows))
    found: dict[str, list] = {}
    for cells in table.rows:
        points = found.setdefault(str(cells[series]), [None] * len(names))
        name = ", ".join(str(cells[i]) for i in row)
        points[names.index(name)] = point(cells[value])
    return names, found


def _accuracy(table: Table) -> bytes:
    rows, series = by_series(table, (0, 2), 1, 5)
    chance = {f"{r[0]}, {r[2]}": r[4] for r in table.rows}
    return dots.dots_png(
        rows, series, "accuracy (model, asked for)", marks=[chance[r] for r in rows]
    )


def _parts(table: Table, evidence: Mapping[str, tuple[str, int]]) -> bytes:
    finest = table.rows[0][0]
    chosen = [row for row in table.rows if row[0] == finest]
    questions = list(dict.fromkeys(row[2] for row in chosen))
    columns = [part.replace("_", " +\n") for part, _ in evidence.values()]
    panels = {}
    for row in chosen:
        panel = panels.setdefault(
            row[1], np.full((len(questions), len(columns)), np.nan)
        )
        cells = row[3 : 3 + len(columns)]
        panel[questions.index(row[2])] = [cell.value for cell in cells]
    ranks = list(evidence)
    framed = [
        (place, ranks.index(question.rpartition(" ")[2]))
        for place, question in enumerate(questions)
        if question.rpartition(" ")[2] in ranks
    ]
    return matrix.matrix_png(
        panels, questions, columns, framed, label=f"lift, {finest} model"
    )


def _views(table: Table) -> bytes:
    rows = [f"stride {row[0]}, {row[1]}, {row[3]}" for row in table.rows]
    series = {table.header[i]: [point(row[i]) for row in table.rows] for i in (5, 6)}
    return dots.dots_png(rows, series, "lift", reference=1.0)


def _background(table: Table) -> bytes:
    rows = [row for row in table.rows if row[0].endswith(" model")]
    places = range(1, len(table.header) - 1)
    series = {table.header[i]: [point(row[i]) for row in rows] for i in places}
    area = next(row for row in table.rows if row[0] == "share of the picture")
    return dots.dots_png(
        [row[0] for row in rows],
        series,
        "share of the energy on the background (dotted: its share of the picture)",
        reference=area[1].value,
    )


def _agreement(table: Table) -> bytes:
    rows, series = by_series(table, (1,), 0, 2)
    return dots.dots_png(rows, series, "Pearson correlation of the maps")


def curves(found: Mapping[str, Table]) -> dict[str, bytes]:
    """PNG bytes by file name."""
    figures = {"accuracy.png": _accuracy(found["accuracy"])}
    for table in found.values():
        if table.name.startswith("routes"):
            names = list(table.header[1:-1])  # the last is no share
            series = {
                str(row[0]): [point(cell) for cell in row[1:-1]] for row in table.rows
            }
            png = dots.dots_png(names, series, "share of test images")
            figures[f"{table.name}.png"] = png
    return figures


def granularity(table: Table) -> bytes:
    """MaxBoxAccV2 by rank, PxAP where there are no boxes, one series a stride."""
    column = 4 if any(row[4] is not None for row in table.rows) else 7
    names = list(dict.fromkeys(str(row[0]) for row in table.rows))
    series: dict[str, list] = {}
    for row in table.rows:
        trained, viewed = row[2:4]
        name = f"output stride {trained}"
        if viewed != trained:
            name += f", viewed at {viewed}"
        points = series.setdefault(name, [None] * len(names))
        points[names.index(row[0])] = point(row[column])
    return dots.dots_png(names, series, table.header[column])
