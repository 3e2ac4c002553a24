"""Images that are identified only to a coarser rank, from every kind of source."""

import logging

import pytest
from camtrap_packages import medium, observation, write
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources, splits
from hiercam_keras.data.sources import folder_names, lineage_table
from hiercam_keras.data.sources.name_lineages import Named, find
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import Lineage
from hiercam_keras.taxonomy.partial import completed, counts, tree_of


@pytest.fixture
def config(data_config):
    """Keeps partial identifications, as the defaults do."""
    fields = {"partial": "keep", "source": "auto", "lineages": "", "ranks": ()}
    fields |= {"groups": "", "table": "", "keep_lineage": ""}
    return ConfigDict(data_config.to_dict() | fields)


@pytest.fixture
def draw(pattern):
    """Draws pictures of different content at paths of a folder."""

    def make(folder, paths):
        for number, path in enumerate(paths):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pattern(24, 20, seed=number)).save(folder / path)

    return make


TABLE = """path,family,subfamily,genus,species
0.png,Corvidae,Corvinae,Corvus,corax
1.png,Corvidae,Corvinae,Corvus,corone
2.png,Corvidae,,Corvus,
3.png,Corvidae,,Pica,pica
4.png,Ardeidae,,,
5.png,,,Ardea,cinerea
6.png,Ardeidae,,Ardea,
"""


def taxa(source):
    return [record.lineage.taxa for record in source.records]


def test_a_table_with_gaps_and_coarser_identifications(tmp_path, config, draw, caplog):
    draw(tmp_path, [f"{i}.png" for i in range(7)])
    (tmp_path / "t.csv").write_text(TABLE)
    config.source = "csv_table"
    caplog.set_level(logging.INFO)
    found = sources.load(config, str(tmp_path / "t.csv"))
    assert taxa(found) == [
        ("Corvidae", "Corvinae", "Corvus", "corax"),
        ("Corvidae", "Corvinae", "Corvus", "corone"),
        ("Corvidae", "Corvinae", "Corvus", ""),  # the others say its subfamily
        ("Corvidae", "", "Pica", "pica"),
        ("Ardeidae", "", "", ""),
        ("Ardeidae", "", "Ardea", "cinerea"),  # as line 8 says
        ("Ardeidae", "", "Ardea", ""),
    ]
    assert "4 to species, 2 to genus, 1 to family" in caplog.text
    assert "skip a rank: 3 have no subfamily" in caplog.text
    tree = tree_of((one.lineage for one in found.records), "species")
    assert [tree.num_labels(rank) for rank in tree.ranks] == [2, 1, 3, 4]
    assert counts(one.lineage for one in found.records) == {
        "family": 1,
        "genus": 2,
        "species": 4,
    }


def test_data_partial_drops_them(tmp_path, config, draw):
    draw(tmp_path, [f"{i}.png" for i in range(7)])
    (tmp_path / "t.csv").write_text(TABLE)
    config.source, config.partial = "csv_table", "drop"
    found = sources.load(config, str(tmp_path / "t.csv"))
    assert [one.example_id for one in found.records] == [
        *("0.png", "1.png", "3.png", "5.png")
    ]
    said = found.report.summary()
    assert "3 images identified only to a coarser rank" in said
    config.partial = "maybe"
    with pytest.raises(UserError, match="data.partial is 'maybe': use one of keep, dr"):
        sources.load(config, str(tmp_path / "t.csv"))


def test_a_row_without_any_taxon_is_refused(tmp_path, config, draw):
    draw(tmp_path, ["0.png", "1.png"])
    text = "path,genus,species\n0.png,Corvus,corax\n1.png,,\n"
    (tmp_path / "t.csv").write_text(text)
    config.source = "csv_table"
    with pytest.raises(UserError, match="line 3: the column 'genus' is empty"):
        sources.load(config, str(tmp_path / "t.csv"))


def test_class_folders_with_a_lineage_table(tmp_path, config, draw):
    draw(tmp_path / "p", ["raven/0.png", "crow/1.png", "a heron/2.png"])
    (tmp_path / "taxa.csv").write_text(
        "folder,family,genus,species\nraven,Corvidae,Corvus,corax\n"
        "crow,Corvidae,Corvus,corone\na heron,Ardeidae,,\n"
    )
    config.lineages = str(tmp_path / "taxa.csv")
    found = sources.load(config, str(tmp_path / "p"))
    assert ("Ardeidae", "", "") in taxa(found)
    (tmp_path / "taxa.csv").write_text("folder,family,species\nraven,,\n")
    with pytest.raises(UserError, match="line 2: the column 'species' is empty"):
        lineage_table.read(tmp_path / "taxa.csv")


def test_inat_folders_with_fewer_fields(class_names):
    heron = "00050_Animalia_Chordata_Aves_Pelecaniformes_Ardeidae_Ardea"
    found = folder_names.lineages([*class_names, heron, "00051_Animalia_Chordata_Aves"])
    assert found[heron].taxa[-2:] == ("Ardea", "")
    assert found[heron].class_id == "00050"
    assert found["00051_Animalia_Chordata_Aves"].finest == "class"
    with pytest.raises(UserError, match="has 2 fields, expected 8"):
        folder_names.lineages([*class_names, "00042_Aves"])
    with pytest.raises(UserError, match="has no class"):
        folder_names.lineages([*class_names, "1_Animalia_Chordata__O_F_G_s"])


