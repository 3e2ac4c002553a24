"""Images identified to a genus or family, and a tree with gaps, through the modes."""

import csv
import logging
import re

import pytest
import tiny_birds
from camtrap_packages import rows_of

from hiercam_keras.data import sources, splits
from hiercam_keras.errors import UserError
from hiercam_keras.modes import coarser, splitting
from hiercam_keras.runs import recorded_config, run_folder
from hiercam_keras.taxonomy import Taxonomy, parse_class_name
from hiercam_keras.taxonomy.partial import counts

HEADER = ("path", "order", "family", "subfamily", "genus", "species")


def write_table(path, images, whole=False):
    """The drawn birds: of ten images two are of a genus, one is of a family, and the
    species of the first order have no subfamily."""
    rows, first = [], None
    for folder in sorted(images.iterdir()):
        order, family, genus, species = parse_class_name(folder.name).taxa[3:]
        first = first or order
        below = "" if order == first else f"{genus}inae"
        for number, file in enumerate(sorted(folder.iterdir())):
            taxa = [order, family, below, genus, species]
            if not whole and number in (2, 5):
                taxa[4] = ""
            elif not whole and number == 8:
                taxa[2:] = "", "", ""
            rows.append([f"{folder.name}/{file.name}", *taxa])
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


@pytest.fixture
def own(config, drawn, tmp_path):
    """The small experiment on a table of the birds."""
    config.data.source = "csv_table"
    config.data.table = str(write_table(tmp_path / "t.csv", drawn))
    config.data.root = str(drawn)
    config.data.fractions = (0.6, 0.2, 0.2)
    config.train.epochs = 1
    return config


def records_of_test(config, path):
    """The records of a run's test split."""
    source = sources.load(config.data, None)
    return splits.load(path / "split").select(source.records, "test")[0]


def accuracies(path):
    return {row["rank"]: row for row in rows_of(path / "eval/test/accuracy.csv")}


def test_a_resume_with_images_of_coarser_ranks_says_what_to_do(
    own, tmp_path, monkeypatch
):
    """A run of a version that left them out, or of a table that had none."""
    path = tmp_path / "run"
    flags = {"rank": ("species",), "workdir": str(path), "resume": True}
    own.data.partial = "drop"
    record = {"config": recorded_config.of_training(own.to_dict()), "data_name": "mini"}
    records = sources.load(own.data, None).records
    taxonomy = Taxonomy(one.lineage for one in records)
    run_folder.create(
        path, {**record, "data_dir": None, "ranks": ["species"]}, taxonomy
    )
    splitting.make_split(records, own).save(path / "split")
    own.data.partial = "keep"
    added = (
        "24 images added.* identified to a coarser rank only: --config.data.partial=d"
    )
    with pytest.raises(UserError, match=added):
        tiny_birds.run("train", own, **flags)

    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr(coarser, "of_training", stop)
    with pytest.raises(InterruptedError):  # it has the images of the run
        tiny_birds.run("train", own, fields={"data.partial": "drop"}, **flags)
    test = path / "split" / "test.txt"
    test.write_text(test.read_text() + "gone.jpg\n")
    with pytest.raises(UserError, match=r"1 image removed .such as gone.jpg.. Bring"):
        tiny_birds.run("train", own, fields={"data.partial": "drop"}, **flags)


