"""Class folders with plain names, official splits, and the table of their lineages."""

import logging
import unicodedata

import pytest
from PIL import Image

from hiercam_keras.data import sources, splits
from hiercam_keras.errors import UserError

NAMES = ("ALBATROSS", "Barn owl", "crow_hooded")
TABLE = (
    "Folder;Class;Family;Species;Source\n"
    "albatross;Aves;Diomedeidae;Diomedea exulans;a\n"
    "Barn  Owl;Aves;Tytonidae;Tyto alba;b\n"
    "crow hooded;Aves;Corvidae;Corvus cornix;a\n"
    "unused;Aves;Corvidae;Corvus corax;b\n"
)


def fill(root, *folders, number=2):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for i in range(number):
            image = Image.new("RGB", (24, 16), (40 * i, 90, len(folder)))
            image.save(root / folder / f"{i}.jpg")
    return root


@pytest.fixture
def kaggle(tmp_path):
    """train, test and valid with the same names of files in each."""
    parts = ("train", "test", "valid")
    return fill(tmp_path / "birds", *(f"{p}/{name}" for p in parts for name in NAMES))


def load(config, root, **fields):
    config.update(fields)
    return sources.load(config, str(root))


def test_plain_names_are_the_rank_label(data_config, tmp_path, caplog):
    root = fill(tmp_path / "birds", *NAMES)
    (root / ".ipynb_checkpoints").mkdir()
    with caplog.at_level(logging.INFO, logger="absl"):
        source = load(data_config, root)
    assert [r.lineage.taxa for r in source.records[::2]] == [(name,) for name in NAMES]
    assert source.records[0].lineage.ranks == ("label",)
    assert source.records[0].example_id == "ALBATROSS/0.jpg"
    assert {record.split for record in source.records} == {None}
    assert "--config.data.lineages" in caplog.text


def test_folders_of_splits_are_the_splits(data_config, kaggle):
    fill(kaggle, "images to predict")
    (kaggle / "birds.csv").write_text("class id,filepaths\n")
    source = load(data_config, kaggle)
    assert len(source.records) == 18
    split = splits.split_records(source.records, 0)
    assert split.train == tuple(f"train/{name}/{i}.jpg" for name in NAMES for i in "01")
    assert split.val[0] == "valid/ALBATROSS/0.jpg" and len(split.test) == 6
    assert {r.lineage.taxa[0] for r in source.records} == set(NAMES)
    assert source.report.ignored["folders with images next to train"] == 1


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("Training/a", "Validation/a"), {"train", "val"}),
        (("train/train/a", "test/test/a"), {"train", "test"}),
        (("images/train/a", "images/test/a", "masks/train/a"), {"train", "test"}),
        (("train", "car", "test"), {None}),  # vehicles
        (("test/a", "valid/a"), None),  # nothing to train on
    ],
)
def test_what_is_a_split(data_config, tmp_path, folders, found):
    root = fill(tmp_path / "x", *folders)
    if found is None:
        with pytest.raises(UserError, match="are one level deeper, in test/, valid/"):
            load(data_config, root)
    else:
        assert {r.split for r in load(data_config, root).records} == found


def test_inat_names_may_be_split_too(data_config, tmp_path, class_names):
    parts = [f"{part}/{name}" for part in ("train", "val") for name in class_names]
    source = load(data_config, fill(tmp_path / "x", *parts))
    assert source.records[0].lineage.display_name("species") == "Cygnus olor"
    assert {record.split for record in source.records} == {"train", "val"}


def test_a_table_gives_lineages_to_folders(data_config, kaggle, tmp_path, caplog):
    (tmp_path / "taxa.csv").write_text(TABLE, "utf-8-sig")
    source = load(data_config, kaggle, lineages=str(tmp_path / "taxa.csv"))
    first = source.records[0].lineage
    assert first.ranks == ("class", "family", "species")
    assert first.taxa == ("Aves", "Diomedeidae", "Diomedea exulans")
    assert "not taken as ranks: source" in caplog.text
    # Next to the folders, and for a part of the tree alone.
    (kaggle / "taxa.csv").write_text(TABLE)
    kept = load(data_config, kaggle, lineages="taxa.csv", keep_lineage="Aves/Corvidae")
    assert {r.lineage.taxa[-1] for r in kept.records} == {"Corvus cornix"}
    assert kept.report.ignored["class folders outside Aves/Corvidae"] == 6