def test_names_of_an_export():
    coarse = (("class", "Aves"), ("order", "Pelecaniformes"), ("family", "Ardeidae"))
    names = [
        Named("Ardea cinerea", "species", coarse),
        Named("Ardea alba", "species", coarse),
        Named("Ardea", "genus"),  # what is above comes from the species
        Named("Nycticorax", "genus", coarse),  # a genus without a species
        Named("Ardeidae"),  # its rank is known by the other names
        Named("Ardeinae", "subfamily", coarse),  # a rank that the data do not have
        Named("Egretta", "genus"),
        Named("Animalia", "kingdom"),
        Named("Ardea × Egretta", "hybrid", coarse),
        Named("unknown bird"),
    ]
    found = find(names, partial=True)
    assert [one.taxa for one in list(found.values())[2:6]] == [
        ("Aves", "Pelecaniformes", "Ardeidae", "Ardea", ""),
        ("Aves", "Pelecaniformes", "Ardeidae", "Nycticorax", ""),
        ("Aves", "Pelecaniformes", "Ardeidae", "", ""),
        ("Aves", "Pelecaniformes", "Ardeidae", "", ""),
    ]
    assert [found[one] for one in names[6:]] == [
        "identified only to genus",
        "identified only to kingdom",
        "a hybrid",
        "its name is no scientific name",
    ]
    before = find(names)
    assert [one for one in before.values() if not isinstance(one, str)] == [
        found[names[0]],
        found[names[1]],
    ]


def test_a_camtrap_package_with_a_genus_and_a_class(tmp_path, config, draw):
    names = ("Anas crecca", "Ardea cinerea", "Ardea", "Aves")
    media = [medium(f"m{i}", i) for i in range(4)]
    seen = [
        observation(f"o{i}", f"m{i}", i, scientificName=name)
        for i, name in enumerate(names)
    ]
    ranks = ("class", "order", "family")
    above = [
        ("Aves", "Anseriformes", "Anatidae"),
        ("Aves", "Pelecaniformes", "Ardeidae"),
    ]
    known = [
        {
            "scientificName": name,
            "taxonRank": "species",
            **dict(zip(ranks, own, strict=True)),
        }
        for name, own in zip(names[:2], above, strict=True)
    ]
    known += [
        {"scientificName": "Ardea", "taxonRank": "genus"},
        {"scientificName": "Aves", "taxonRank": "class"},
    ]
    folder = write(tmp_path / "trap", media, seen, taxonomic=known)
    draw(folder, [one["filePath"] for one in media])
    found = sources.load(config, str(folder))
    assert taxa(found)[2:] == [
        ("Aves", "Pelecaniformes", "Ardeidae", "Ardea", ""),
        ("Aves", "", "", "", ""),
    ]
    config.partial = "drop"
    left = sources.load(config, str(folder)).report.ignored
    assert left["pictures (identified only to genus)"] == 1
    # With a lineage table, too.
    table = tmp_path / "taxa.csv"
    table.write_text(
        "scientific_name,class,family,genus,species\n"
        "Anas crecca,Aves,Anatidae,Anas,crecca\n"
        "Ardea cinerea,Aves,Ardeidae,Ardea,cinerea\n"
    )
    config.partial, config.lineages = "keep", str(table)
    found = sources.load(config, str(folder))
    assert taxa(found)[2:] == [("Aves", "Ardeidae", "Ardea", ""), ("Aves", "", "", "")]


def test_the_real_package_keeps_its_herons(real_data, tmp_path, config):
    """The pictures that are there are of the genus Ardea."""
    found = sources.load(config, str(real_data / "camtrap_dp"))
    assert set(taxa(found)) == {("Ardea", "")}
    assert len(found.records) == 10


def test_the_real_archive_keeps_its_genera(real_data, tmp_path, config, draw):
    import csv
    import shutil

    name = "occurrence_dwca.csv"
    shutil.copyfile(real_data / "inat_export" / name, tmp_path / name)
    with open(tmp_path / name, newline="") as file:
        rows = list(csv.DictReader(file))
    draw(tmp_path, [f"{row['id']}.jpg" for row in rows])
    config.table = str(tmp_path / name)
    found = sources.load(config, str(tmp_path))
    of_rank = counts(one.lineage for one in found.records)
    assert of_rank["genus"] == 6
    assert sum(of_rank.values()) == len(found.records)


def test_missing_taxa_are_filled_only_where_the_others_agree():
    def make(*own):
        return Lineage(own, ("order", "family", "genus"))

    given = [
        make("P", "A", "x"),
        make("P", "", "x"),
        make("", "", "x"),
        make("", "B", "y"),
        make("Q", "B", "z"),
        make("P", "C", "w"),
        make("Q", "D", "w"),
        make("", "", "w"),  # in two families: a homonym
        make("R", "", "v"),  # has no family
    ]
    found = completed(given)
    assert [found[one].taxa for one in given] == [
        *[("P", "A", "x")] * 3,
        ("Q", "B", "y"),
        ("Q", "B", "z"),
        ("P", "C", "w"),
        ("Q", "D", "w"),
        ("", "", "w"),
        ("R", "", "v"),
    ]


def test_a_split_deals_each_finest_taxon(config, tmp_path, draw):
    lines = ["path,family,genus,species"]
    for i in range(60):
        cells = [
            ("Corvidae", "Corvus", "corax"),
            ("Corvidae", "Corvus", ""),
            ("A", "", ""),
        ]
        lines.append(f"{i}.png,{','.join(cells[i % 3])}")
    draw(tmp_path, [f"{i}.png" for i in range(60)])
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    config.source = "csv_table"
    records = sources.load(config, str(tmp_path / "t.csv")).records
    split = splits.split_records(records, 0, (0.7, 0.15, 0.15))
    for part, number in (("train", 14), ("val", 3), ("test", 3)):
        own, _ = split.select(records, part)
        assert counts(one.lineage for one in own) == dict.fromkeys(
            ("family", "genus", "species"), number
        )
