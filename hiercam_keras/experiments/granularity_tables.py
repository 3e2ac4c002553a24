"""The table of the granularity sweep, from counts of models and strides.

MaxBoxAccV2 where there are boxes, PxAP where there are masks; data with masks only is
compared by PxAP.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras import wording
from hiercam_keras.experiments import localization_counts
from hiercam_keras.experiments.localization_counts import Found
from hiercam_keras.experiments.results import Result, verdict
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.localization import box_accuracy, pxap_of
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes.load import RunData


class Cell(NamedTuple):
    """A model's rank, the output stride of its training, and that of its maps."""

    rank: str
    trained: int
    viewed: int


# Counts of the val and of the evaluated split, by seed.
Counts = dict[Cell, list[tuple[Found | None, Found]]]


def sweep_table(counts: Counts, data: RunData, split: str) -> Result:
    """MaxBoxAccV2 and PxAP of each rank, training and map size."""
    order = data.taxonomy.ranks.index
    # Strides keep the order of the config.
    cells = sorted(counts, key=lambda cell: order(cell.rank))
    rows = []
    for cell in cells:
        several = counts[cell]
        tests = [test for _, test in several]
        rows.append(
            (
                cell.rank,
                data.taxonomy.num_labels(cell.rank),
                cell.trained,
                cell.viewed,
                _estimate(tests, "boxes"),
                _each(tests),
                _chosen(several),
                _estimate(tests, "pixels"),
            )
        )
    trained = tuple(dict.fromkeys(cell.trained for cell in counts))
    one = counts[cells[0]][0][1]
    return Result(
        name="granularity",
        title="Localization against training rank",
        source="Cole et al. 2022, in our words",
        claim="Models trained with coarser labels localize better than those trained "
        "with the finest ones (Cole et al. 2022), and "
        + (
            "models trained with larger maps localize better."
            if len(trained) > 1
            else "larger maps of the same weights, without training at that stride, "
            "localize better."
        ),
        header=(
            "trained at",
            "taxa",
            "training stride",
            "map stride",
            "MaxBoxAccV2",
            "each seed",
            "thresholds from val",
            "PxAP",
        ),
        rows=rows,
        answer=_answer(counts, cells, trained),
        note=_note(one, data, split),
        figure="granularity/granularity.png",
    )


def _note(one: Found, data: RunData, split: str) -> str:
    words = []
    if one.images.sum():
        box = localization_counts.whole_image_box(data, split)
        words.append(
            f"MaxBoxAccV2 is of {wording.count(int(one.images.sum()), 'image')} with a "
            "box; a box around the "
            f"whole image scores {box:.3f}. It takes the best thresholds on the "
            "evaluated images; the column after next those of the validation split."
        )
    if one.masked.sum():
        words.append(
            f"PxAP is of {wording.count(int(one.masked.sum()), 'image')} with a mask; "
            "a constant map scores "
            f"{localization_counts.prevalence(one):.3f}."
        )
    words.append(
        "Where the strides of training and map differ, the weights are used at a "
        "stride that they were not trained at. Brackets: 95 % intervals, species and "
        "seeds resampled."
    )
    return " ".join(words)


def _answer(counts: Counts, cells: Sequence[Cell], trained: Sequence[int]) -> str:
    """Ranks against the finest one, then larger maps with and without training."""
    what = "boxes" if counts[cells[0]][0][1].images.sum() else "pixels"
    ranks = tuple(dict.fromkeys(cell.rank for cell in cells))
    finest, found = ranks[-1], []

    def add(words: str, one: Cell, two: Cell, *verdicts: str) -> None:
        gap = _difference(counts[one], counts[two], what)
        found.append(f"{words}: " + verdict(gap, *verdicts))

    for stride in trained:
        for rank in ranks[:-1]:
            add(
                f"trained at {rank}, stride {stride}",
                Cell(rank, stride, stride),
                Cell(finest, stride, stride),
                f"better than trained at {finest}",
                f"worse than trained at {finest}",
                f"no significant difference from {finest}",
            )
    verdicts = ("better", "worse", "no significant difference")
    for stride in trained[1:]:
        for rank in ranks:
            words = f"{rank}, trained at stride {stride} against {trained[0]}"
            own, first = (Cell(rank, one, one) for one in (stride, trained[0]))
            add(words, own, first, *verdicts)
    for cell in cells:
        if cell.viewed != cell.trained:
            words = f"{cell.rank}, trained at stride {cell.trained}, viewed at "
            words += f"{cell.viewed} against {cell.trained}"
            add(words, cell, cell._replace(viewed=cell.trained), *verdicts)
    if not found:
        return "Nothing to compare: only one model was trained."
    text = ". ".join(one[:1].upper() + one[1:] for one in found) + "."
    return text if what == "boxes" else f"By PxAP, as there are no boxes. {text}"


_FIGURES = {
    "boxes": box_accuracy,
    "pixels": pxap_of,
}


def _stack(several: Sequence[Found], what: str) -> tuple[np.ndarray, ...]:
    """Columns, sets of species and seed numbers of several seeds."""
    tables = [localization_counts.columns(one, what) for one in several]
    groups = [one.sets for one in several]
    seeds = [np.full(len(one), number) for number, one in enumerate(tables)]
    return tuple(map(np.concatenate, (tables, groups, seeds)))


def _estimate(
    several: Sequence[Found], what: str, figure: Any = None
) -> Estimate | None:
    """Estimate of a figure; None where no image has the boxes or masks it needs."""
    if not (several[0].images if what == "boxes" else several[0].masked).sum():
        return None
    table, groups, seeds = _stack(several, what)
    figure = figure or _FIGURES[what]
    return _of_sums(table, groups, seeds, _sizes(several, what), figure)


def _sizes(several: Sequence[Found], what: str) -> np.ndarray:
    """Images with boxes or masks, in the rows of `_stack`."""
    return np.concatenate([o.images if what == "boxes" else o.masked for o in several])


def _of_sums(table, groups, seeds, sizes, figure) -> Estimate:
    """The estimate over the species that have such images; it counts the images."""
    kept = sizes > 0
    found = resampling.of_sums(
        table[kept], groups[kept], figure, seeds[kept], weights=sizes[kept]
    )
    return dataclasses.replace(found, n=int(sizes.sum()))


def _each(several: Sequence[Found]) -> str:
    if not several[0].images.sum():
        return ""
    values = [
        box_accuracy(localization_counts.columns(one, "boxes").sum(0, keepdims=True))[0]
        for one in several
    ]
    return ", ".join(f"{value:.3f}" for value in values)


def _chosen(several: Sequence[tuple[Found | None, Found]]) -> Estimate | None:
    """Accuracy at the thresholds that are best on val, pooled over the seeds."""
    if any(val is None or not val.images.sum() for val, _ in several):
        return None
    total = sum(val.best for val, _ in several)
    chosen = total.sum(axis=0).argmax(axis=1)
    figure = functools.partial(box_accuracy, places=chosen)
    return _estimate([test for _, test in several], "boxes", figure)


def _difference(first: Sequence[tuple], second: Sequence[tuple], what: str) -> Estimate:
    """First model's figure minus the second's, on the same species."""
    one, groups, seeds = _stack([test for _, test in first], what)
    two, _, _ = _stack([test for _, test in second], what)
    half, of = one.shape[1], _FIGURES[what]

    def figure(sums: np.ndarray) -> np.ndarray:
        return of(sums[:, :half]) - of(sums[:, half:])

    table = np.concatenate([one, two], axis=1)
    sizes = _sizes([test for _, test in first], what)
    return _of_sums(table, groups, seeds, sizes, figure)