def test_a_species_head_learns_from_all_of_them(own, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    own.data.sampling = "balanced"
    said = tiny_birds.run("prepare", own)
    assert (
        "images by the finest rank that they are identified to: 56 to species" in said
    )
    assert "16 to genus, 8 to family" in said
    assert "images of taxa that skip a rank: " in said
    tiny_birds.run("train", own, rank=("species",))
    assert "training images by the finest rank that they are identif" in caplog.text
    assert "coarser rank trains the ranks that it has" in caplog.text
    path = tmp_path / "runs" / "mini" / "species" / "seed0"
    (row,) = rows_of(path / "log.csv")
    assert 0 < float(row["loss"]) < 4
    said = tiny_birds.run("eval", own, rank=("species",))
    assert "images by the finest rank" in said
    records = records_of_test(own, path)
    by_rank = accuracies(path)
    for rank in ("order", "family", "genus", "species"):
        known = sum(one.lineage.has(rank) for one in records)
        assert int(by_rank[rank]["images"]) == known, rank
    of_rank = counts(one.lineage for one in records)
    assert of_rank["genus"] and of_rank["family"] and of_rank["species"]
    assert int(by_rank["species"]["images"]) == of_rank["species"]
    assert not rows_of(path / "eval/test/unknown.csv")


def test_several_heads_and_a_gap_with_a_hierarchical_loss(own, tmp_path):
    own.train.update({"hierarchical": "hxe", "class_weights": "balanced"})
    own.train.update({"label_smoothing": 0.1, "mixup": 0.2, "consistency": 0.1})
    ranks = ("family", "subfamily", "species")
    tiny_birds.run("train", own, rank=ranks)
    path = tmp_path / "runs" / "mini" / "+".join(ranks) / "seed0"
    (row,) = rows_of(path / "log.csv")
    assert all(0 <= float(row[f"{rank}_accuracy"]) <= 1 for rank in ranks)
    assert float(row["loss"]) > 0
    tree = run_folder.read(path).taxonomy()
    assert (tree.parents("species", "subfamily") < 0).sum() == 4
    tiny_birds.run("eval", own, rank=ranks)
    by_rank = accuracies(path)
    records = records_of_test(own, path)
    known = sum(one.lineage.has("subfamily") for one in records)
    assert int(by_rank["subfamily"]["images"]) == known


def test_whole_identifications_are_trained_as_before(drawn, tmp_path, own):
    """No other labels and losses where each image is identified to the rank."""
    records = sources.load(own.data, None).records
    tree = Taxonomy(one.lineage for one in records)
    some, spaces = coarser.of_training(records, tree, ("family",))
    assert spaces is None
    assert len(some) == len(records)
    assert coarser.of_training(records, tree, ("species",))[1] is not None


def test_a_rank_without_an_image_is_refused(own, tmp_path):
    text = "path,order,genus,species\n"
    text += "\n".join(f"{line},O,g{i},,"[:-1] for i, line in enumerate(_paths(own)))
    (tmp_path / "t.csv").write_text(text + "\n")
    with pytest.raises(UserError, match="no image is identified to the rank 'spec"):
        tiny_birds.run("train", own, rank=("species",))


def _paths(config):
    from pathlib import Path

    root = Path(config.data.root)
    return sorted(str(one.relative_to(root)) for one in root.glob("*/*"))[::10]


@pytest.mark.slow
def test_a_tree_with_gaps_goes_through_the_modes(own, tmp_path):
    """Overlays, maps of true taxa, the guide, compare and belief, with partial ones."""
    own.cam.num_overlays = 2
    for rank in ("species", "family"):
        tiny_birds.run("train", own, rank=(rank,))
    species = {"rank": ("species",), "chosen_rank": True}
    said = tiny_birds.run("cam", own, **species)
    assert "overlay" in said
    tiny_birds.run("cam", own, target="true", target_rank="genus", **species)
    out = tmp_path / "guide"
    said = tiny_birds.run("guide", own, out=str(out), **species)
    assert re.search(r"\d+ are identified to a coarser rank only", said)
    rows = rows_of(out / "taxa.csv")
    skipped = [row for row in rows if row["taxon"].count("//")]
    assert {row["rank"] for row in skipped} == {"genus", "species"}
    text = "".join(one.read_text("utf-8") for one in (out / "taxa").glob("*.html"))
    assert "//" in text
    tiny_birds.run("compare", own, ranks=("species", "family"))
    said = tiny_birds.run("eval", own, fields={"believe.rule": "rollup"}, **species)
    assert "believed names" in said
