"""Calibration and hierarchy tables of eval, on a tree small enough to work by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from hiercam_keras import tables
from hiercam_keras.modes import eval_calibration, eval_hierarchy
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("order", "family", "species")
# Species 0 and 1 are of family 0, 2 of family 1 (order 0); 3 of family 2 (order 1).
TREE = Taxonomy(
    Lineage(taxa, RANKS)
    for taxa in [
        ("a", "f", "s"),
        ("a", "f", "t"),
        ("a", "g", "u"),
        ("b", "h", "v"),
    ]
)
TRUE = {
    "order": np.array([0, 0, 0, 1]),
    "family": np.array([0, 0, 1, 2]),
    "species": np.array([0, 1, 2, 3]),
}


def scores(predicted, num):
    """Logits whose order is the predicted label, then the others by label."""
    logits = -np.arange(num, dtype=np.float64) * np.ones((len(predicted), 1))
    logits[np.arange(len(predicted)), predicted] = 1.0
    return logits


def test_images_of_an_unknown_species_are_counted_apart(tmp_path):
    """Of four images the species of one is known: the order counts all of them, what
    needs the whole lineage counts one."""
    answers = {"order": scores([0, 0, 1, 1], 2), "species": scores([0, 0, 3, 3], 4)}
    labels = {"order": np.array([0, 0, 0, 1]), "species": np.array([0, -1, -1, -1])}
    about = eval_hierarchy.write(tmp_path, answers, labels, TREE)
    order, species = about["ranks"]
    assert (order["images"], order["accuracy"], order["mistakes"]) == (4, 3 / 4, 1)
    assert species["images"] == 1
    for row in (order, species, about):
        assert row["whole_lineages"] == 1
    assert about["full_path_accuracy"] == 1


def test_hierarchy_by_hand(tmp_path):
    answers = {
        "order": scores([0, 0, 0, 1], 2),
        "family": scores([0, 0, 0, 2], 3),
        # Right; a sibling; another order (height 3); right.
        "species": scores([0, 0, 3, 3], 4),
    }
    about = eval_hierarchy.write(tmp_path, answers, TRUE, TREE)
    rows = {row["rank"]: row for row in about["ranks"]}
    assert rows["species"]["accuracy"] == 0.5
    assert rows["species"]["mistake_severity"] == (1 + 3) / 2
    assert rows["species"]["lca_distance_at_1"] == (0 + 1 + 3 + 0) / 4
    # All four taxa are among the first five, whatever the answer: 0+1+2+3 and so on.
    every = [(0 + 1 + 2 + 3), (1 + 0 + 2 + 3), (2 + 2 + 0 + 3), (3 + 3 + 3 + 0)]
    assert rows["species"]["lca_distance_at_5"] == np.mean(every) / 4
    assert rows["species"]["best_lca_distance_at_5"] == np.mean(every) / 4
    # Of three ranks image 0 shares 3, image 1 shares 2, image 2 none, image 3 all.
    assert rows["species"]["hierarchical_precision"] == pytest.approx(8 / 12)
    assert rows["species"]["hierarchical_recall"] == pytest.approx(8 / 12)
    assert rows["order"]["hierarchical_precision"] == 1
    assert rows["order"]["hierarchical_recall"] == pytest.approx(4 / 12)
    assert rows["order"]["mistake_severity"] is None
    assert about["path_consistency"] == 3 / 4  # image 2: order a, family f, species v
    assert about["full_path_accuracy"] == 2 / 4
    assert about["whole_lineages"] == rows["order"]["whole_lineages"] == 4
    # Image 2 is asked three ways: a; f; and b, h, v. Of its five taxa a is right.
    union = about["all_answers"]
    assert union["hierarchical_precision"] == pytest.approx((3 + 2 + 1 + 3) / (9 + 5))
    assert json.loads((tmp_path / "hierarchy.json").read_text()) == about
    severity = tables.read_csv(tmp_path / "severity.csv")
    cells = list(zip(*severity.values(), strict=True))
    assert [row for row in cells if row[0] == "species"] == [
        ("species", "0", "2"),
        ("species", "1", "1"),
        ("species", "2", "0"),
        ("species", "3", "1"),
    ]


def overconfident(rng, count, scale):
    """Logits that are `scale` times too large for the shares of right answers."""
    logits = rng.normal(0, 1.5, (count, 3))
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in share])
    return scale * logits, labels


def test_the_temperature_of_val_mends_test(tmp_path):
    rng = np.random.default_rng(0)
    val, val_labels = overconfident(rng, 3000, 2.5)
    test, labels = overconfident(rng, 3000, 2.5)
    rows = eval_calibration.write(
        tmp_path, {"family": test}, {"family": labels}, {"family": val},
        {"family": val_labels},
    )  # fmt: skip
    row = dict(zip(eval_calibration.HEADER, rows[0], strict=True))
    assert row["temperature"] == pytest.approx(2.5, rel=0.1)
    assert row["ece"] > 0.15 and row["ece_scaled"] < 0.04
    assert row["nll_scaled"] < row["nll"] and row["brier_scaled"] < row["brier"]
    assert row["accuracy"] == np.mean(test.argmax(1) == labels)
    share = np.exp(test - test.max(1, keepdims=True))
    confidence = (share / share.sum(1, keepdims=True)).max(1)
    assert row["confidence"] == pytest.approx(confidence.mean())
    bins = tables.read_csv(tmp_path / "reliability_family.csv")
    assert len(bins["count"]) == 2 * eval_calibration.BINS
    assert sum(map(int, bins["count"])) == 2 * 3000
    written = json.loads((tmp_path / "calibration.json").read_text())
    assert written["ranks"][0]["ece"] == row["ece"]
    with Image.open(tmp_path / "reliability.png") as image:
        assert image.width > 300


def test_a_temperature_takes_ten_images_and_says_what_it_rests_on(tmp_path):
    rng = np.random.default_rng(0)
    val, val_labels = overconfident(rng, 30, 2.5)
    images = {"order": 9, "family": 10, "species": 30}
    everything = {rank: val for rank in images}, {rank: val_labels for rank in images}
    rows = eval_calibration.write(
        tmp_path,
        *everything,
        {rank: val[:count] for rank, count in images.items()},
        {rank: val_labels[:count] for rank, count in images.items()},
    )
    written = tables.read_csv(tmp_path / "calibration.csv")
    assert written["val_images"] == ["9", "10", "30"]
    assert written["temperature"][0] == "" and "" not in written["temperature"][1:]
    assert eval_calibration.few_sentence(rows) == (
        "Few validation images to fit a temperature on: 9 (order), 10 (family). There "
        "is none at order: it takes 10 images."
    )
    assert eval_calibration.few_sentence(rows[2:]) == ""
    assert "There is none" not in eval_calibration.few_sentence(rows[1:2])
    none = eval_calibration.write(tmp_path, *everything, None, None)
    assert eval_calibration.few_sentence(none) == ""


def test_without_a_validation_split(tmp_path):
    answers = {"order": scores([0, 1, 0, 1], 2), "species": scores([0, 1, 2, 3], 4)}
    rows = eval_calibration.write(tmp_path, answers, TRUE, None, None)
    cells = [dict(zip(eval_calibration.HEADER, row, strict=True)) for row in rows]
    assert [row["temperature"] for row in cells] == [None, None]
    assert [row["accuracy"] for row in cells] == [0.75, 1.0]
    assert tables.read_csv(tmp_path / "calibration.csv")["ece_scaled"] == ["", ""]


def test_temperatures_at_a_limit_are_named():
    """20 is where the search ends, not what the validation images determine."""
    row = dict.fromkeys(eval_calibration.HEADER)
    rows = [
        list((row | {"rank": rank, "temperature": value}).values())
        for rank, value in (("family", 20.0), ("genus", 1.37), ("species", None))
    ]
    sentence = eval_calibration.limit_sentence(rows)
    assert sentence.startswith("A temperature at a limit of the search")
    assert "20 (family)" in sentence and "genus" not in sentence
    assert eval_calibration.limit_sentence(rows[1:]) == ""
