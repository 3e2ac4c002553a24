"""Tables of causes from numbers that are known."""

from pathlib import Path

import numpy as np
import pytest

from hiercam_keras.evaluation.causal_effects import SCORES, Effects
from hiercam_keras.experiments import (
    cause_carriers,
    cause_map_tables,
    cause_tables,
)
from hiercam_keras.experiments.cause_measurements import Caused, MapEnergy
from hiercam_keras.experiments.cause_pooling import CausedRun
from hiercam_keras.experiments.training_grid import Condition, TrainingSpec

SPECIES = 24
PARTS = ("body", "wing", "patch", "habitat", "legs")
EVIDENCE = {"genus": ("wing", 3), "species": ("patch", 4)}
VIEWS = [
    ("gradcam", ""),
    ("hirescam", "early"),
    ("random", ""),
    ("random", "early"),
    ("area", "picture"),
]


def caused(seed: int) -> Caused:
    """A network with steps to genus by the wing, and to species by the habitat.

    The maps by hirescam follow the falls; those by gradcam are the area.
    """
    rng = np.random.default_rng(seed)
    falls = 0.01 * rng.normal(size=(SPECIES, 2, len(PARTS), 2))
    falls[:, 0, PARTS.index("wing")] += 2
    falls[:, 1, PARTS.index("habitat")] += 3
    ids = np.array([f"{number:02d}" for number in range(SPECIES)])
    effects = Effects(
        ids,
        ids,
        ("genus", "species"),
        PARTS,
        ("sibling", "removed"),
        dict.fromkeys(SCORES, falls),
        (falls > 0.5).astype(float),
    )
    area = np.broadcast_to([0.3, 0.1, 0.05, 0.5, 0.05], (SPECIES, len(PARTS)))
    area = area + 0.001 * rng.random(area.shape)
    order = falls[..., 0].argsort(-1).argsort(-1) + 1.0
    follows = order / order.sum(-1, keepdims=True)
    energy = np.stack(
        [np.repeat(area[:, None], 2, 1)] * 1
        + [follows]
        + [np.repeat(area[:, None], 2, 1)] * 3
    )
    targets = (("step", "genus"), ("step", "species"))
    return Caused(effects, MapEnergy(ids, PARTS, targets, tuple(VIEWS), energy, area))


@pytest.fixture(scope="module")
def models():
    runs = [
        CausedRun(
            TrainingSpec(("species",), seed, Condition(), None, Path()),
            caused(10 + seed),
            caused(seed),
        )
        for seed in (0, 1, 2)
    ]
    return {"species": runs}


def test_a_step_uses_the_parts_that_it_depends_on_and_no_other(models):
    found = cause_tables.uses(models)
    used = {(use.rank, use.part) for use in found if use.is_used}
    assert used == {("genus", "wing"), ("species", "habitat")}
    (wing,) = (u for u in found if (u.rank, u.part) == ("genus", "wing"))
    assert wing.fall.value == pytest.approx(2, abs=0.02) and wing.fall.groups == 24
    table = cause_tables.effects_table(models, found, EVIDENCE)
    assert "step to genus uses wing 2.0" in table.answer
    assert "step to species uses habitat 3.0" in table.answer
    assert "in 1 of 2 steps" in table.short
    planted = cause_tables.planted_table(models, EVIDENCE, 0.8)
    assert planted.rows[0][1:] == ("", "carries the trait", "", "", "")


def test_a_map_that_follows_the_causes_is_chosen_on_val(models):
    found = cause_map_tables.agreements(models)
    assert [one.view for one in found].count(("random", "")) == 1
    assert ("random", "early") not in [one.view for one in found]
    (best,) = cause_map_tables.chosen(found, "step", 1)
    assert best.view == ("hirescam", "early")
    assert best.test.value == pytest.approx(1)
    assert cause_map_tables.is_above(best.beyond)
    default = next(one for one in found if one.view == cause_map_tables.DEFAULT)
    assert default.beyond.value == 0 and not cause_map_tables.is_above(default.beyond)
    table = cause_map_tables.chosen_table(models, found, 1)
    assert "hirescam at early agrees with the causes more than the default" in (
        table.answer
    )
    views = cause_map_tables.views_table(found, "step")
    assert "1 of 2 combinations" in views.answer and "number 2 of 2" in views.answer
    ranks = cause_map_tables.ranks_table(found)
    assert [row[3] for row in ranks.rows] == ["1 of 2", "1 of 2"]


def test_carriers_that_are_not_used_are_named(models):
    used = cause_tables.uses(models)
    found = cause_map_tables.agreements(models)
    table = cause_carriers.carriers_table(models, used, found, EVIDENCE)
    assert table.missing == ("The species model's step to species does not use patch.",)
    assert table.short.startswith("1 of 2 steps use")
    by_rank = {row[1]: row for row in table.rows}
    assert by_rank["genus"][3] == "yes" and by_rank["genus"][5] == "1 of 5"
    assert "most: habitat, 3.0" in table.answer
