"""--mode=export of some taxa alone, and under another taxonomy."""

import csv
import json
import runpy

import pytest
import tiny_birds

from hiercam_keras import workdir
from hiercam_keras.data import sources
from hiercam_keras.runs import run_folder

pytest.importorskip("onnxruntime", reason="requirements-export.txt")
pytest.importorskip("jax2onnx", reason="requirements-export.txt")

RANK = ("species",)


@pytest.fixture(scope="module")
def taxonomy(trained):
    return run_folder.read(trained.path("species")).whole_taxonomy()


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def exported(trained, place, **flags):
    """The folder of an export, as example.py reads it: taxonomy.json and answers."""
    said = tiny_birds.run("export", trained.config, rank=RANK, out=str(place), **flags)
    assert "largest differences from the program" in said
    about = read(place, "taxonomy.json")
    records = {
        one.example_id: one.path
        for one in sources.load(trained.config.data, name="mini").records
    }
    program = runpy.run_path(str(place / "example.py"))
    session = program["open_network"]()

    def ask(example_id):
        photo, full = program["open_photo"](records[example_id])
        pixels, _ = program["square"](photo, full, None, about["image"])
        return program["ask"](session, pixels, about)

    return about, ask


def predicted(trained, path, **flags):
    """Rows of predict by picture, rank and lineage."""
    tiny_birds.run(
        "predict", trained.config, rank=RANK, out=str(path), top_k=8, **flags
    )
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {(r["example_id"], r["rank"], r["lineage"]): r for r in rows}


def same_probabilities(rows, about, ask):
    """Compares the answers of every picture with the rows of predict."""
    answers = {}
    for (example_id, rank, lineage), row in rows.items():
        if example_id not in answers:
            answers[example_id] = ask(example_id)
        names = ["/".join(taxon["lineage"]) for taxon in about["taxa"][rank]]
        share = answers[example_id][f"probabilities_{rank}"][names.index(lineage)]
        assert share == pytest.approx(float(row["probability"]), abs=1e-5)
    return answers


def test_an_export_of_some_taxa_answers_as_predict_does(trained, taxonomy, tmp_path):
    """With the probability of all of them together, below which no name is believed."""
    names = ",".join(taxonomy.names("family")[1:3])
    flags = {"allowed_taxa": names}
    about, ask = exported(trained, tmp_path / "some", **flags)
    assert about["least_allowed"] == 0.5
    assert {one["name"] for one in about["taxa"]["family"]} == set(names.split(","))
    rows = predicted(trained, tmp_path / "p.csv", **flags)
    answers = same_probabilities(rows, about, ask)
    for (example_id, *_), row in rows.items():
        masked = 1 - answers[example_id]["allowed"]
        assert masked == pytest.approx(float(row["masked_probability"]), abs=1e-5)
    assert {one["allowed"] < 0.5 for one in answers.values()} == {True, False}
    card = read(tmp_path / "some", "card.json")
    assert card["allowed_taxa"] == names
    assert f"the allowed taxa alone ({names})" in " ".join(card["limits"])
    page = (tmp_path / "some" / "README.md").read_text()
    assert f"the allowed taxa alone ({names})" in page


@pytest.mark.slow
def test_an_export_under_another_taxonomy_answers_as_predict_does(
    trained, taxonomy, tmp_path
):
    """A family is in an order of its own, its genus is divided, and two species are
    one."""
    table = tmp_path / "list2030.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "order", "family", "genus", "species"))
        for number, name in enumerate(taxonomy.names("species")):
            taxa = list(taxonomy.lineages[number].taxa[3:])
            if number < 2:
                taxa[0], taxa[2] = "Novaformes", f"Novus{number}"
            if number == 3:
                taxa[3] = taxonomy.lineages[2].taxa[-1]
            rows.writerow((name, *taxa))
    source = {"name": "List", "version": "v3", "year": 2030}
    workdir.write_json(table.with_suffix(".json"), source)
    flags = {"taxonomy": str(table)}
    about, ask = exported(trained, tmp_path / "other", **flags)
    assert about["taxonomy_source"] == source and "least_allowed" not in about
    count = taxonomy.num_labels("species")
    assert len(about["taxa"]["species"]) == count - 1
    assert "Novaformes" in {one["name"] for one in about["taxa"]["order"]}
    rows = predicted(trained, tmp_path / "p.csv", **flags)
    answers = same_probabilities(rows, about, ask)
    assert all(one["maps"].shape[0] == len(about["ranks"]) for one in answers.values())
    assert read(tmp_path / "other", "card.json")["taxonomy"] == "List v3 (2030)"
