"""The tables of docs/PARTIAL.md: which labels are cut, and how results are shown."""

import csv
from pathlib import Path

import pytest

from benchmarks import partial
from hiercam_keras.data.records import Record
from hiercam_keras.taxonomy import parse_class_name

NAMES = [
    f"0000{i}_Animalia_Chordata_Aves_O{i // 2}_F{i // 2}_G{i}_s{i}" for i in range(4)
]


@pytest.fixture
def records():
    return [
        Record(
            f"{name}/{i}.jpg", Path(f"/birds/{name}/{i}.jpg"), parse_class_name(name)
        )
        for name in NAMES
        for i in range(12)
    ]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_half_of_the_training_labels_are_cut(tmp_path, records):
    path, root = tmp_path / "t.csv", Path("/birds")
    found = partial.write_table(path, root, records, seed=0, cut=True, train=8)
    assert found == {"order": 0, "family": 8, "genus": 8, "species": 16}
    rows = rows_of(path)
    known = [bool(row["species"]) for row in rows if row["split"] == "train"]
    assert sum(known) == 16
    assert sum(row["split"] == "test" for row in rows) == 16
    assert all(row["species"] for row in rows if row["split"] == "test")
    assert all(row["genus"] or not row["species"] for row in rows)
    assert rows[0]["path"].startswith(NAMES[0])
    whole = tmp_path / "whole.csv"
    found = partial.write_table(whole, root, records, seed=0, cut=False, train=8)
    assert found["species"] == 32
    same = [(row["path"], row["split"]) for row in rows_of(whole)]
    assert same == [(row["path"], row["split"]) for row in rows]


def test_a_row_for_each_kind_with_mean_and_range():
    rows = [
        {"kind": kind, "images": 9, "accuracy": dict.fromkeys(partial.RANKS, value)}
        for kind in partial.KINDS
        for value in (0.25, 0.75)
    ]
    lines = partial.table(rows).splitlines()
    assert len(lines) == 2 + len(partial.KINDS)
    assert lines[2].startswith("| all images | 9 | 2 | 0.500 (0.250 to 0.750) |")
