"""How much a model looks at the background, with and without information in it.

The same birds in the same poses are drawn in habitats that are independent of the
family, and in habitats that determine it, so pictures pair by example_id.
"""

from collections.abc import Sequence

import numpy as np

from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments.accuracy import accuracy_gap
from hiercam_keras.experiments.pooling import (
    BACKGROUND,
    OBJECT,
    MeasuredRun,
    Pool,
    paired,
)
from hiercam_keras.experiments.results import Result, text, verdict
from hiercam_keras.metrics.resampling import Estimate


def background_table(
    cells: dict[tuple[str, float], list[MeasuredRun]], habitats: Sequence[float]
) -> Result:
    """Share of the energy on the background, by model and habitat.

    Args:
      cells: (rank, habitat correlation) -> trainings by seed.
      habitats: correlations, ascending.
    """
    ranks = list(dict.fromkeys(rank for rank, _ in cells))
    low, high = habitats[0], habitats[-1]
    rows, answers, missing = [], [], []
    for rank in ranks:
        pools = [Pool(cells[rank, habitat]) for habitat in habitats]
        shares = [pool.mean(pool.of(BACKGROUND, f"asked-{rank}")) for pool in pools]
        rise = difference([(rank, high, 1), (rank, low, -1)], cells)
        rows.append((f"{rank} model", *shares, rise))
        if rise.verdict < 1 and not rise.too_few:
            missing.append(
                f"the {rank} model's maps do not show that its habitat predicts the "
                f"family: {text(rise)} more of their energy on the background."
            )
        answers.append(
            f"{rank.capitalize()} model: "
            + verdict(
                rise,
                "more on the background where the habitat predicts the family",
                "less on the background where the habitat predicts the family",
                "no significant difference between the habitats",
            )
        )
    pools = [Pool(cells[ranks[0], habitat]) for habitat in habitats]
    area = [pool.mean(pool.area(BACKGROUND)) for pool in pools]
    rows.append(("share of the picture", *area, None))
    if {"family", "species"} <= set(ranks):
        row, answer = _family_against_species(cells, habitats)
        rows.append(row)
        answers.append(answer)
        if row[-1].verdict < 1 and not row[-1].too_few:
            missing.append(
                "the habitat does not draw the family model's maps to the background "
                f"more than the species model's: {text(row[-1])}."
            )
    return Result(
        name="background",
        title="The background, with and without information",
        claim="Does the family model look at the background more than the species "
        "model, and only when the habitat predicts the family?",
        header=(
            "share of energy on the background",
            *(f"habitat correlation {habitat:g}" for habitat in habitats),
            f"{high:g} minus {low:g}",
        ),
        rows=rows,
        answer=". ".join(answers) + ".",
        missing=tuple(one[:1].upper() + one[1:] for one in missing),
        note="Maps of each model's own question. The last column and the last row pair "
        "the same birds by image; their common cell is the difference in differences. "
        "Brackets: 95 % intervals, species and seeds resampled.",
        figure="study/background.png",
        short="Share of the energy on the background where the habitat predicts the "
        "family, minus where it does not: "
        + "; ".join(f"{row[0]} {text(row[-1])}" for row in rows[: len(ranks)])
        + ".",
    )


def _family_against_species(
    cells: dict[tuple[str, float], list[MeasuredRun]], habitats: Sequence[float]
) -> tuple[tuple, str]:
    """The row of their differences, and the sentence on it."""
    terms = [("family", 1), ("species", -1)]
    at = [
        difference([(rank, habitat, sign) for rank, sign in terms], cells)
        for habitat in habitats
    ]
    both = difference(
        [
            (rank, habitat, sign * way)
            for habitat, way in ((habitats[-1], 1), (habitats[0], -1))
            for rank, sign in terms
        ],
        cells,
    )
    words = verdict(
        both,
        "the family model's change exceeds the species model's",
        "the family model's change is below the species model's",
        "no significant difference between the family model's change and the "
        "species model's",
    )
    if both.too_few:
        words = f"the family model's change and the species model's: {words}"
    return ("family minus species", *at, both), words[:1].upper() + words[1:]


def difference(
    terms: Sequence[tuple[str, float, int]],
    cells: dict[tuple[str, float], list[MeasuredRun]],
) -> Estimate:
    """Sum of signed background shares, over the images and seeds common to all terms.

    Args:
      terms: (rank, habitat, sign), each with the maps of the rank's own question.
      cells: as for `background_table`.
    """

    def value(*tables: Table) -> np.ndarray:
        shares = [
            sign * (1 - table.of(OBJECT, f"asked-{rank}"))
            for (rank, _, sign), table in zip(terms, tables, strict=True)
        ]
        return np.sum(shares, axis=0)

    return paired([cells[rank, habitat] for rank, habitat, _ in terms], value)


def transfer_table(
    cells: dict[tuple[str, float, float], list[MeasuredRun]], coarse: str
) -> Result:
    """Accuracy of models on the same birds with another habitat correlation.

    Args:
      cells: (rank, habitat of the training, habitat of the test) -> trainings by seed.
      coarse: the rank at which each taxon has one habitat.
    """
    rows, drops, short = [], [], []
    for (rank, trained, tested), measured in cells.items():
        pool = Pool(measured)
        rows.append(
            (
                f"{rank} model",
                f"{trained:g}",
                f"{tested:g}",
                pool.accuracy(rank),
                pool.accuracy(coarse) if coarse in measured[0].table.ranks else None,
            )
        )
        if trained != tested:
            drop = accuracy_gap(measured, cells[rank, trained, trained], rank)
            short.append(f"{rank} model from {trained:g} to {tested:g} {text(drop)}")
            drops.append(
                f"{rank} model, from {trained:g} to {tested:g}: "
                + verdict(
                    drop,
                    "better with the other habitat correlation",
                    "worse with the other habitat correlation",
                    "no significant change",
                )
            )
    return Result(
        name="transfer",
        title="The same birds in other habitats",
        claim="Does a model use the habitat? A model trained where the habitat "
        "predicts the family is tested on the same birds where it does not, and vice "
        "versa.",
        header=(
            "model",
            "trained at",
            "tested at",
            "accuracy at its rank",
            f"accuracy at {coarse}",
        ),
        rows=rows,
        answer=". ".join(one[:1].upper() + one[1:] for one in drops) + ".",
        short="Change of accuracy with another habitat correlation than in training: "
        + "; ".join(short)
        + ".",
        note="Columns 2 and 3 are habitat correlations. Brackets: 95 % intervals, "
        "species and seeds resampled; the differences pair images and seeds.",
    )
