"""Confusion matrices.

A row is a true taxon with pictures, a column a taxon with pictures or one that was
predicted. Up to about sixty of these the matrix is drawn, with lines between groups of
relatives; for more, the most frequent confusions are listed.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm, to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hiercam_keras.errors import UserError
from hiercam_keras.report import style

MAX_MATRIX = 60
_MAX_NAME = 28
_NEVER = to_rgba(style.FAINT)


def confusion_png(
    matrix: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str] | None = None,
    title: str = "",
    limit: int = MAX_MATRIX,
    top: int = 25,
) -> bytes:
    """Draws a confusion matrix, or its largest entries where there are many taxa.

    Taxa without pictures that were never predicted are left out, and the title says so.

    Args:
      matrix: counts (N, N); row = true taxon, column = predicted taxon.
      names: N display names.
      groups: N names of a coarser taxon; relatives are adjacent.
      title: above the figure.
      limit: most columns of a matrix that is drawn.
      top: most confusions listed beyond that.

    Returns:
      PNG bytes.

    Raises:
      UserError: sizes that do not fit.
    """
    matrix = np.asarray(matrix)
    groups = [""] * len(names) if groups is None else list(groups)
    if matrix.shape != (len(names), len(names)) or len(groups) != len(names):
        raise UserError(
            f"confusion matrix of shape {matrix.shape} with {len(names)} names and "
            f"{len(groups)} groups: expected one name and group per row and column"
        )
    with style.drawing():
        columns = np.flatnonzero(matrix.any(axis=0) | matrix.any(axis=1))
        if len(columns) <= limit:
            figure = _matrix_figure(matrix, list(names), groups, title, columns)
        else:
            figure = _list_figure(matrix, list(names), groups, title, top)
        return style.to_png(figure)


def save_confusion(
    path: str | os.PathLike,
    matrix: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Writes `confusion_png` to a file, atomically."""
    return style.save_png(path, confusion_png(matrix, names, groups, title))


def top_confusions(matrix: np.ndarray, top: int = 25) -> list[tuple[int, int, int]]:
    """The largest entries off the diagonal: (true, predicted, count), largest first.

    Ties are in the order of the labels; entries of zero are left out.
    """
    counts = np.array(matrix)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:top]
    pairs = [divmod(int(flat), counts.shape[1]) for flat in order]
    return [(i, j, int(counts[i, j])) for i, j in pairs if counts[i, j] > 0]


def _matrix_figure(
    matrix: np.ndarray, names: list, groups: list, title: str, columns: np.ndarray
):
    columns = sorted(columns.tolist(), key=lambda i: (groups[i], i))
    rows = [i for i in columns if matrix[i].any()]
    title = _title(title, len(rows), len(columns), len(names))
    width, height = (2.6 + 0.19 * max(len(one), 8) for one in (columns, rows))
    figure = style.new_figure(width + 1.5, height)
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(False)
    if not rows:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no pictures", ha="center", transform=axes.transAxes)
        return figure
    counts = matrix[np.ix_(rows, columns)].astype(np.float64)
    shares = counts / counts.sum(axis=1, keepdims=True)
    # Mistakes are small shares: the power law keeps a 2 % cell visible, and another
    # color map separates them from the diagonal.
    norm = PowerNorm(0.5, 0.0, 1.0)
    diagonal = np.equal.outer(rows, columns)[..., None]
    blue, orange = matplotlib.colormaps["Blues"], matplotlib.colormaps["Oranges"]
    mistakes = np.where(shares[..., None] > 0, orange(norm(shares)), (1, 1, 1, 1))
    # Gray on the diagonal: a taxon that was never recognized.
    right = np.where(shares[..., None] > 0, blue(norm(shares)), _NEVER)
    axes.imshow(np.where(diagonal, right, mistakes))
    size = 8 if len(columns) <= 30 else 6
    labels = {i: shorten(names[i]) for i in columns}
    axes.set_xticks(
        range(len(columns)), [labels[i] for i in columns], rotation=90, fontsize=size
    )
    axes.set_yticks(range(len(rows)), [labels[i] for i in rows], fontsize=size)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    _separate(axes, [groups[i] for i in rows], [groups[i] for i in columns])
    if len(columns) <= 16:
        _write_counts(axes, counts, shares)
    bar = figure.colorbar(
        ScalarMappable(norm, orange), ax=axes, shrink=0.6, ticks=[0.01, 0.1, 0.4, 1.0]
    )
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label(
        "mistakes, as a share of\nthe true taxon's pictures\n"
        "(diagonal: blue right, gray never right)",
        fontsize=8,
    )
    bar.outline.set_visible(False)
    return figure


