"""Copies of tables in a run folder: what is kept, and when it is read."""

import shutil
from pathlib import Path

import pytest
from ml_collections import FrozenConfigDict

from hiercam_keras.runs import inputs
from hiercam_keras.taxonomy import name_table

TABLE = "name,family,genus,species\nAccipiter badius,Accipitridae,Tachyspiza,badia\n"


@pytest.fixture
def files(tmp_path):
    """A table with its name and version, one of lineages, and one of common names."""
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "list.csv").write_text(TABLE)
    (folder / "list.json").write_text('{"name": "List", "version": "v3"}')
    (folder / "taxa.csv").write_text("folder,family,species\na,A,a\n")
    (folder / "names.csv").write_text("scientific_name,common_name\na,b\n")
    return folder


def config_of(**data):
    fields = {"taxonomy": "", "lineages": "", "common_names": "auto", **data}
    return FrozenConfigDict({"data": {**fields, "choe": {"lineages": ""}}})


def test_a_table_that_is_gone_or_was_changed(files, tmp_path, caplog):
    run, table = tmp_path / "run", files / "list.csv"
    config = config_of(taxonomy=str(table))
    inputs.keep(run, config, [])
    for change in (None, lambda: table.write_text(TABLE + "x,y,z,w\n"), table.unlink):
        caplog.clear()
        if change is not None:
            change()
        kept = inputs.restored(config, run).data.taxonomy
        assert name_table.read(kept).find("Accipiter badius") is not None
        assert str(name_table.read(kept).about) == "List v3"
        assert name_table.read(kept).name == "list"  # names the folders of results
        changed = change is not None and table.exists()
        assert ("was changed since the training" in caplog.text) == changed
    assert inputs.restored(config, run, {"data.taxonomy"}) is config
    assert inputs.restored(config, tmp_path / "older") is config
    table.write_text("other")
    inputs.keep(run, config, [])  # what is kept stays
    assert name_table.read(inputs.restored(config, run).data.taxonomy).ranks


def test_the_table_of_the_package_is_kept_like_any_other(tmp_path):
    config = config_of(taxonomy=name_table.AVILIST)
    inputs.keep(tmp_path, config, [])
    kept = inputs.restored(config, tmp_path).data.taxonomy
    own, copy = name_table.read(name_table.AVILIST), name_table.read(kept)
    assert (copy.digest, copy.about, copy.name) == (own.digest, own.about, own.name)
    assert kept.startswith(str(tmp_path))


def test_tables_of_the_images_are_read_at_their_place_while_they_are_there(
    files, tmp_path
):
    """Other images have a table of their own, which a relative path means."""
    run, names = tmp_path / "run", str(files / "names.csv")
    config = config_of(lineages="taxa.csv", common_names=names)
    inputs.keep(run, config, [files])
    assert inputs.restored(config, run, places=[files]) is config
    shutil.rmtree(files)
    found = inputs.restored(config, run, places=[files]).data
    assert "folder,family" in Path(found.lineages).read_text()
    assert "scientific" in Path(found.common_names).read_text()
    inputs.keep(run, config_of(common_names="local"), [])  # a column


def test_a_huge_table_is_not_copied(files, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(inputs, "_MAX_MB", 0)
    config = config_of(taxonomy=str(files / "list.csv"))
    inputs.keep(tmp_path, config, [])
    assert "no copy is kept in the run folder" in caplog.text
    assert inputs.restored(config, tmp_path) is config
