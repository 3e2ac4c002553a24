"""The experiment of docs/BELIEF.md on answers that are made up."""

import numpy as np

from benchmarks import belief
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.scores import softmax
from hiercam_keras.taxonomy.tree import Taxonomy

TREE = Taxonomy(
    Lineage((f"f{i // 4}", f"s{i:02}"), ("family", "species")) for i in range(16)
)


def answers(seed, evidence):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 16, 1200)
    logits = rng.normal(0, 1, (1200, 16))
    logits[np.arange(1200), truth] += evidence * rng.gamma(2, 1, 1200)
    return {"shares": softmax(logits), "truth": truth}


def test_table_of_promises():
    own = answers(0, 2.0)
    rows = belief.measured(TREE, "species", own, splits=20, part=300)
    rows.append(belief.shifted(TREE, "species", own, answers(1, 0.5)))
    by_rule = {row["rule"]: row for row in rows}
    assert (
        by_rule["calibrated, 0.8"]["named"][0] > by_rule["calibrated, 0.95"]["named"][0]
    )
    top = by_rule["top-1 species"]
    found = own["shares"].argmax(1) == own["truth"]
    # The likeliest species of the likeliest family is not always the likeliest.
    assert abs(top["accuracy"][1] - found.mean()) < 0.02
    assert np.all(top["named"] == 1) and top["coverage"] == 1
    shifted = by_rule["calibrated, 0.9, habitats exchanged"]
    assert shifted["accuracy"][1] < 0.9
    text = belief.table(rows, ("family", "species"))
    assert text.count("\n") == len(rows) + 1 and "of 20 (" in text
