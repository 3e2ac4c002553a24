"""Common names that data sets have, in columns, tables and archives."""

import csv
import shutil

import pytest
from camtrap_packages import medium, observation, write
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources
from hiercam_keras.data.sources import common_names
from hiercam_keras.errors import UserError
from hiercam_keras.modes.load import load_for, taxonomy_of
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy import Taxonomy
from hiercam_keras.taxonomy.common_names import Taxon

ROWS = {
    "a": ("Ardeidae", "Ardea", "cinerea"),
    "b": ("Ardeidae", "Ardea", "alba"),
    "c": ("Strigidae", "Bubo", "bubo"),
    "d": ("Strigidae", "Bubo", "bubo"),
}
HERON = ROWS["a"]
NAMES = "Ardea cinerea,grey heron\nBubo bubo,eagle owl\nBubo,eagle-owls\n"


@pytest.fixture
def config(tmp_path):
    return ConfigDict(
        {"source": "auto", "root": "", "workers": 1, "homonyms": "error"}
        | {"cache_dir": str(tmp_path / "cache"), "lineages": "", "ranks": ()}
        | {"groups": "", "table": "", "common_names": "auto", "language": "en"}
        | {"partial": "keep"}
    )


@pytest.fixture
def table(tmp_path, pattern):
    """Writes a table of four pictures with more columns, and reads it."""
    root = tmp_path / "pictures"
    root.mkdir()
    for number, name in enumerate(ROWS):
        Image.fromarray(pattern(24, 20, seed=number)).save(root / f"{name}.png")

    def make(config, **more):
        path = root / "table.csv"
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "family", "genus", "species", *more])
            for number, (name, taxa) in enumerate(ROWS.items()):
                cells = [values[number] for values in more.values()]
                writer.writerow([f"{name}.png", *taxa, *cells])
        return sources.load(config, str(path))

    return make


HERONS = ("grey heron", "great egret", "eagle owl", "eagle owl")


@pytest.mark.parametrize(
    "column", ["common_name", "CommonName", "Vernacular Name", "vernacularName"]
)
def test_a_column_of_a_table(table, config, column):
    source = table(config, **{column: HERONS})
    assert source.records[0].lineage.ranks == ("family", "genus", "species")
    assert source.common_names[HERON] == "grey heron"
    taxonomy = taxonomy_of(source, ConfigDict({"data": config}))
    assert taxonomy.find("Great egret") == ("species", taxonomy.find("Ardea alba")[1])


def test_the_column_of_a_language(table, config):
    names = {
        "common_name_nl": ("blauwe reiger", "grote zilverreiger", "oehoe", "oehoe"),
        "common_name_en": HERONS,
    }
    source = table(config, **names)
    assert source.records[0].lineage.ranks == ("family", "genus", "species")
    assert source.common_names[HERON] == "grey heron"
    config.language = "nld"
    assert table(config, **names).common_names[HERON] == "blauwe reiger"
    config.common_names = "none"
    source = table(config, **names)
    assert source.common_names == {}
    assert source.records[0].lineage.ranks == ("family", "genus", "species")


@pytest.mark.parametrize(
    "column", ["english", "English name", "name_en", "english_name_AviList", "com name"]
)
def test_a_column_by_its_language_is_no_rank(table, config, column, caplog):
    names = {"Deutsch": ("Graureiher", "Silberreiher", "Uhu", "Uhu"), column: HERONS}
    source = table(config, **names)
    assert source.records[0].lineage.ranks == ("family", "genus", "species")
    assert source.common_names[HERON] == "grey heron"
    config.language = "de"
    assert table(config, **names).common_names[HERON] == "Graureiher"
    config.language = "fi"
    with caplog.at_level("INFO", logger="absl"):
        found = table(config, english=HERONS).common_names
    assert found == {} and "other languages than fi: choose one with" in caplog.text


def test_a_run_keeps_the_ranks_that_it_was_trained_with(table, config, tmp_path):
    """Its version took the names for a rank, or its table had other rows."""
    names = {"english": HERONS, "note": ("x",) * 4}
    root = table(config, **names).root
    ranks = ("family", "genus", "species", "english")
    config.ranks = ranks
    trained = Taxonomy(one.lineage for one in table(config, **names).records)
    config.ranks = ()
    full = ConfigDict({"data": config, "name": "birds", "detections": {"file": ""}})
    run = run_folder.create(tmp_path / "run", {"ranks": ["english"]}, trained)
    place = str(root / "table.csv")
    assert load_for(run, full, place).records[0].lineage.ranks == ranks
    table(config)  # without the column: as it is, for the message of the mismatch
    found = load_for(run, full, place).records[0].lineage.ranks
    assert found == ("family", "genus", "species")


def test_a_column_that_is_named(table, config):
    config.common_names = "Local"
    source = table(config, local=HERONS, common_name=("x",) * 4)
    assert source.common_names[HERON] == "grey heron"
    config.common_names = "missing"
    with pytest.raises(UserError, match="no column 'missing', which data.common_names"):
        table(config, local=HERONS)


def test_names_of_finer_taxa_stay_a_rank(table, config):
    """Two eagle owls: the column says more than the species."""
    source = table(config, common_name=("heron", "egret", "eagle owl", "desert owl"))
    assert source.records[0].lineage.ranks[-1] == "common_name"
    assert source.common_names == {}


