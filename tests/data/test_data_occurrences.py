"""Darwin Core archives and iNaturalist exports as labels of pictures in a folder."""

import csv
import shutil

import pytest
from PIL import Image

from hiercam_keras.data import sources
from hiercam_keras.data.sources.occurrences import Files
from hiercam_keras.errors import UserError
from hiercam_keras.exchange.occurrences import Media


@pytest.fixture
def draw(pattern):
    """Draws pictures of different content at relative paths of a folder."""

    def make(folder, paths):
        for number, path in enumerate(paths):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pattern(24, 20, seed=number)).save(folder / path)

    return make


def ids_of(path):
    with open(path, newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]


def test_the_real_export_with_a_lineage_table(real_data, tmp_path, config, draw):
    """Pictures by the observation's id; one observation has three of them."""
    folder, table = tmp_path / "mine", tmp_path / "taxa.csv"
    folder.mkdir()
    export = folder / "observations-1.csv"
    shutil.copyfile(real_data / "inat_export" / "observations_export.csv", export)
    ids = ids_of(export)
    draw(folder, [f"{one}.jpg" for one in ids[:40]])
    draw(folder, [f"{ids[0]}_2.jpg", f"more/{ids[0]}/x.png"])
    table.write_text(
        "scientific_name,order,family,genus,species\n"
        "Calopteryx maculata,Odonata,Calopterygidae,Calopteryx,maculata\n"
        "Libellula luctuosa,Odonata,Libellulidae,Libellula,luctuosa\n"
        "Argia apicalis,Odonata,Coenagrionidae,Argia,apicalis\n"
    )
    config.lineages = str(table)
    source = sources.load(config, str(folder))
    assert {record.lineage.display_name("species") for record in source.records} == {
        "Calopteryx maculata",
        "Libellula luctuosa",
        "Argia apicalis",
    }
    mine = [one for one in source.records if one.group == ids[0]]
    assert [one.example_id for one in mine] == [
        f"{ids[0]}.jpg",
        f"{ids[0]}_2.jpg",
        f"more/{ids[0]}/x.png",
    ]
    assert source.credits()[f"{ids[0]}.jpg"] == "person-2 (CC-BY-NC)"
    left = source.report.ignored
    assert left["pictures (a URL that was not downloaded)"] == 7
    assert left[
        "pictures (identified only to genus or above, not in the lineage table)"
    ]
    # Without the table the names themselves give genus and species.
    config.lineages = ""
    found = sources.load(config, str(folder)).records
    assert found[0].lineage.ranks == ("genus", "species") and len(found) > 30


def test_the_real_occurrence_table_has_its_lineages(real_data, tmp_path, config, draw):
    """Genera and a subfamily are left out with the reason, subspecies are species."""
    folder = tmp_path / "pictures"
    table = real_data / "inat_export" / "occurrence_dwca.csv"
    draw(folder, [f"{one}.jpg" for one in ids_of(table)])
    config.table = str(table)
    source = sources.load(config, str(folder))
    assert source.records[0].lineage.ranks == (
        *("kingdom", "phylum", "class", "order", "family", "genus", "species"),
    )
    names = {one.lineage.display_name("species") for one in source.records}
    assert {"Columba livia", "Thamnophis elegans", "Pelecanus occidentalis"} <= names
    left = dict(source.report.ignored)
    assert left.pop("pictures (identified only to genus)") == 6
    assert left.pop("pictures (identified only to subfamily)") == 1
    assert len(source.records) + sum(left.values()) == 43
    assert all("is not known" in reason for reason in left)
    config.ranks = ("class", "order")
    assert len(sources.load(config, str(folder)).records) >= len(source.records)


def test_an_archive_names_its_pictures(tmp_path, config, draw):
    """By relative path, by the last part of a URL, or by the number of a photo."""
    folder = tmp_path / "a"
    photo = "https://static.inaturalist.org/photos/{}/original.jpg?1"
    draw(folder, ["media/one.jpg", "two.jpg", "777.jpeg", "unused.jpg"])
    fields = '<field index="1" term="http://rs.tdwg.org/dwc/terms/scientificName"/>'
    about = 'fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"'
    (folder / "meta.xml").write_text(
        f'<archive xmlns="http://rs.tdwg.org/dwc/text/"><core {about} '
        'rowType="http://rs.tdwg.org/dwc/terms/Occurrence">'
        "<files><location>o.txt</location></files>"
        f'<id index="0"/>{fields}'
        '<field index="2" term="http://rs.tdwg.org/dwc/terms/occurrenceStatus"/>'
        f'</core><extension {about} rowType="http://rs.tdwg.org/ac/terms/Multimedia">'
        '<files><location>m.txt</location></files><coreid index="0"/>'
        '<field index="1" term="http://rs.tdwg.org/ac/terms/accessURI"/>'
        '<field index="2" term="http://purl.org/dc/terms/format"/>'
        "</extension></archive>"
    )
    (folder / "o.txt").write_text(
        "id\tname\tstatus\n1\tAnas crecca\tpresent\n2\tPica pica\t\n3\tArdea alba\t\n"
        "4\tTurdus merula\tabsent\n"
    )
    (folder / "m.txt").write_text(
        "id\turi\tformat\n1\tmedia/one.jpg\timage/jpeg\n1\tsong.mp3\taudio/mpeg\n"
        f"2\thttps://x.org/a/two.jpg\timage/jpeg\n3\t{photo.format(777)}\timage/jpeg\n"
    )
    source = sources.load(config, str(folder))
    found = {one.example_id: one.lineage.taxa[-1] for one in source.records}
    assert found == {"media/one.jpg": "crecca", "two.jpg": "pica", "777.jpeg": "alba"}
    assert [one.group for one in source.records] == ["3", "1", "2"]
    assert source.report.ignored == {"pictures (its file is not there)": 1}


