"""Taxa without a training image: named, left out of the heads, reported apart."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import runtime, tables
from hiercam_keras.data import splits
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.modes import load, splitting, untrained
from hiercam_keras.modes import train as train_mode
from hiercam_keras.taxonomy.lineage import parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training import fit

NISUS, GENTILIS, BUTEO, TYTO = (
    f"0000{i}_Animalia_Chordata_Aves_{name}"
    for i, name in enumerate(
        (
            "Accipitriformes_Accipitridae_Accipiter_nisus",
            "Accipitriformes_Accipitridae_Accipiter_gentilis",
            "Accipitriformes_Accipitridae_Buteo_buteo",
            "Strigiformes_Tytonidae_Tyto_alba",
        )
    )
)


@pytest.fixture
def dealt():
    """Four species, of which train has two; and their split."""
    where = {"train": (NISUS, BUTEO), "val": (GENTILIS, BUTEO), "test": (TYTO, NISUS)}
    records, parts = [], {}
    for part, names in where.items():
        ids = [f"{name}/{part}.jpg" for name in names]
        records += [
            Record(one, None, parse_class_name(name))
            for one, name in zip(ids, names, strict=True)
        ]
        parts[part] = tuple(ids)
    return records, splits.Split(**parts)


def choose(dealt, choice):
    records, split = dealt
    everything = Taxonomy(record.lineage for record in records)
    ranks = ("order", "species")
    return untrained.taxonomy_of(records, split, everything, ranks, choice)


def test_heads_know_what_was_trained(dealt, caplog):
    with caplog.at_level(logging.WARNING):
        taxonomy, truth = choose(dealt, "drop")
    assert taxonomy.names("species") == ("Accipiter nisus", "Buteo buteo")
    lineages = [record.lineage for record in dealt[0]]
    assert truth.labels(lineages, "species").tolist() == [0, 1, -1, 1, -1, 0]
    assert truth.labels(lineages, "genus").tolist() == [0, 1, 0, 1, -1, 0]
    assert truth.labels(lineages, "order").tolist() == [0, 0, 0, 0, -1, 0]
    said = caplog.text
    assert "2 taxa of 4 at species without a training image: Accipiter gentilis" in said
    assert "1 taxon of 2 at order without a training image: Strigiformes" in said
    assert (
        "Of 2 val images, no training image shows the taxon of 1 at species (Acc"
        in said
    )
    assert "1 at order (Strigiformes); 1 at species (Tyto alba). They are not" in said


def test_all_taxa_can_be_kept(dealt, caplog):
    taxonomy, truth = choose(dealt, "keep")
    assert truth.taxonomy is taxonomy
    assert taxonomy == Taxonomy(record.lineage for record in dealt[0])
    assert "They stay in the head" in caplog.text
    assert "1 at order and 1 at species cannot be answered right" in caplog.text
    with pytest.raises(UserError, match="data.untrained_taxa is 'drp'.*drop, keep"):
        choose(dealt, "drp")


def test_validation_images_need_a_label_at_some_rank(dealt):
    _, truth = choose(dealt, "drop")
    found = untrained.known(dealt[0], truth, ("order", "species"))
    assert [TYTO in record.example_id for record in found] == [False] * 5
    assert len(untrained.known(dealt[0], truth, ("species",))) == 4


GENERA = [f"Aus{letter}" for letter in "abcdefghijkl"]


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """Two genera with ten images of each, and twelve with one."""
    data = tmp_path_factory.mktemp("sparse") / "images"
    for k, genus in enumerate(("Bus", "Cus", *GENERA)):
        name = f"{k:05d}_Animalia_Chordata_Aves_Fam{k % 2}formes_Fam{k % 2}_{genus}_x"
        (data / name).mkdir(parents=True)
        for i in range(10 if k < 2 else 1):
            rng = np.random.default_rng([k, i])
            pixels = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(data / name / f"{i}.jpg")
    return data


def experiment(folder, sparse, **fields):
    config = tiny_birds.make_config(folder, folder / "none")
    config.data.source = "image_folder"
    config.train.epochs = 2
    config.update_from_flattened_dict(fields)
    flags = {"rank": ("genus",), "data_dir": str(sparse)}
    said = tiny_birds.run("train", config, **flags)
    (run,) = Path(config.runs_dir).glob("*/genus/seed0")
    return config, run, said


@pytest.fixture(scope="module")
def dropped(tmp_path_factory, sparse):
    return experiment(tmp_path_factory.mktemp("dropped"), sparse)


def genera(run, part):
    lines = (run / "split" / f"{part}.txt").read_text().split()
    return [line.split("/")[0].split("_")[6] for line in lines]


def test_a_training_leaves_them_out_and_its_test_reports_them_apart(dropped, sparse):
    config, run, said = dropped
    trained, asked = set(genera(run, "train")), genera(run, "test")
    lost = [genus for genus in asked if genus not in trained]
    assert lost and len(lost) < len(asked)  # else the seed shows nothing
    record = json.loads((run / "taxonomy.json").read_text())
    assert {one["taxa"][5] for one in record["lineages"]} == trained
    said = tiny_birds.run("eval", config, rank=("genus",))
    assert f"the taxon of {len(lost)} at genus" in said
    rows = tables.read_csv(run / "eval" / "test" / "accuracy.csv")
    at = rows["rank"].index("genus")
    assert int(rows["images"][at]) == len(asked) - len(lost)
    assert int(rows["taxa"][at]) == len(trained)
    # The commonest genus of the training is among those that are asked for.
    known = [genus for genus in asked if genus in trained]
    common = max(sorted(trained), key=genera(run, "train").count)
    assert float(rows["chance"][at]) == pytest.approx(known.count(common) / len(known))
    assert float(rows["chance"][at]) > 0
    apart = tables.read_csv(run / "eval" / "test" / "unknown.csv")
    found = zip(apart["rank"], apart["taxon"], strict=True)
    assert sorted(t for rank, t in found if rank == "genus") == sorted(lost)


@pytest.mark.parametrize("mode", ["cam", "predict", "guide", "compare"])
def test_other_modes_work_with_such_a_run(dropped, mode):
    config, run, _ = dropped
    flags = {"ranks": ("genus",)} if mode == "compare" else {"rank": ("genus",)}
    if mode == "compare":
        flags = {"runs": (str(run), str(run))}
    assert tiny_birds.run(mode, config, **flags)


def test_a_guide_counts_a_picture_down_to_its_finest_trained_taxon(dropped, tmp_path):
    config, run, _ = dropped
    trained, asked = set(genera(run, "train")), genera(run, "test")
    known = sum(genus in trained for genus in asked)
    out = tmp_path / "guide"
    said = tiny_birds.run("guide", config, rank=("genus",), out=str(out))
    assert f"the network knows the order of {len(asked)}, " in said
    assert f"and the genus of {known}: a picture counts down" in said
    rows = tables.read_csv(out / "taxa.csv")
    counts = dict.fromkeys(rows["rank"], 0)
    for rank, number in zip(rows["rank"], rows["pictures"], strict=True):
        counts[rank] += int(number)
    assert counts == {"order": len(asked), "family": len(asked), "genus": known}


def test_keep_is_what_a_training_was_before(tmp_path, sparse, monkeypatch):
    """Labels of all taxa, in training and validation: the same weights, bit for bit."""
    config, run, _ = experiment(tmp_path, sparse, **{"data.untrained_taxa": "keep"})
    kept = tables.read_csv(run / "log.csv")
    source = load.load_source(config, str(sparse))
    taxonomy = load.taxonomy_of(source, config)
    split = splitting.make_split(source.records, config)
    assert split.train == splits.load(run / "split").train
    runtime.start(config.seed)
    loaders = [
        load.make_loader(
            split.select(source.records, part)[0],
            taxonomy,
            config,
            training=part == "train",
            batch_size=16,
            ranks=("genus",),
        )
        for part in ("train", "val")
    ]
    counts = {"genus": taxonomy.num_labels("genus")}
    assert counts == {"genus": 14}
    model = train_mode.build(config, counts)
    parents = {rank: taxonomy.parents("genus", rank) for rank in taxonomy.ranks[:6]}
    steps = loaders[0].num_batches
    fit.compile_model(model, counts, config.train, steps, parents)
    (tmp_path / "plain").mkdir()
    rows = fit.train(model, *loaders, counts, config, tmp_path / "plain")
    for loader in loaders:
        loader.close()
    assert [float(x) for x in kept["loss"]] == [row["loss"] for row in rows]
    assert [float(x) for x in kept["val_loss"]] == [row["val_loss"] for row in rows]


@pytest.fixture(scope="module")
def singles(tmp_path_factory):
    """One image of each of 18 genera: no test image is of a trained one."""
    data = tmp_path_factory.mktemp("singles") / "images"
    for k in range(18):
        above = f"Animalia_Chordata_Aves_O{k % 2}_Fam{k % 4}"
        name = f"{k:05d}_{above}_G{chr(97 + k)}_x"
        (data / name).mkdir(parents=True)
        pixels = np.random.default_rng(k).integers(0, 255, (40, 50, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(data / name / "0.jpg")
    return data


def test_one_photograph_of_each(tmp_path, singles, caplog):
    config, run, said = experiment(tmp_path, singles)
    assert said.endswith("2 epochs; no val image is of a trained taxon")
    said = tiny_birds.run("eval", config, rank=("genus",))
    rows = tables.read_csv(run / "eval" / "test" / "accuracy.csv")
    assert rows["rank"] == ["order", "family", "genus"]
    assert [int(n) for n in rows["images"]] == [2, 2, 0]
    assert "no training image shows the taxon of 2 at genus" in said
    said = tiny_birds.run("guide", config, rank=("genus",))
    assert "14 pictures that the model learned from" in said
    pages = [page.read_text() for page in (run / "guide" / "taxa").glob("*.html")]
    assert any("The model learned from these pictures" in page for page in pages)
    assert "no picture of the test split is of a genus" in caplog.text


def test_two_taxa_of_which_one_is_trained(dealt):
    records, split = dealt
    everything = Taxonomy(record.lineage for record in records)
    taxonomy, _ = choose(dealt, "drop")  # train has hawks alone
    untrained.check_trainable(taxonomy, everything, "species")
    with pytest.raises(UserError, match="of 2 taxa at the rank 'order' only Accipitri"):
        untrained.check_trainable(taxonomy, everything, "order")
    kept, _ = choose(dealt, "keep")
    untrained.check_trainable(kept, everything, "order")
    hawks = Taxonomy(record.lineage for record in records if "Acc" in record.example_id)
    with pytest.raises(UserError, match="has a single taxon in these data"):
        untrained.check_trainable(hawks, hawks, "order")
