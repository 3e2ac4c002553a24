"""Values with intervals as dots on whiskers, in panels that share their rows."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from hiercam_keras.report import style

_LETTERS = 32  # letters in a line of a label
# label -> (value, low, high); an interval of NaN is not drawn.
Values = Mapping[str, tuple[float, float, float]]


def intervals_png(
    panels: Mapping[str, Values],
    xlabel: str,
    reference: float | Mapping[str, float] | None = None,
    marked: Mapping[str, Sequence[str]] | None = None,
    percent: bool = False,
) -> bytes:
    """Draws one panel for each entry, with shared rows and a shared x axis.

    Args:
      panels: title -> rows; a row that a panel lacks stays empty.
      xlabel: of the values.
      reference: chance level, one dotted line for all rows, or a tick by label.
      marked: title -> labels with an expected large value, in the accent color.
      percent: whether values are shares, shown as percentages.

    Returns:
      PNG bytes.
    """
    labels = list(dict.fromkeys(label for rows in panels.values() for label in rows))
    shown = [style.wrapped(label, _LETTERS) for label in labels]
    lines = [line for label in shown for line in label.split("\n")]
    row = max(0.34, 0.18 * max((one.count("\n") + 1 for one in shown), default=1))
    height = 1.0 + row * max(1, len(labels))
    words = 0.5 + 0.085 * max(map(len, lines), default=0)  # inches left of the panels
    with style.drawing():
        width = max(8.0, words + 1.9 * len(panels))
        figure = style.new_figure(width, max(1.9, height))
        grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)
        for axes, (title, rows) in zip(grid[0], panels.items(), strict=True):
            expected = (marked or {}).get(title, ())
            _draw(axes, title, rows, labels, reference, expected)
        grid[0][0].set_yticks(range(len(labels)), shown)
        grid[0][0].set_ylim(len(labels) - 0.5, -0.5)
        grid[0][0].set_xlim(left=0)
        if percent:
            grid[0][0].xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
        figure.supxlabel(xlabel, fontsize=9)
        return style.to_png(figure)


def _draw(
    axes: Axes,
    title: str,
    rows: Values,
    labels: Sequence[str],
    reference: float | Mapping[str, float] | None,
    expected: Sequence[str],
) -> None:
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    if isinstance(reference, int | float):
        axes.axvline(reference, color=style.MUTED, linestyle=":", linewidth=1.2)
    for place, label in enumerate(labels):
        if label not in rows:
            continue
        value, low, high = rows[label]
        if not math.isfinite(value):
            continue
        color = style.CYCLE[1] if label in expected else style.CYCLE[0]
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [place, place], color=color, linewidth=2.2)
        axes.plot([value], [place], "o", color=color, markersize=6)
        if isinstance(reference, Mapping) and label in reference:
            axes.plot([reference[label]], [place], "|", color=style.MUTED, ms=11, mew=2)
