"""Tables of pictures that are in groups: what they carry and what is resampled."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hiercam_keras import tables
from hiercam_keras.data.records import Record
from hiercam_keras.evaluation import ground_truth
from hiercam_keras.evaluation import table as table_lib
from hiercam_keras.evaluation.regions import Regions
from hiercam_keras.evaluation.tabulate import Answer, Chunk, tabulate
from hiercam_keras.metrics import resampling
from hiercam_keras.modes.comparison import measure
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy


def chunks_of(groups, num_species, per_chunk=20):
    """Chunks of pictures with constant maps, whose answer is right for every second."""
    lineages = [
        Lineage((f"f{k % 2}", f"s{k}"), ("family", "species"))
        for k in range(num_species)
    ]
    records = [
        Record(f"{n}.jpg", Path(f"{n}.jpg"), lineages[n % num_species], group=group)
        for n, group in enumerate(groups)
    ]
    taxonomy = Taxonomy(lineages)
    made = []
    for start in range(0, len(records), per_chunk):
        part = records[start : start + per_chunk]
        count = len(part)
        right = taxonomy.labels([one.lineage for one in part], "species")
        predicted = np.where(np.arange(start, start + count) % 2, right, -2)
        answer = Answer(
            np.ones((count, 4, 4)),
            np.zeros(count, bool),
            np.zeros(count, bool),
            {"predicted": predicted, "probability": np.ones(count)},
        )
        regions = Regions(np.full((count, 4, 4), np.nan), np.full(count, ""), None)
        made.append(Chunk(part, regions, {"q": answer}))
    return made, taxonomy


def make(groups, num_species):
    made, taxonomy = chunks_of(groups, num_species)
    return tabulate(made, taxonomy, {"q": "species"}, measured={})


def test_a_table_without_groups_is_that_of_before(tmp_path):
    table = make([None] * 40, 12)
    assert "group" not in table.pictures
    assert table.clusters is table.groups and table.resampled == "species"


def test_groups_travel_with_the_pictures(tmp_path):
    """The first chunk has no group, the second has."""
    table = make([None] * 20 + [f"v{n // 5}" for n in range(20)], 4)
    assert table.pictures["group"].tolist()[18:22] == ["", "", "v0", "v0"]
    assert len(set(table.clusters)) == 20 + 4 and table.resampled == "groups"
    table_lib.save(tmp_path / "table.npz", table)
    again = table_lib.load(tmp_path / "table.npz")
    np.testing.assert_array_equal(again.clusters, table.clusters)
    taken = table.take([0, 20, 25])
    assert taken.pictures["group"].tolist() == ["", "v0", "v1"]
    # With too few groups there is no interval.
    assert resampling.share(taken.hits("q"), taken.clusters).too_few


def test_numbers_carry_the_group(tmp_path):
    columns = {}
    for name, groups in (
        ("with", [f"v{n // 4}" for n in range(40)]),
        ("without", [None] * 40),
    ):
        table = make(groups, 4)
        rows = {one: np.full((40, 1), "x") for one in ("coherence", "coherence_basis")}
        values = {**table.values, **rows}
        pictures = {**table.pictures, "agreement": np.zeros(40)}
        table = dataclasses.replace(table, values=values, pictures=pictures)
        compared = measure.Compared(table, ())
        measure.write_numbers(tmp_path / f"{name}.csv", compared)
        columns[name] = tables.read_csv(tmp_path / f"{name}.csv")
        assert compared.num_species("q") == 4
        found = compared.accuracy("q")
        assert found.n == 40 and found.value == pytest.approx(0.5)
        assert found.too_few == (name == "without")
        assert found.groups == (10 if name == "with" else 4)
    group = columns["with"].pop("group")
    assert group == [f"v{n // 4}" for n in range(40)]
    assert columns["with"] == columns["without"]


def test_localization_resamples_together_what_shares_a_group():
    """Taxa 1 and 3 share a burst, 3 and 4 another one; 2 has no image."""
    labels = [0, 1, 1, 3, 3, 4, 5]
    groups = ["a", "b", "c", "c", "d", "d", ""]
    marked = [ground_truth.Marked(None, 1, 1, (), group=group) for group in groups]
    images, sets = ground_truth.resampled(marked, labels, 6)
    assert sets.tolist() == [0, 1, 2, 1, 1, 5]
    assert images.tolist() == ["0", "1", "1", "1", "1", "1", "5"]
    # Few sets and many groups: images by their groups, counts by sets of taxa.
    labels = [number % 2 for number in range(40)]
    marked = [
        ground_truth.Marked(None, 1, 1, (), group=f"g{number // 2}")
        for number in range(40)
    ]
    images, sets = ground_truth.resampled(marked, labels, 2)
    assert sets.tolist() == [0, 0] and len(set(images)) == 20
    alone = [ground_truth.Marked(None, 1, 1, ())] * 3
    images, sets = ground_truth.resampled(alone, [0, 1, 1], 2)
    assert images.tolist() == ["0", "1", "1"] and sets.tolist() == [0, 1]