def test_class_is_a_key_where_nothing_else_can_be_meant(data_config, tmp_path):
    root = fill(tmp_path / "x", "a", "b")
    table = tmp_path / "taxa.csv"
    table.write_text("class,family\na,Picidae\nb,Anatidae\n")
    assert load(data_config, root, lineages=str(table)).records[0].lineage.taxa == (
        "Picidae",
    )
    table.write_text("class,family\nAves,Picidae\nAves,Anatidae\n")
    with pytest.raises(UserError, match="'Aves' has another lineage"):
        load(data_config, root, lineages=str(table))
    table.write_text("class,family\nAves,Picidae\nReptilia,Agamidae\n")
    with pytest.raises(
        UserError, match="2 of 2 class folders: a, b.*key column folder"
    ):
        load(data_config, root, lineages=str(table))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("family,species\nA,b\n", "expected a key column folder"),
        ("folder,family\nALBATROSS,x\n", "no row for 2 of 3 .*: Barn owl, crow_hooded"),
        ("folder\nALBATROSS\n", "no column for a rank"),
        ("folder,family,species\nALBATROSS,,\n", "line 2: the column 'species' is emp"),
        (None, "taxa.csv, which is neither in the working directory nor in"),
    ],
)
def test_a_table_that_does_not_fit_is_named(data_config, tmp_path, table, words):
    root = fill(tmp_path / "x", *NAMES)
    if table is not None:
        (tmp_path / "taxa.csv").write_text(table)
    with pytest.raises(UserError, match=words) as error:
        load(data_config, root, lineages=str(tmp_path / "taxa.csv"))
    assert "taxa.csv" in str(error.value)


def test_names_that_were_meant_as_inat_names_are_errors(data_config, tmp_path):
    """Kingdom to genus, but no epithet."""
    root = fill(tmp_path / "x", "1_Animalia_Chordata_Aves_Piciformes_Picidae_Picus")
    with pytest.raises(UserError, match="has 7 fields, expected 8"):
        load(data_config, root)


def test_other_sources_want_inat_names(data_config, tmp_path):
    root = fill(tmp_path / "x", *NAMES)
    with pytest.raises(UserError, match="folder 'ALBATROSS' has 1 field, expected 8"):
        load(data_config, root, source="inat2021")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("birds/train/a", "birds/test/a"), r"but birds/ in it does.*x/birds\."),
        (("birds/a", "birds/b"), r"but birds/ in it does.*--data_dir=.*x/birds\."),
        (("Aves/Picus viridis", "Mammalia/Lutra"), "one level deeper, in Aves/, Mamm"),
        (("a/b/c/d",), "found 1 folders without images"),
    ],
)
def test_the_right_folder_is_named(data_config, tmp_path, folders, words):
    with pytest.raises(UserError, match=words):
        load(data_config, fill(tmp_path / "x", *folders))


def test_boxes_and_masks_of_split_folders(data_config, kaggle):
    (kaggle / "boxes.csv").write_text(
        "example_id,x0,y0,x1,y1\ntrain/ALBATROSS/1.jpg,2,3,10,12\n"
    )
    place = kaggle / "masks" / "train" / "ALBATROSS"
    place.mkdir(parents=True)
    Image.new("L", (24, 16), 255).save(place / "1.png")
    by_id = {r.example_id: r for r in load(data_config, kaggle).records}
    assert by_id["train/ALBATROSS/1.jpg"].boxes == ((2, 3, 10, 12),)
    assert by_id["train/ALBATROSS/1.jpg"].mask_path == place / "1.png"
    assert by_id["test/ALBATROSS/1.jpg"].mask_path is None


def test_folders_of_macos_are_found_in_the_table(data_config, tmp_path):
    """There file names have their accents as letters of their own (NFD)."""
    name = "Ål"
    root = fill(tmp_path / "fish", unicodedata.normalize("NFD", name), "Wren")
    text = f"folder,family,species\n{name},A,a b\nWren,B,c d\n"
    (root / "taxa.csv").write_text(text, encoding="utf-8")
    source = load(data_config, root, lineages="taxa.csv")
    assert {r.lineage.taxa for r in source.records} == {("A", "a b"), ("B", "c d")}
