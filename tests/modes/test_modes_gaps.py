"""A tree with gaps and common names goes through every mode.

Half of the genera are in no subfamily, and some species have a common name.
"""

import csv
import json
import re

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.runs import run_folder

pytestmark = pytest.mark.slow  # two trainings, and every mode

RANKS = ("family", "subfamily", "genus", "species")
SPECIES = {
    ("Anatidae", "Anatinae", "Anas", "crecca"): "common teal",
    ("Anatidae", "Anatinae", "Mareca", "penelope"): "Eurasian wigeon",
    ("Anatidae", "", "Cygnus", "olor"): "mute swan",
    ("Anatidae", "", "Cygnus", "cygnus"): "whooper swan",
    ("Ardeidae", "", "Ardea", "cinerea"): "grey heron",
    ("Ardeidae", "", "Bubulcus", "ibis"): "",
    ("Ardeidae", "Botaurinae", "Botaurus", "stellaris"): "bittern",
    ("Ardeidae", "Botaurinae", "Ixobrychus", "minutus"): "little bittern",
}
EACH = 8  # pictures of a species


def draw(root):
    """A table of pictures of blobs in the colors of their species."""
    rng = np.random.default_rng(0)
    lines = [f"path,{','.join(RANKS)},common_name,split,x0,y0,x1,y1"]
    for number, (taxa, common) in enumerate(SPECIES.items()):
        color = 60 + 180 * np.array([number & 1, number >> 1 & 1, number >> 2])
        for k in range(EACH):
            pixels = rng.integers(90, 110, (48, 56, 3)).astype(np.uint8)
            pixels[14:34, 14:42] = np.clip(color + rng.integers(-20, 20), 0, 255)
            path = f"{taxa[-1]}{k}.png"
            Image.fromarray(pixels).save(root / path)
            split = ("test", "val", "train")[min(k // 2, 2)]
            lines.append(",".join([path, *taxa, common, split, "14,14,42,34"]))
    (root / "table.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Runs at species, and at subfamily + species, of one epoch each."""
    root, folder = tmp_path_factory.mktemp("gaps"), tmp_path_factory.mktemp("runs")
    draw(root)
    config = tiny_birds.make_config(folder, root)
    config.data.source = "csv_table"
    config.data.cache_dir = str(folder / "cache")
    config.data.noun = "bird"
    config.train.epochs = 1
    config.compare.faithfulness_images = 0
    config.coherence.faithfulness_images = 0
    config.compare.num_images = -1
    for rank in (("species",), ("subfamily", "species")):
        tiny_birds.run("train", config, rank=rank)
    return config


@pytest.fixture(scope="module")
def taxonomy(config):
    (run, _) = run_folder.list_runs(config.runs_dir)
    return run.taxonomy()


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_tree_has_gaps_and_names(taxonomy):
    assert [taxonomy.num_labels(rank) for rank in RANKS] == [2, 2, 7, 8]
    assert taxonomy.parents("genus", "subfamily").tolist().count(-1) == 3
    assert len(taxonomy.common_names) == 7


def test_eval_counts_pictures_at_the_ranks_that_they_have(config, tmp_path):
    out = tmp_path / "eval"
    text = tiny_birds.run("eval", config, rank=("species",), out=str(out))
    assert "8 have no subfamily" in text
    by_rank = {row["rank"]: row for row in rows_of(out / "accuracy.csv")}
    assert {rank: row["images"] for rank, row in by_rank.items()} == {
        "family": "16", "subfamily": "8", "genus": "16", "species": "16"
    }  # fmt: skip
    for row in rows_of(out / "predictions.csv"):
        swan = row["true_genus"] in ("Cygnus", "Ardea", "Bubulcus")
        assert (row["true_subfamily"] == "") == swan
    several = ("subfamily", "species")
    tiny_birds.run("eval", config, rank=several, out=str(out))
    assert rows_of(out / "paths.csv")[-1]["head"] == "all"


def test_predict_names_taxa_and_their_common_names(config, taxonomy, tmp_path):
    out = tmp_path / "answers.csv"
    text = tiny_birds.run("predict", config, rank=("species",), out=str(out), top_k=9)
    rows = rows_of(out)
    assert list(rows[0])[-1] == "common_name"
    first = [row for row in rows if row["example_id"] == rows[0]["example_id"]]
    total = dict.fromkeys(RANKS, 0.0)
    for row in first:
        total[row["rank"]] += float(row["probability"])
        label = taxonomy.label(tuple(row["lineage"].split("/")), row["rank"])
        assert taxonomy.common_name(row["rank"], label) == row["common_name"]
    for rank in ("family", "genus", "species"):
        assert total[rank] == pytest.approx(1, abs=1e-4)
    assert 0 < total["subfamily"] < 0.99  # the others have no subfamily
    best = next(row for row in first if row["rank"] == "species")
    if best["common_name"]:
        assert f"({best['common_name']})" in text


@pytest.mark.parametrize("name", ["olor0.png", "crecca0.png"])
def test_cam_draws_a_photo(config, tmp_path, name):
    photo = f"{config.data.root}/{name}"
    text = tiny_birds.run(
        "cam", config, rank=("species",), image=photo, out=str(tmp_path),
        target="Mute Swan", chosen_rank=True,
    )  # fmt: skip
    assert "asked for Cygnus olor (mute swan)" in text
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_maps_of_a_rank_that_not_all_have(config, caplog):
    text = tiny_birds.run("cam", config, rank=("species",), target_rank="subfamily")
    assert "16 maps of the test split" in text
    text = tiny_birds.run(
        "cam", config, rank=("species",), target_rank="subfamily", target="true"
    )
    assert "8 maps of the test split" in text
    assert "8 images left out: without a subfamily" in caplog.text
    with pytest.raises(UserError, match="Did you mean 'Cygnus cygnus .whooper swan"):
        tiny_birds.run("cam", config, rank=("species",), target="swan")


def test_the_page_of_compare(config, taxonomy, tmp_path):
    tiny_birds.run("compare", config, ranks=("subfamily", "species"), out=str(tmp_path))
    text = (tmp_path / "index.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    data = json.loads(found[1])
    known = {p for rank in RANKS for p in taxonomy.prefixes(rank)}
    assert all(tuple(taxa) in known for taxa in data["lineages"])
    assert len(data["pictures"]) == 16
    assert [one["rank"] for one in data["models"]] == ["species", *["subfamily"] * 2]
    for picture in data["pictures"]:
        true = data["lineages"][picture["true"]]
        assert picture["common"] == SPECIES[tuple(true)]
        species, subfamily, asked = picture["views"]
        assert subfamily["known"] == species["known"] == 4
        # Who is in no subfamily is neither right nor wrong there.
        for view in (subfamily, asked):
            assert (view["right"] is None) == (true[1] == "")
            assert len(data["lineages"][view["predicted"]]) == 2
        step = next(one for one in picture["steps"] if one["rank"] == "subfamily")
        path = data["lineages"][species["predicted"]]
        if path[1]:
            assert step["name"] == path[1] and step["p"] is not None
        else:
            assert step["name"] == "" and step["note"] == "no subfamily on this path"
    for row in rows_of(tmp_path / "steps.csv"):
        if row["rank"] == "subfamily" and row["predicted_label"] == "-1":
            assert row["correct"] == "" and row["only_child"] == "False"


def test_the_guide(config, taxonomy, tmp_path):
    text = tiny_birds.run("guide", config, rank=("species",), out=str(tmp_path))
    assert "subfamily" in text
    pages = {one.stem: one.read_text() for one in (tmp_path / "taxa").iterdir()}
    assert len(pages) == sum(taxonomy.num_labels(rank) for rank in RANKS)
    for name, page in pages.items():
        for link in re.findall(r'href="([a-z]+-\d+)\.html"', page):
            assert link in pages, (name, link)
        assert not re.search('class="name"[^>]*></(a|b|span)>', page)  # no empty name
    swan = taxonomy.find("mute swan")[1]
    page = pages[f"species-{swan:05d}"]
    genus = taxonomy.parents("species", "genus")[swan]
    assert re.findall(r'href="([a-z]+-\d+)\.html"', page)[:2] == [
        "family-00000", f"genus-{genus:05d}"
    ]  # fmt: skip
    assert "mute swan" in page and "whooper swan" in page
    # The family leads to its subfamily, and to the genus that is in none.
    family = pages["family-00000"].partition("Its taxa")[2]
    assert re.findall(r'href="([a-z]+)-', family) == ["genus", "subfamily"]
    rows = {row["taxon"]: row for row in rows_of(tmp_path / "taxa.csv")}
    assert rows["Anatidae//Cygnus"]["siblings"] == "1"
    assert rows["Anatidae/Anatinae"]["siblings"] == "1"


def test_localize(config):
    text = tiny_birds.run("localize", config, rank=("species",))
    assert "MaxBoxAcc" in text
    (path,) = (one for one in _results(config).rglob("taxa_subfamily.csv"))
    assert sum(int(row["images"]) for row in rows_of(path)) == 8


def test_belief_ends_at_taxa_that_are_there(config, taxonomy, tmp_path):
    """By the fixed rule, as the pictures are too few to calibrate on."""
    out = tmp_path / "answers.csv"
    fields = {"believe.rule": "rollup"}
    for mode in ("predict", "eval"):
        tiny_birds.run(mode, config, rank=("species",), out=str(out), fields=fields)
        out = tmp_path / "eval"
    for row in rows_of(tmp_path / "answers_believed.csv"):
        if row["believed_rank"]:
            assert row["believed_taxon"]
    assert len(rows_of(tmp_path / "eval" / "believed.csv")) == 16


def _results(config):
    runs = run_folder.list_runs(config.runs_dir)
    return next(run for run in runs if run.ranks == ("species",)).results
