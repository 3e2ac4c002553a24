"""Common names of the images' data in the answers of a network trained without."""

import csv
import dataclasses

import pytest
import tiny_birds

from hiercam_keras.modes import data_names, load
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy import Lineage


@pytest.fixture(scope="module")
def names(trained, tmp_path_factory):
    """A table of two common names, as `data.common_names`, and its first species."""
    taxonomy = run_folder.read(trained.path("species")).taxonomy()
    species, family = taxonomy.names("species")[0], taxonomy.names("family")[0]
    table = tmp_path_factory.mktemp("names") / "names.csv"
    table.write_text(
        f"scientific_name,common_name\n{species},little drawn bird\n"
        f"{family},drawn birds\n"
    )
    return {"data.common_names": str(table)}, species, family


def test_predict_and_target_know_them(trained, names, tmp_path):
    fields, species, family = names
    out = tmp_path / "answers.csv"
    settings = {"rank": ("species",), "fields": fields}
    tiny_birds.run("predict", trained.config, out=str(out), top_k=9, **settings)
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    shown = {(row["taxon"], row["common_name"]) for row in rows if row["common_name"]}
    assert shown == {(species, "little drawn bird"), (family, "drawn birds")}
    tiny_birds.run("predict", trained.config, rank=("species",), out=str(out))
    assert "common_name" not in out.read_text().splitlines()[0]  # as before
    fields = {**fields, "cam.num_overlays": 0}
    text = tiny_birds.run(
        "cam", trained.config, rank=("species",), fields=fields, target="Drawn Birds"
    )
    assert "maps of the test split" in text


def test_photographs_and_allowed_taxa_have_them(trained, names, drawn, tmp_path):
    """A table of names on the command line counts where no data set is opened."""
    fields, species, family = names
    photo = str(next(drawn.rglob("*.jpg")))
    settings = {"rank": ("species",), "fields": fields, "image": photo}
    out = tmp_path / "answers.csv"
    tiny_birds.run("predict", trained.config, out=str(out), top_k=9, **settings)
    with open(out, newline="") as file:
        shown = {(row["taxon"], row["common_name"]) for row in csv.DictReader(file)}
    assert {(species, "little drawn bird"), (family, "drawn birds")} < shown
    flags = {"target": "little drawn bird", "allowed_taxa": "Drawn Birds"}
    text = tiny_birds.run("cam", trained.config, out=str(tmp_path), **flags, **settings)
    assert f"asked for {species} (little drawn bird)" in text
    assert f"{family} (drawn birds)" in text or family not in text


def test_names_are_matched_to_a_network_with_other_ranks(trained, names):
    """As where a network was imported: by whole name, not by lineage."""
    fields, species, _ = names
    config = trained.config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    run = run_folder.read(trained.path("species"))
    settings = Settings(mode="eval", config=config, overrides=fields)
    data = load.open_run(settings, run)
    assert data.taxonomy.find("little drawn bird")[0] == "species"
    record = data.source.records[0]
    assert data.common_name(record.lineage) in ("little drawn bird", "")
    ranks = ("family", "genus", "species")
    fewer = [
        dataclasses.replace(one, lineage=Lineage(tuple(one.lineage.taxa[-3:]), ranks))
        for one in data.source.records
    ]
    names = {
        prefix[-3:]: name
        for prefix, name in data.source.common_names.items()
        if len(prefix) == len(record.lineage.ranks)
    }
    source = dataclasses.replace(data.source, records=fewer, common_names=names)
    taxonomy = data_names.with_names(run, source).taxonomy()
    label = taxonomy.find("little drawn bird", "species")[1]
    assert taxonomy.names("species")[label] == species
