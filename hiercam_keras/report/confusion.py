"""Confusion matrices.

Up to about sixty taxa the whole matrix is drawn, with lines between groups of
relatives; for more, the most frequent confusions are listed.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hiercam_keras.errors import UserError
from hiercam_keras.report import style

MAX_MATRIX = 60
_MAX_NAME = 28


def confusion_png(
    matrix: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str] | None = None,
    title: str = "",
    limit: int = MAX_MATRIX,
    top: int = 25,
) -> bytes:
    """Draws a confusion matrix, or its largest entries where there are many taxa.

    Args:
      matrix: counts (N, N); row = true taxon, column = predicted taxon.
      names: N display names.
      groups: N names of a coarser taxon; relatives are adjacent.
      title: above the figure.
      limit: most taxa for which the whole matrix is drawn.
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
        if len(names) <= limit:
            figure = _matrix_figure(matrix, list(names), groups, title)
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


def _matrix_figure(matrix: np.ndarray, names: list, groups: list, title: str):
    order = sorted(range(len(names)), key=lambda i: (groups[i], i))
    names, groups = [names[i] for i in order], [groups[i] for i in order]
    counts = matrix[np.ix_(order, order)].astype(np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = 2.6 + 0.19 * max(len(names), 8)
    figure = style.new_figure(side + 1.5, side)
    axes = figure.subplots()
    # Mistakes are small shares: the power law keeps a 2 % cell visible, and another
    # color map separates them from the diagonal.
    norm = PowerNorm(0.5, 0.0, 1.0)
    diagonal = np.eye(len(names), dtype=bool)[..., None]
    blue, orange = matplotlib.colormaps["Blues"], matplotlib.colormaps["Oranges"]
    mistakes = np.where(shares[..., None] > 0, orange(norm(shares)), (1, 1, 1, 1))
    axes.imshow(np.where(diagonal, blue(norm(shares)), mistakes))
    axes.grid(False)
    size = 8 if len(names) <= 30 else 6
    labels = [shorten(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), labels, fontsize=size)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    _separate(axes, groups)
    if len(names) <= 16:
        _write_counts(axes, counts, shares)
    bar = figure.colorbar(
        ScalarMappable(norm, orange), ax=axes, shrink=0.6, ticks=[0.01, 0.1, 0.4, 1.0]
    )
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label("mistakes, as a share of the true taxon's pictures (blue: right)")
    bar.outline.set_visible(False)
    if title:
        axes.set_title(title)
    return figure


def _separate(axes: Axes, groups: list[str]) -> None:
    edges = [i - 0.5 for i in range(1, len(groups)) if groups[i] != groups[i - 1]]
    for edge in edges:
        axes.axhline(edge, color="#9ca3af", linewidth=0.8)
        axes.axvline(edge, color="#9ca3af", linewidth=0.8)
    bounds = [-0.5, *edges, len(groups) - 0.5]
    if not edges:
        return
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        axes.text(
            len(groups) - 0.3,
            (low + high) / 2,
            shorten(groups[int(low + 0.5)]),
            fontsize=7,
            color=style.MUTED,
            va="center",
        )


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
