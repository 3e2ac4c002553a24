"""Darwin Core archives, read as their meta.xml says, row by row."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.exchange.darwin_core import Archive, by_id, is_archive
from hiercam_keras.exchange.occurrences import Media
from hiercam_keras.exchange.rows import RowLog

DWC = "http://rs.tdwg.org/dwc/terms/"
FIELDS = (f"{DWC}scientificName", f"{DWC}taxonRank", f"{DWC}family", f"{DWC}eventID")


def meta(sep="\\t", quote="", core="", rows="Occurrence", skip=1):
    fields = "".join(
        f'<field index="{i}" term="{term}"/>' for i, term in enumerate(FIELDS, 1)
    )
    about = (
        f'encoding="UTF-8" fieldsTerminatedBy="{sep}" linesTerminatedBy="\\n" '
        f'fieldsEnclosedBy="{quote}" ignoreHeaderLines="{skip}"'
    )
    return f"""<?xml version="1.0"?>
<archive xmlns="http://rs.tdwg.org/dwc/text/">
  <core {about} rowType="{DWC}{rows}">
    <files><location>occurrence.txt</location></files>
    <id index="0"/>{fields}{core}
  </core>
  <extension {about} rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.txt</location></files>
    <coreid index="0"/>
    <field index="1" term="http://purl.org/dc/terms/type"/>
    <field index="2" term="http://purl.org/dc/terms/identifier"/>
    <field index="4" term="http://purl.org/dc/terms/license"/>
    <field index="5" term="http://purl.org/dc/terms/rightsHolder"/>
  </extension>
</archive>"""


HEADER = "id\tscientificName\ttaxonRank\tfamily\teventID\n"
MEDIA = "id\ttype\tidentifier\ttitle\tlicense\trightsHolder\n"


def write(folder: Path, occurrences: str, media: str = "", **of_meta) -> Path:
    folder.mkdir()
    (folder / "meta.xml").write_text(meta(**of_meta))
    (folder / "occurrence.txt").write_text(HEADER + occurrences)
    (folder / "multimedia.txt").write_text(MEDIA + media)
    return folder


def read(path, log=None):
    log = log or RowLog()
    archive = Archive(path)
    media = by_id(log.good(archive.media(), "multimedia.txt"))
    return list(log.good(archive.occurrences(media), archive.table))


OCCURRENCES = (
    '7\tAnas crecca Linnaeus, 1758\tSPECIES\tAnatidae\te1\n'
    '8\tArdea "the tall"\tGENUS\t\t\n'
)  # fmt: skip


def test_columns_are_those_of_meta_and_pictures_are_joined(tmp_path):
    media = (
        "7\tStillImage\thttps://x/1.jpg\tone\tCC0\tA\n"
        "7\tSound\thttps://x/1.mp3\t\tCC0\tA\n"
        "8\tStillImage\tpictures/2.jpg\ttwo\tCC-BY\tB\n"
        "7\t\thttps://x/3.jpg\t\t\t\n"
    )
    folder = write(tmp_path / "a", OCCURRENCES, media)
    one, two = read(folder)
    assert (one.number, one.id, one.event) == (2, "7", "e1")
    assert (one.rank, one.taxa) == ("species", (("family", "Anatidae"),))
    urls = [Media("https://x/1.jpg", "A", "CC0"), Media("https://x/3.jpg")]
    assert list(one.media) == urls and urls[0].credit == "A (CC0)"
    # Without quotes around cells a quotation mark is part of the text.
    assert two.name == 'Ardea "the tall"'
    assert two.media == (Media("pictures/2.jpg", "B", "CC-BY"),)
    packed = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "a")
    assert is_archive(packed) and is_archive(folder) and read(packed) == [one, two]


def test_quoted_cells_hold_line_ends(tmp_path):
    rows = '7,"Anas\ncrecca",species,Anatidae,e1\n8,"Ardea, ""x""",genus,,\n'
    folder = write(tmp_path / "a", rows, sep=",", quote="&quot;")
    for name in ("occurrence.txt", "multimedia.txt"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("\t", ","))
    one, two = read(folder)
    assert (one.name, two.name) == ("Anas\ncrecca", 'Ardea, "x"')
    assert (one.number, two.number) == (2, 4)