def test_one_bad_row_of_multimedia_is_a_small_share(tmp_path, config, draw):
    """Of the rows of that table; the name of its file does not matter."""
    folder = tmp_path / "a"
    draw(folder, [f"{number}.jpg" for number in range(40)])
    terms = {"core": "scientificName", "extension": "identifier"}
    about = 'fieldsTerminatedBy="," ignoreHeaderLines="0" rowType="http://x/{}"'
    parts = "".join(
        f"<{tag} {about.format(kind)}><files><location>{kind}.csv</location></files>"
        f'<{key} index="0"/><field index="1" term="http://x/{terms[tag]}"/></{tag}>'
        for tag, kind, key in (
            ("core", "Occurrence", "id"),
            ("extension", "Multimedia", "coreid"),
        )
    )
    (folder / "meta.xml").write_text(
        f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{parts}</archive>'
    )
    lines = [f"{number},Anas crecca\n" for number in range(40)]
    (folder / "Occurrence.csv").write_text("".join(lines))
    lines = [f"{number},{number}.jpg\n" for number in range(39)]
    (folder / "Multimedia.csv").write_text("".join([*lines, "39,\n"]))
    source = sources.load(config, str(folder))
    assert len(source.records) == 40
    assert source.report.ignored == {"rows (it names no file)": 1}
    (folder / "Multimedia.csv").write_text("".join([*lines[:36], *["39,\n"] * 4]))
    with pytest.raises(UserError, match="4 of 40 rows of multimedia"):
        sources.load(config, str(folder))


@pytest.mark.parametrize("order", [1, -1])
def test_a_picture_of_several_taxa_is_left_out(tmp_path, config, draw, order):
    """Whichever of them is named first."""
    draw(tmp_path / "a", ["1.jpg", "2.jpg", "3.jpg"])
    rows = ["1,Anas crecca,x,https://x.org/2.jpg", "2,Anas acuta,x,", "3,Pica pica,x,"]
    lines = ["id,scientific_name,quality_grade,image_url", *rows[::order]]
    (tmp_path / "a" / "e.csv").write_text("\n".join(lines) + "\n")
    source = sources.load(config, str(tmp_path / "a"))
    assert source.report.ignored == {"pictures (several taxa in one picture)": 2}
    assert [one.example_id for one in source.records] == ["1.jpg", "3.jpg"]


def test_a_file_that_two_observations_name_is_of_the_first(tmp_path, config, draw):
    draw(tmp_path / "a", ["1.jpg", "2.jpg"])
    (tmp_path / "a" / "e.csv").write_text(
        "id,scientific_name,quality_grade,image_url\n"
        "1,Anas crecca,research,https://x.org/2.jpg\n2,Anas crecca,research,\n"
    )
    source = sources.load(config, str(tmp_path / "a"))
    assert {one.example_id: one.group for one in source.records} == {
        "1.jpg": "1",
        "2.jpg": "1",
    }
    assert source.report.ignored == {"pictures (its file is named before)": 1}


def test_class_folders_are_not_labelled_by_a_table_next_to_them(tmp_path, config, draw):
    """As in earlier versions, unless the source is named."""
    folder = tmp_path / "a"
    draw(folder, ["DUCK/1.jpg", "HERON/2.jpg"])
    (folder / "e.csv").write_text(
        "id,scientific_name,quality_grade\n1,Anas crecca,research\n"
        "2,Ardea alba,research\n"
    )
    assert sources.kind_of(config, str(folder)) == "image_folder"
    assert sources.load(config, str(folder)).records[0].lineage.ranks == ("label",)
    config.source = "inaturalist"
    assert [one.group for one in sources.load(config, str(folder)).records] == [
        "1",
        "2",
    ]
    config.source = "auto"
    (folder / "meta.xml").write_text("<metadata/>")
    (folder / "datapackage.json").write_text('{"resources": []}')
    assert sources.kind_of(config, str(folder)) == "image_folder"
    assert sources.kind_of(config, None) == "image_folder"


def test_files_are_found_by_name_or_id(tmp_path, draw):
    draw(tmp_path, ["a b.jpg", "x/12-3.png", ".hidden/12.jpg"])
    (tmp_path / "12.txt").write_text("")
    files = Files(tmp_path)
    assert files.of_id("12") == ["x/12-3.png"] and files.of_id("x") == ["x/12-3.png"]
    assert files.of_media(Media("https://e.org/a%20b.jpg?size=1")) == ["a b.jpg"]
    assert files.of_media(Media("https://e.org/")) == []
    assert files.of_media(Media("https://e.org/12-3")) == []
    assert files.of_media(Media("https://e.org/1/12-3.png")) == ["x/12-3.png"]
    assert files.of_media(Media("https://e.org/1/12-3.png"), {"12-3.png"}) == []


def test_what_is_not_there_is_said(tmp_path, config):
    config.source = "inaturalist"
    with pytest.raises(UserError, match="no archive or export was given"):
        sources.load(config)
    with pytest.raises(UserError, match="found none"):
        sources.load(config, str(tmp_path))
    (tmp_path / "e.csv").write_text(
        "id,scientific_name,quality_grade\n1,Anas crecca,research\n"
    )
    with pytest.raises(
        UserError, match="none of 1 picture .* its file is not there .*Put"
    ):
        sources.load(config, str(tmp_path))
