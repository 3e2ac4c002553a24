"""Figures of a page, drawn from the cells of its tables."""

from collections.abc import Mapping, Sequence

from hiercam_keras.experiments.results import Cell, Result
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.report import dots, style

save = style.save_png


def point(cell: Cell) -> tuple[float, float, float] | None:
    """Value and interval of an estimate; None for another cell."""
    if isinstance(cell, Estimate):
        return cell.value, cell.low, cell.high
    return None


def by_series(
    table: Result, row: Sequence[int], series: int, value: int
) -> tuple[list[str], dict[str, list]]:
    """Rows and series of a dot plot from the columns of a table.

    Args:
      row: columns with the names of the rows.
      series: column with the names of the series.
      value: column of the estimates.
    """
    names = list(dict.fromkeys(", ".join(str(r[i]) for i in row) for r in table.rows))
    found: dict[str, list] = {}
    for cells in table.rows:
        points = found.setdefault(str(cells[series]), [None] * len(names))
        name = ", ".join(str(cells[i]) for i in row)
        points[names.index(name)] = point(cells[value])
    return names, found


def accuracy(table: Result) -> bytes:
    """PNG of each model's accuracy at each rank, with chance levels."""
    rows, series = by_series(table, (0, 2), 1, 5)
    chance = {f"{r[0]}, {r[2]}": r[4] for r in table.rows}
    return dots.dots_png(
        rows, series, "accuracy (model, asked for)", marks=[chance[r] for r in rows]
    )


def curves(found: Mapping[str, Result]) -> dict[str, bytes]:
    """All figures of --mode=curves: PNG bytes by file name."""
    figures = {"accuracy.png": accuracy(found["accuracy"])}
    for table in found.values():
        if table.name.startswith("routes"):
            names = list(table.header[1:-1])  # the last column is not a share
            series = {
                str(row[0]): [point(cell) for cell in row[1:-1]] for row in table.rows
            }
            png = dots.dots_png(names, series, "share of test images")
            figures[f"{table.name}.png"] = png
    return figures


def granularity(table: Result) -> bytes:
    """PNG of MaxBoxAccV2 by rank (PxAP if there are no boxes), one series a stride."""
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