def test_defaults_hold_where_a_cell_is_empty_or_has_no_column(tmp_path):
    core = (
        f'<field term="{DWC}kingdom" default="Animalia"/>'
        f'<field index="3" term="{DWC}genus" default="Anas"/>'
    )
    one, two = read(write(tmp_path / "a", OCCURRENCES, core=core))
    assert dict(one.taxa) == {
        "kingdom": "Animalia",
        "family": "Anatidae",
        "genus": "Anatidae",
    }
    assert dict(two.taxa) == {"kingdom": "Animalia", "genus": "Anas"}


def test_a_row_that_cannot_be_read_does_not_end_the_reading(tmp_path):
    rows = OCCURRENCES + "9\tAnas\n\tAnas\tgenus\t\t\n7\tAnas\tgenus\t\t\n"
    rows += "10\t\tgenus\t\t\n11\tPica pica\tspecies\t\t\n"
    log = RowLog()
    found = read(write(tmp_path / "a", rows, "7\tStillImage\t\t\t\t\n"), log)
    assert [one.id for one in found] == ["7", "8", "11"]
    assert [(row.table, row.number, row.reason) for row in log.unread] == [
        ("multimedia.txt", 2, "it names no file"),
        ("occurrence.txt", 4, "it has another number of cells"),
        ("occurrence.txt", 5, "it has no id"),
        ("occurrence.txt", 6, "its id occurs before"),
        ("occurrence.txt", 7, "scientificName is empty"),
    ]


def test_what_is_no_archive_of_occurrences_is_refused(tmp_path):
    with pytest.raises(UserError, match="the core of the archive is event"):
        Archive(write(tmp_path / "a", "", rows="Event"))
    (tmp_path / "a" / "meta.xml").write_text(meta().replace('index="1"', 'index="b"'))
    with pytest.raises(UserError, match="'b' where a number is expected"):
        Archive(tmp_path / "a")
    (tmp_path / "a" / "meta.xml").write_text("<archive")
    with pytest.raises(UserError, match="no XML"):
        Archive(tmp_path / "a")
    text = meta().replace("occurrence.txt", "../../etc/passwd")
    (tmp_path / "a" / "meta.xml").write_text(text)
    with pytest.raises(UserError, match="expected a file in it"):
        read(tmp_path / "a")


REFERENCE = """
import json, sys
from dwca.read import DwCAReader
with DwCAReader(sys.argv[1]) as reader:
    rows = [[row.id, row.data, [one.data for one in row.extensions]] for row in reader]
print(json.dumps(rows))
"""


def test_the_rows_are_those_of_python_dwca_reader(tmp_path):
    """The reference reader gives the same values where it can read all rows."""
    if find_spec("dwca") is None:
        pytest.skip("python-dwca-reader is not installed (requirements-dev.txt)")
    media = "7\tStillImage\ta.jpg\t\tCC0\tA\n8\tStillImage\tb.jpg\t\tCC0\tB\n"
    core = f'<field index="4" term="{DWC}kingdom" default="Animalia"/>'
    folder = write(tmp_path / "a", OCCURRENCES, media, core=core)
    command = [sys.executable, "-c", REFERENCE, str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    for mine, (key, data, media) in zip(
        read(folder), json.loads(said.stdout), strict=True
    ):
        assert (mine.id, mine.name) == (key, data[f"{DWC}scientificName"])
        assert mine.event == data[f"{DWC}eventID"]
        assert dict(mine.taxa)["kingdom"] == data[f"{DWC}kingdom"]
        urls = [one["http://purl.org/dc/terms/identifier"] for one in media]
        assert [one.file for one in mine.media] == urls


def test_the_real_occurrence_table_without_meta(real_data):
    log = RowLog()
    found = read(real_data / "inat_export" / "occurrence_dwca.csv", log)
    assert len(found) == 50 and not log.unread
    by_id = {one.id: one for one in found}
    assert (by_id["38"].name, by_id["38"].rank) == ("Ophion", "genus")
    assert dict(by_id["38"].taxa)["order"] == "Hymenoptera"
    licence = "http://creativecommons.org/publicdomain/zero/1.0/"
    assert by_id["38"].owner.credit == f"person-1 ({licence})"


def test_an_archive_of_a_table_alone_is_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    assert not is_archive(tmp_path / "x.zip")
