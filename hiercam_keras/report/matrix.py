"""Small matrices of numbers, such as lifts of maps on parts.

There is one panel for each model and one color scale; cells with an expected large
value are framed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Rectangle

from hiercam_keras import wording
from hiercam_keras.report import style


def matrix_png(
    panels: Mapping[str, Any],
    rows: Sequence[str],
    columns: Sequence[str],
    framed: Sequence[tuple[int, int]] = (),
    middle: float = 1.0,
    label: str = "",
    intervals: Mapping[str, Any] | None = None,
) -> bytes:
    """Draws one matrix for each panel, side by side.

    Args:
      panels: title -> numbers (rows, columns); NaN is left blank.
      rows, columns: names, shared by all panels.
      framed: (row, column) of the cells that are framed.
      middle: the value that is drawn white, such as the chance level.
      label: of the color bar.
      intervals: title -> (rows, columns, 2), written below the numbers.

    Returns:
      PNG bytes.

    Raises:
      ValueError: a panel of another shape.
    """
    values = {title: np.asarray(panel, float) for title, panel in panels.items()}
    for title, panel in values.items():
        if panel.shape != (len(rows), len(columns)):
            raise ValueError(
                f"panel {title!r} has shape {panel.shape}, expected "
                f"{(len(rows), len(columns))}"
            )
    known = np.concatenate([panel[np.isfinite(panel)] for panel in values.values()])
    # A symmetric range, so that the same distance has the same color strength.
    reach = max(np.abs(known - middle).max(initial=0.0), 0.05)
    with style.drawing():
        cell = (1.02, 0.52) if intervals else (0.85, 0.36)
        width = 1.9 + len(values) * (cell[0] * len(columns) + 0.5)
        figure = style.new_figure(width, 1.3 + cell[1] * len(rows))
        axes = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
        norm = TwoSlopeNorm(middle, middle - reach, middle + reach)
        for ax, (title, panel) in zip(axes, values.items(), strict=True):
            image = ax.imshow(panel, cmap="PuOr_r", norm=norm, aspect="auto")
            _write_cells(ax, panel, norm, (intervals or {}).get(title))
            for row, column in framed:
                ax.add_patch(
                    Rectangle(
                        (column - 0.47, row - 0.45),
                        0.94,
                        0.9,
                        fill=False,
                        edgecolor=style.INK,
                        linewidth=1.8,
                    )
                )
            ax.set_title(title)
            ax.set_xticks(range(len(columns)), columns)
            ax.set_yticks(range(len(rows)), rows)
            ax.tick_params(length=0)
            ax.grid(False)
            ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=list(axes), shrink=0.9, pad=0.02)
        bar.set_label(label)
        bar.ax.set_ylim(min(known.min(), middle), max(known.max(), middle))
        bar.outline.set_visible(False)
        return style.to_png(figure)


def _write_cells(
    ax: Any, panel: np.ndarray, norm: TwoSlopeNorm, ends: np.ndarray | None
) -> None:
    for (row, column), value in np.ndenumerate(panel):
        if np.isfinite(value):
            below = ends is not None and np.isfinite(ends[row, column]).all()
            dark = abs(float(norm(value)) - 0.5) > 0.32
            color = style.PAPER if dark else style.INK
            if below:
                low, high = ends[row, column]
                ax.text(
                    column,
                    row + 0.24,
                    wording.interval(low, high, "{:.2f}").strip(" ()"),
                    ha="center",
                    va="center",
                    color=color,
                    fontsize=6.5,
                )
            ax.text(
                column,
                row - 0.14 if below else row,
                wording.number(value, "{:.2f}"),
                ha="center",
                va="center",
                color=color,
                fontsize=9,
            )