def test_a_table_of_lineages(config, tmp_path, pattern):
    root = tmp_path / "folders"
    for name in ("heron", "owl"):
        (root / name).mkdir(parents=True)
        Image.fromarray(pattern(24, 20, seed=len(name))).save(root / name / "1.png")
    (root / "taxa.csv").write_text(
        "folder,family,species,common name\n"
        "heron,Ardeidae,Ardea cinerea,grey heron\nowl,Strigidae,Bubo bubo,eagle owl\n"
    )
    config.update({"source": "image_folder", "lineages": "taxa.csv"})
    source = sources.load(config, str(root))
    assert source.common_names == {
        ("Ardeidae", "Ardea cinerea"): "grey heron",
        ("Strigidae", "Bubo bubo"): "eagle owl",
    }


def test_a_table_of_names_for_any_source(table, config, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text(f"scientific_name,common_name\n{NAMES}Pica pica,magpie\n")
    config.common_names = str(names)
    source = table(config, common_name=("x", "great egret", "z", "z"))
    assert source.common_names == {
        HERON: "grey heron",
        ROWS["c"]: "eagle owl",
        ROWS["c"][:2]: "eagle-owls",
    }
    config.common_names = str(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"nowhere\.csv, which does not exist"):
        table(config)
    names.write_text("name,id\nArdea,1\n")
    config.common_names = str(names)
    with pytest.raises(UserError, match="expected scientific_name and common_name"):
        table(config)


def test_the_vernacular_table_of_a_checklist(tmp_path):
    """A Darwin Core archive of taxa, with names in several languages."""
    dwc, gbif = "http://rs.tdwg.org/dwc/terms/", "http://rs.gbif.org/terms/1.0/"
    about = 'fieldsTerminatedBy="\\t" ignoreHeaderLines="1"'
    (tmp_path / "meta.xml").write_text(f"""<?xml version="1.0"?>
<archive xmlns="http://rs.tdwg.org/dwc/text/">
  <core {about} rowType="{dwc}Taxon">
    <files><location>taxon.txt</location></files><id index="0"/>
    <field index="1" term="{dwc}scientificName"/>
    <field index="2" term="{dwc}scientificNameAuthorship"/>
    <field index="3" term="{dwc}taxonRank"/>
  </core>
  <extension {about} rowType="{gbif}VernacularName">
    <files><location>vernacular.txt</location></files><coreid index="0"/>
    <field index="1" term="{dwc}vernacularName"/>
    <field index="2" term="http://purl.org/dc/terms/language"/>
    <field index="3" term="{gbif}isPreferredName"/>
  </extension>
</archive>""")
    (tmp_path / "taxon.txt").write_text(
        "id\tname\tauthor\trank\n1\tArdea cinerea Linnaeus, 1758\tLinnaeus, 1758\t"
        "species\n2\tArdea\t\tgenus\n"
    )
    (tmp_path / "vernacular.txt").write_text(
        "id\tname\tlanguage\tpreferred\n"
        "1\tcommon heron\ten\t\n1\tgrey heron\ten\ttrue\n"
        "1\tblauwe reiger\tnl\ttrue\n2\treigers\tnl\t\n"
        "9\tof no taxon\ten\t\n1\t\ten\t\n"
    )
    heron = Taxon("Ardea cinerea", "species")
    assert common_names.read(tmp_path, "eng") == {heron: "grey heron"}
    packed = shutil.make_archive(str(tmp_path / "taxa"), "zip", tmp_path)
    found = common_names.read(type(tmp_path)(packed), "nld")
    assert found == {heron: "blauwe reiger", Taxon("Ardea", "genus"): "reigers"}


def test_the_taxonomic_section_of_a_camera_package(tmp_path, config, pattern):
    taxa = [
        {"scientificName": "Anas crecca", "taxonRank": "species", "family": "Anatidae"}
        | {"vernacularNames": {"eng": "common teal", "nld": "wintertaling"}},
        {"scientificName": "Ardea cinerea", "taxonRank": "species"}
        | {"vernacularNames": {"nld": "blauwe reiger"}, "family": "Ardeidae"},
        {"scientificName": "Ardea", "taxonRank": "genus"}
        | {"vernacularNames": {"eng": "great herons"}},
    ]
    folder = write(
        tmp_path / "camera",
        [medium("m1"), medium("m2", 60)],
        [
            observation("o1", "m1"),
            observation("o2", "m2", 60, scientificName="Ardea cinerea"),
        ],
        taxonomic=taxa,
    )
    for number, name in enumerate(("m1", "m2")):
        (folder / "media").mkdir(exist_ok=True)
        Image.fromarray(pattern(24, 20, seed=number)).save(folder / f"media/{name}.jpg")
    source = sources.load(config, str(folder))
    ranks = source.records[0].lineage.ranks
    assert ranks == ("family", "genus", "species")
    assert source.common_names == {
        ("Anatidae", "Anas", "crecca"): "common teal",
        ("Ardeidae", "Ardea"): "great herons",
    }
    config.language = "nl"
    source = sources.load(config, str(folder))
    assert source.common_names[HERON] == "blauwe reiger"


def test_the_real_export_of_inaturalist(real_data, tmp_path, config, pattern):
    folder = tmp_path / "mine"
    folder.mkdir()
    export = folder / "observations.csv"
    shutil.copyfile(real_data / "inat_export" / "observations_export.csv", export)
    with open(export, newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    for number, one in enumerate(ids):
        Image.fromarray(pattern(24, 20, seed=number)).save(folder / f"{one}.png")
    config.ranks = ("genus", "species")
    source = sources.load(config, str(folder))
    assert source.common_names["Calopteryx", "maculata"] == "Ebony Jewelwing"
    assert source.common_names["Libellula", "luctuosa"] == "Widow Skimmer"


def test_the_real_package(real_data, config):
    """Coarser taxa are named, too: the pictures that are there are of a genus."""
    config.update({"ranks": ("genus", "species"), "groups": "none"})
    source = sources.load(config, str(real_data / "camtrap_dp"))
    assert source.common_names == {("Ardea",): "great herons"}
