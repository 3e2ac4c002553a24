"""Exchanged birds next to a data set, by its folder."""

import functools
from types import SimpleNamespace

import pytest

from hiercam_keras import birds
from hiercam_keras.data import exchanged
from hiercam_keras.data.records import Record
from hiercam_keras.taxonomy.lineage import parse_class_name

SYNTHETIC = {
    **{"orders": 2, "families": 2, "genera": 1, "species": 2},
    **{"images_per_species": 2, "image_size": (64, 64)},
}


@pytest.mark.parametrize("root", ["../my birds", "."])
def test_the_folder_is_next_to_the_data_however_they_are_named(
    tmp_path, monkeypatch, root
):
    """Each bird once as it was, and with its parts exchanged."""
    write = functools.partial(birds.write_interventions, workers=0)
    monkeypatch.setattr(birds, "write_interventions", write)
    (tmp_path / "my birds").mkdir()
    monkeypatch.chdir(tmp_path / "my birds")
    leaf = birds.DatasetSettings(**SYNTHETIC).tree()[0].class_dir
    record = Record(f"{leaf}/0000.jpg", tmp_path / "x.jpg", parse_class_name(leaf))
    found = exchanged.draw(SimpleNamespace(root=root, synthetic=SYNTHETIC), [record])
    folder = tmp_path / "my birds-exchanged"
    assert {path.name for path in tmp_path.iterdir()} == {"my birds", folder.name}
    (plain,) = found.plain
    assert plain.path.is_file() and plain.path.is_relative_to(folder)
    assert {one.of for one in found.exchanged} == {record.example_id}
    assert len({one.record.example_id for one in found.exchanged}) > 8
    assert all(one.record.path.is_file() for one in found.exchanged)
