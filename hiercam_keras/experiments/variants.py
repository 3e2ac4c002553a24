"""experiments: does one changed field of the training change where a model looks?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hiercam_keras.experiments.accuracy import accuracy_gap
from hiercam_keras.experiments.evidence import Evidence
from hiercam_keras.experiments.looks import Looks
from hiercam_keras.experiments.pieces import Condition
from hiercam_keras.experiments.seen import Seen, paired, pick
from hiercam_keras.experiments.tables import Table, told
from hiercam_keras.metrics.resampling import Estimate


def variants_table(
    seen: Sequence[Seen],
    names: Mapping[Condition, str],
    ranks: Sequence[str],
    evidence: Evidence,
) -> Table:
    """Each override against the same training without it, image by image."""
    rows, answers = [], []
    for condition in names:
        if not condition.overrides:
            continue
        field = ", ".join("{}={}".format(*one) for one in condition.overrides)
        plain = replace(condition, overrides=())
        for rank in ranks:
            pair = pick(seen, (rank,), condition), pick(seen, (rank,), plain)
            label = evidence[rank][1]
            others = [other for _, other in evidence.values() if other != label]
            own = energy_gap(*pair, f"asked-{rank}", [label])
            rows.append(
                (
                    field,
                    rank,
                    accuracy_gap(*pair, rank),
                    own,
                    energy_gap(*pair, f"asked-{rank}", others),
                    energy_gap(*pair, f"asked-{rank}", [0]),
                    energy_gap(*pair, f"step-{rank}", [label]),
                )
            )
            answers.append(
                f"{field}, {rank} model: "
                + told(
                    own,
                    "more energy on its own part",
                    "less energy on its own part",
                    "no significant change on its own part",
                )
            )
    return Table(
        name="variants",
        title="One changed field of the training",
        claim="Does a change of the training, as a loss on the filters of the last "
        "convolution (Zhang, Wu and Zhu 2018, arXiv:1710.00935), change where the "
        "maps lie?",
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
    first: Sequence[Seen], second: Sequence[Seen], key: str, parts: Sequence[int]
) -> Estimate:
    """Share of the energy on some parts, of the first minus of the second."""

    def value(one: Looks, two: Looks) -> np.ndarray:
        shares = [
            looks.energy[:, looks.at(key)][:, list(parts)].sum(1, dtype=np.float64)
            for looks in (one, two)
        ]
        return shares[0] - shares[1]

    return paired([first, second], value)
