"""Differences between strategies and between ranks, worked out on a few answers."""

import numpy as np
import pytest
from tiny_tables import make_table

from hiercam_keras.experiments import accuracy_gaps, prediction_strategies
from hiercam_keras.experiments.pooling import MeasuredRun
from hiercam_keras.experiments.training_grid import Condition, TrainingSpec
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("family", "species")
# Families 0 and 1 of two species each.
TAXONOMY = Taxonomy(
    Lineage((family, f"{family}{number}"), RANKS) for family in "ab" for number in "01"
)
TRUE = np.array([[0, 0], [0, 1], [1, 2], [1, 3]], np.int32)


def measured(ranks, predicted, rolled=None, condition=None, bits=None):
    count = len(TRUE)
    one = make_table(
        np.full((count, 2, 3), 1 / 3),
        true=TRUE,
        predicted=np.array(predicted, np.int32),
        rolled=np.array(predicted if rolled is None else rolled, np.int32),
        log2_true=np.zeros((count, 2)) if bits is None else bits,
    )
    return MeasuredRun(
        TrainingSpec(ranks, 0, condition or Condition(), None, None), one
    )


def test_routes_by_hand():
    """Mistakes within the family are of height 1, across families of height 2."""
    changed = Condition(overrides=(("train.hierarchical", "hxe"),))
    all_seen = [
        measured(("family",), TRUE),
        measured(("species",), TRUE),
        # Two mistakes, one across families, and heads that disagree there.
        measured(RANKS, [[0, 0], [0, 2], [1, 3], [1, 3]]),
        # The same two images, both within the family.
        measured(RANKS, [[0, 0], [0, 0], [1, 3], [1, 3]], condition=changed),
    ]
    made = prediction_strategies.routes_of(
        all_seen, RANKS, Condition(), RANKS, {changed: "hxe"}
    )
    table = prediction_strategies.routes_table(made, RANKS, TAXONOMY)
    rows = {row[0]: [cell.value for cell in row[1:]] for row in table.rows}
    assert rows[prediction_strategies.SINGLE][:4] == [1, 1, 1, 1]
    assert np.isnan(rows[prediction_strategies.SINGLE][4])  # there are no mistakes
    assert rows[prediction_strategies.HEADS] == pytest.approx([1, 0.5, 0.75, 0.5, 1.5])
    assert rows["heads, hxe"] == pytest.approx([1, 0.5, 1, 0.5, 1])
    assert made["heads, hxe"].against == prediction_strategies.HEADS
    assert len(table.rows) == 6


def test_a_rank_against_the_finest_by_hand():
    """Family always right; species right for two of four, never sure."""
    family = measured(("family",), TRUE, bits=np.zeros((4, 2)))
    species = measured(
        ("species",),
        [[0, 0], [0, 1], [1, 3], [1, 2]],
        bits=np.full((4, 2), -1.0),
    )
    models = [(("family",), "all", [family]), (("species",), "all", [species])]
    labels = {"family": np.array([0, 1]), "species": np.arange(4)}
    counts = {"family": 2, "species": 4}
    table = accuracy_gaps.gaps_table(models, labels, counts, RANKS)
    ((name, _, *cells),) = table.rows
    assert name == "family at family, species at species"
    # Kappa: 1 against (1/2 - 1/4) / (3/4). Bits: 1 of 1 against 2 - 1 of 2.
    expected = [0.5, 1 - 1 / 3, 0.0, 0.5]
    assert [cell.value for cell in cells] == pytest.approx(expected)
    assert "accuracy" in table.answer and "share of most bits" in table.answer
    alone = accuracy_gaps.gaps_table(models[1:], labels, counts, RANKS)
    assert alone.rows == [] and "Nothing to compare" in alone.answer
