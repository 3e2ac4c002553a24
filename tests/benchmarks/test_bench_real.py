"""The measurements on real photographs: folds, what is reset, and the tables."""

import json
from collections import Counter

import numpy as np
import pytest

from benchmarks.real import finetune, names, page, photographs
from configs import default
from hiercam_keras import tables
from hiercam_keras.data.records import Record
from hiercam_keras.taxonomy.lineage import Lineage

ORDERS = {"A": 9, "B": 4, "C": 2, "D": 1}  # order -> species


def _record(order, epithet, number=0):
    lineage = Lineage((order, epithet), ("order", "species"))
    return Record(f"{order}_{epithet}/{number}.jpg", None, lineage)


RECORDS = [
    _record(order, f"s{number}") for order, n in ORDERS.items() for number in range(n)
] + [_record("A", "s0", 1)]  # two photographs of one species


def test_orders_with_one_species_cannot_be_tested():
    kept, left_out = photographs.testable(RECORDS)
    assert left_out == {"D": 1}
    assert len(kept) == 16
    twice = [_record("E", "s0"), _record("E", "s0", 1)]
    assert photographs.testable(twice) == ([], {"E": 2})


@pytest.mark.parametrize("seed", range(5))
def test_folds_part_species_evenly_and_leave_every_order_in_training(seed):
    kept, _ = photographs.testable(RECORDS)
    folds = photographs.folds(kept, 5, seed)
    by_species = {}
    for record, fold in zip(kept, folds, strict=True):
        by_species.setdefault(record.lineage.taxa, set()).add(fold)
    assert all(len(found) == 1 for found in by_species.values())
    assert sorted(Counter(min(f) for f in by_species.values()).values()) == [3] * 5
    for fold in range(5):
        trained = {photographs.order_of(r) for r, f in zip(kept, folds) if f != fold}  # noqa: B905
        assert trained == {"A", "B", "C"}
    np.testing.assert_array_equal(folds, photographs.folds(kept, 5, seed))
    assert (folds != photographs.folds(kept, 5, seed + 1)).any()


class _Noise:
    """Photographs of noise, of the interface of `Photos`."""

    def __init__(self, size):
        self._images = np.random.default_rng(0).integers(
            0, 256, (24, size, size, 3), dtype=np.uint8
        )

    def center(self, places):
        return self._images[places]

    def crops(self, places, seed, epoch):
        return np.roll(self._images[places], seed + epoch, axis=2)


def test_every_fold_begins_with_the_weights_of_its_seed(monkeypatch):
    """A fold's answers do not depend on the folds that were trained before it."""
    monkeypatch.setitem(finetune.NETWORKS, "tiny", ("user_networks:nested", None))
    config = finetune.settings("tiny", 32, 2)
    photos, labels = _Noise(32), np.arange(24) % 3
    network = finetune.Network(config, 3, steps_per_epoch=2)
    first, second = np.arange(16), np.arange(4, 24)

    def answers(places, seed):
        network.fit(photos, places, labels, seed)
        return network.logits(photos.center(np.arange(11)))

    once = answers(first, 0)
    assert once.shape == (11, 3)
    other = answers(second, 1)
    np.testing.assert_array_equal(answers(first, 0), once)
    np.testing.assert_array_equal(answers(second, 1), other)
    assert np.abs(once - other).max() > 1e-3
    assert np.abs(answers(first, 1) - other).max() > 1e-3


def test_a_line_that_was_cut_short_is_no_fold(tmp_path):
    path = tmp_path / "folds.jsonl"
    assert finetune.read(path) == []
    path.write_text('{"fold": 0}\n{"fold": 1, "answ\n{"fold": 2}\n')
    assert finetune.read(path) == [{"fold": 0}, {"fold": 2}]


def test_seeds_count_up_to_the_first_that_lacks_a_fold():
    records = [_record("A", "s0"), _record("B", "s0")]
    right = [[record.example_id, photographs.order_of(record)] for record in records]
    wrong = [[right[1][0], "A"]]

    def fold(network, seed, number, answers):
        return {"network": network, "seed": seed, "fold": number, "answers": answers}

    rows = [
        fold("b0-none", 0, 0, right[:1]),
        fold("b0-none", 0, 1, wrong),
        fold("b0-none", 1, 1, right[1:]),
        fold("b0-none", 1, 0, right[:1]),
        fold("b0-none", 2, 0, right[:1]),  # its fold 1 is missing
        fold("b0-none", 3, 0, right[:1]),
        fold("b0-none", 3, 1, right[1:]),
        fold("lite0-none", 0, 0, right[:1]),
    ]
    found = finetune.summary(rows, records, folds=2)
    assert [row["b0-none"] for row in found] == ["1 1", "0 1"]  # of seeds 0 and 1
    assert "lite0-none" not in found[0]


def test_each_order_counts_alike():
    """Order A: 2 of 4 right; order B: 2 of 2. Mean of 1/2 and 1, not 4/6."""
    orders = np.array(["A"] * 4 + ["B"] * 2)
    hits = np.array([[1.0], [1], [0], [0], [1], [1]])
    found = page.mean_over_orders(hits, list("abcdef"), orders)
    assert found.value == pytest.approx(0.75)
    assert page.share(hits, list("abcdef")).value == pytest.approx(4 / 6)


def test_tables_replace_what_is_between_the_marks():
    text = "a\n<!-- table: one -->\nold\n<!-- end -->\nb <!-- end -->"
    found = page.render(text, {"one": "new", "two": "unused"})
    assert found == "a\n<!-- table: one -->\nnew\n<!-- end -->\nb <!-- end -->"
    with pytest.raises(KeyError, match="one"):
        page.render(text, {})


def test_the_page_has_the_tables_of_its_files():
    """docs/REAL.md was written from the CSV files next to it."""
    text = (page.DOCS / "REAL.md").read_text()
    assert page.render(text, page.made(page.DOCS / "real")) == text


def test_the_tables_have_the_documented_columns():
    maps = tables.read_csv(page.DOCS / "real" / "maps.csv")
    assert list(maps) == names.columns()
    folds = tables.read_csv(page.DOCS / "real" / "folds.csv")
    assert set(page.networks(folds)) <= set(finetune.NETWORKS)
    assert json.loads((page.DOCS / "real" / "folds.json").read_text())["versions"]


def test_there_is_a_box_for_every_photograph(real_data, monkeypatch):
    """The program's own reader takes the table, with its checks of sizes."""
    monkeypatch.setenv("HIERCAM_REAL_DATA", str(real_data))
    found = photographs.records()
    assert len(found) == 54
    for record in found:
        (box,) = record.boxes
        area = (box[2] - box[0]) * (box[3] - box[1])
        assert 0.01 < area / (record.width * record.height) < 0.9


def test_photographs_are_decoded_once_for_crops_and_centers(real_data, monkeypatch):
    monkeypatch.setenv("HIERCAM_REAL_DATA", str(real_data))
    records = photographs.records()[:3]
    photos = finetune.Photos(records, 32, default.get_config().augment)
    places = np.array([2, 0])
    assert photos.center(places).shape == (2, 32, 32, 3)
    once = photos.crops(places, seed=0, epoch=1)
    np.testing.assert_array_equal(once, photos.crops(places, 0, 1))
    np.testing.assert_array_equal(once[1], photos.crops(places[1:], 0, 1)[0])
    assert (once != photos.crops(places, 0, 2)).any()