def _title(title: str, rows: int, columns: int, taxa: int) -> str:
    """The title, with what is not drawn."""
    if rows == taxa:
        return title
    kept = f"{rows} of {taxa} taxa have pictures"
    if columns > rows:
        kept += f", {columns - rows} more predicted"
    return f"{title}\n{kept}" if title else kept


def _separate(axes: Axes, rows: list[str], columns: list[str]) -> None:
    """Lines around groups of several taxa, and their names at the right.

    A matrix with a group for each taxon has no lines.
    """
    several = {name for name, count in Counter(columns).items() if count > 1}
    if len(set(columns)) == 1 or not several:
        return
    lines = {"color": "#9ca3af", "linewidth": 0.8}
    for edge in _edges(rows, several):
        axes.axhline(edge, **lines)
    for edge in _edges(columns, several):
        axes.axvline(edge, **lines)
    for name in sorted(several & set(rows)):
        mine = [i for i, group in enumerate(rows) if group == name]
        axes.text(
            len(columns) - 0.3,
            (mine[0] + mine[-1]) / 2,
            shorten(name),
            fontsize=7,
            color=style.MUTED,
            va="center",
        )


def _edges(groups: list[str], several: set[str]) -> list[float]:
    """Places between two groups of which one has several taxa."""
    pairs = zip(groups, groups[1:], strict=False)
    return [
        place + 0.5
        for place, (left, right) in enumerate(pairs)
        if left != right and (left in several or right in several)
    ]


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for i, j in zip(*np.nonzero(counts), strict=True):
        axes.text(
            j,
            i,
            f"{int(counts[i, j])}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if shares[i, j] > 0.35 else style.INK,
        )


def _list_figure(matrix: np.ndarray, names: list, groups: list, title: str, top: int):
    pairs = top_confusions(matrix, top)
    totals = matrix.sum(axis=1)
    figure = style.new_figure(8.4, 1.5 + 0.27 * max(len(pairs), 1))
    axes = figure.subplots()
    axes.set_title(title or "Most frequent confusions")
    axes.grid(False, axis="y")
    if not pairs:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no confusions", ha="center", transform=axes.transAxes)
        return figure
    has_groups = any(groups)
    within = [has_groups and groups[i] == groups[j] for i, j, _ in pairs]
    rows = np.arange(len(pairs))
    axes.barh(
        rows,
        [count for _, _, count in pairs],
        color=[style.CYCLE[0] if same else style.CYCLE[1] for same in within],
        height=0.68,
    )
    labels = [f"{shorten(names[i])}  →  {shorten(names[j])}" for i, j, _ in pairs]
    axes.set_yticks(rows, labels, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for row, (i, _, count) in enumerate(pairs):
        text = f" {count} of {int(totals[i])}"
        axes.text(count, row, text, va="center", fontsize=8, color=style.MUTED)
    axes.set_xlabel("pictures (true → predicted)")
    if has_groups:
        figure.legend(
            handles=[
                Patch(color=style.CYCLE[0], label="within the same group"),
                Patch(color=style.CYCLE[1], label="across groups"),
            ],
            loc="outside lower center",
            ncols=2,
        )
    return figure


def shorten(name: str, length: int = _MAX_NAME) -> str:
    """A name cut to `length` characters, the last of them an ellipsis."""
    return name if len(name) <= length else name[: length - 1] + "…"
