"""Tables of batches of which some have pictures in groups and some have none."""

import dataclasses

import numpy as np

from hiercam_keras.evaluation.table import Table, joined


def test_groups_of_some_tables_are_kept():
    one = Table(
        np.array(["a", "b"]),
        np.array(["s", "s"]),
        ("q",),
        ("species",),
        {"energy": np.zeros((2, 1))},
        {"object_area": np.ones(2), "group": np.array(["g", "g"])},
        {},
    )
    other = dataclasses.replace(
        one,
        example_ids=np.array(["c"]),
        groups=np.array(["t"]),
        values={"energy": np.zeros((1, 1))},
        pictures={"object_area": np.ones(1)},
    )
    for tables in ([one, other], [other, one]):
        found = joined(tables)
        by_id = dict(zip(found.example_ids, found.pictures["group"], strict=True))
        assert by_id == {"a": "g", "b": "g", "c": ""}
        assert len(np.unique(found.clusters)) == 2
    assert "group" not in joined([other, other]).pictures
