"""Effect of one changed field of the training on where a model looks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments.accuracy import accuracy_gap
from hiercam_keras.experiments.evidence import Evidence, own_and_others
from hiercam_keras.experiments.pooling import (
    BACKGROUND,
    OBJECT,
    MeasuredRun,
    paired,
    pick,
)
from hiercam_keras.experiments.results import Result, verdict
from hiercam_keras.experiments.training_grid import Condition
from hiercam_keras.metrics.resampling import Estimate


def variants_table(
    measured: Sequence[MeasuredRun],
    names: Mapping[Condition, str],
    ranks: Sequence[str],
    evidence: Evidence,
) -> Result:
    """Each override against the same training without it, paired by image."""
    rows, answers = [], []
    for condition in names:
        if not condition.overrides:
            continue
        field = ", ".join("{}={}".format(*one) for one in condition.overrides)
        plain = replace(condition, overrides=())
        for rank in ranks:
            if rank not in evidence:
                continue
            pair = pick(measured, (rank,), condition), pick(measured, (rank,), plain)
            part, others = own_and_others(evidence, rank)
            own = energy_gap(*pair, f"asked-{rank}", [part])
            rows.append(
                (
                    field,
                    rank,
                    accuracy_gap(*pair, rank),
                    own,
                    energy_gap(*pair, f"asked-{rank}", others),
                    energy_gap(*pair, f"asked-{rank}", [BACKGROUND]),
                    energy_gap(*pair, f"step-{rank}", [part]),
                )
            )
            answers.append(
                f"{field}, {rank} model: "
                + verdict(
                    own,
                    "more energy on its own part",
                    "less energy on its own part",
                    "no significant change on its own part",
                )
            )
    return Result(
        name="variants",
        title="One changed field of the training",
        claim="Does a change of the training, as a loss on the filters of the last "
        "convolution (Zhang, Wu and Zhu 2018, arXiv:1710.00935), change where the "
        "maps are?",
        header=(
            "changed",
            "model",
            "accuracy",
            "energy on its own part",
            "on the other parts",
            "on the background",
            "of the step, on its own part",
        ),
        rows=rows,
        answer=". ".join(answers) + ".",
        note="Differences to the training without the change, in shares of images and "
        "of energy, pairing images and seeds. Brackets: 95 % intervals, species and "
        "seeds resampled.",
    )


def energy_gap(
    first: Sequence[MeasuredRun],
    second: Sequence[MeasuredRun],
    key: str,
    parts: Sequence[str],
) -> Estimate:
    """Share of the energy on some parts: first model minus second."""

    def value(one: Table, two: Table) -> np.ndarray:
        if list(parts) == [BACKGROUND]:
            return two.of(OBJECT, key) - one.of(OBJECT, key)
        return sum(one.of(part, key) - two.of(part, key) for part in parts)

    return paired([first, second], value)
