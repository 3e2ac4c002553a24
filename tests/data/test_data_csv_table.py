"""Tables of images: what they may hold, and the messages for invalid ones."""

import logging
import re
import unicodedata

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources, splits
from hiercam_keras.data.sources import annotations, safe_paths
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.tree import Taxonomy

HEADER = "path,organ,finding,diagnosis,x0,y0,x1,y1,mask,split,example_id\n"
ROWS = (
    "scans/a.png,lung,nodule,benign,2,3,12,9,masks/a.png,train,case 1\n"
    "scans/./b.png,lung,nodule,malignant,,,,,,test,case 2\n"
    '"scans/c,d.png",heart,none,"normal, adult",0,0,20,10,,val,\n'
)


@pytest.fixture
def folder(tmp_path):
    """Three scans of 20 x 10 pixels and one mask, without a table."""
    root = tmp_path / "study"
    (root / "scans").mkdir(parents=True)
    (root / "masks").mkdir()
    for number, name in enumerate(("a.png", "b.png", "c,d.png")):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(root / "scans" / name)
    mask = np.zeros((10, 20), np.uint8)
    mask[3:9, 2:12] = 255
    Image.fromarray(mask).save(root / "masks" / "a.png")
    return root


@pytest.fixture
def read(folder, data_config):
    """Reads a table of the folder."""

    def read(text, encoding="utf-8", **fields):
        data = text if isinstance(text, bytes) else text.encode(encoding)
        (folder / "table.csv").write_bytes(data)
        config = ConfigDict(data_config.to_dict() | {"source": "csv_table"} | fields)
        return sources.load(config, str(folder / "table.csv"))

    return read


def test_ranks_come_from_the_header(read):
    source = read(HEADER + ROWS)
    first, second, third = source.records
    assert [r.example_id for r in source.records] == [
        "case 1",
        "case 2",
        "scans/c,d.png",
    ]
    assert first.lineage.ranks == ("organ", "finding", "diagnosis")
    assert third.lineage.taxa == ("heart", "none", "normal, adult")
    assert first.boxes == ((2, 3, 12, 9),) and second.boxes == ()
    assert (first.width, first.height) == (20, 10)
    mask = annotations.read_labels(first.mask_path)
    assert (mask[3:9, 2:12] > 0).all() and (mask > 0).sum() == 60
    assert second.mask_path is None
    split = splits.split_records(source.records, 0)
    assert split.train == ("case 1",) and split.test == ("case 2",)
    assert Taxonomy(r.lineage for r in source.records).num_labels("organ") == 2


def test_the_second_reading_looks_at_no_file(read):
    assert read(HEADER + ROWS).report.added == 3
    again = read(HEADER + ROWS)
    assert (again.report.added, again.report.changed) == (0, 0)


def test_byte_order_mark_case_spaces_and_blank_lines(read):
    text = "\n Path , Family ,species\r\n\r\nscans/a.png, Picidae ,viridis\r\n\n"
    (record,) = read(text, "utf-8-sig").records
    assert record.lineage.ranks == ("family", "species")
    assert record.lineage.taxa == ("Picidae", "viridis") and record.split is None


def test_ranks_are_chosen_by_the_config(read):
    text = "path,notes,species,family\nscans/a.png,nice,viridis,Picidae\n"
    (record,) = read(text, ranks=("family", "species")).records
    assert record.lineage.taxa == ("Picidae", "viridis")
    with pytest.raises(UserError, match="line 1: no column 'genus'.*path,notes"):
        read(text, ranks=("genus",))


def test_a_spreadsheet_with_columns_that_are_no_ranks(read, folder, caplog):
    """Semicolons, a byte order mark, fine to coarse, a split by another name."""
    text = "sep=;\r\n Path ;Species;Genus;Data  Set;Location;Seen;Weight;;\r\n"
    parts, places = ("train", "valid", "test"), ("Oslo", "Bergen")
    for i in range(12):
        Image.new("RGB", (20, 10), (9 * i, 0, 0)).save(folder / "scans" / f"{i}.png")
        taxa = f"{'abcdef'[i // 2]};{'AABBCC'[i // 2]}"
        text += (
            f"scans/{i}.png;{taxa};{parts[i % 3]};{places[i % 2]};1.5.2020;{i},5\r\n"
        )
    with caplog.at_level(logging.INFO, logger="absl"):
        source = read(text, "utf-8-sig")
    assert source.records[0].lineage.ranks == ("genus", "species")
    taxonomy = Taxonomy(record.lineage for record in source.records)
    assert taxonomy.num_labels("species") == 6
    split = splits.split_records(source.records, 0)
    assert split.test == tuple(sorted(f"scans/{i}.png" for i in (2, 5, 8, 11)))
    assert "ranks, coarse to fine: genus, species (ordered by how they nest); the " in (
        caplog.text
    )
    assert "the split: data set" in caplog.text
    assert (
        "location (its values cross those of species); seen (it holds d" in caplog.text
    )
    assert "--config.data.ranks=\"('genus','species','location')\"" in caplog.text


@pytest.mark.parametrize("chosen", [(), ("species",)])
def test_ids_of_events_are_a_finer_rank_with_a_warning(read, folder, caplog, chosen):
    """Two images of each event show one species, as those of a burst do."""
    text = "path,species,event\n"
    for i in range(8):
        Image.new("RGB", (20, 10), (9 * i, 0, 0)).save(folder / "scans" / f"{i}.png")
        text += f"scans/{i}.png,{'ab'[i // 4]},E{i // 2}\n"
    with caplog.at_level(logging.WARNING, logger="absl"):
        source = read(text, ranks=chosen)
    assert source.records[0].lineage.ranks == (chosen or ("species", "event"))
    said = "event: each value occurs with one species only" in caplog.text
    assert said == (not chosen)
    assert not said or "--config.data.ranks=\"('species',)\"" in caplog.text


def test_the_table_of_a_kaggle_data_set(read, folder):
    """As it comes with folders of train, test and valid."""
    text = "class id,filepaths,labels,data set,scientific name\n"
    for i, (bird, name) in enumerate([("CROW", "Corvus"), ("BARN OWL", "Tyto alba")]):
        for part in ("train", "train", "test", "valid"):
            path = folder / part / bird / f"{text.count(part)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 10)).save(path)
            where = path.relative_to(folder).as_posix()
            text += f"{i}.0,{where},{bird},{part},{name.upper()}\n"
    records = read(text).records
    assert records[0].lineage.ranks == ("labels", "scientific name")
    assert [r.split for r in records] == ["test"] * 2 + ["train"] * 4 + ["val"] * 2


def test_paths_without_suffix_say_so(read):
    with pytest.raises(UserError, match="There is a.png: paths need the file's suffix"):
        read("path,kind\nscans/a,x\nscans/b,y\n")


def test_a_table_without_its_source_is_named(read, data_config, folder):
    read(HEADER + ROWS)
    with pytest.raises(
        UserError, match="is a table of images: use --config.data.source=cs"
    ):
        sources.load(data_config, str(folder / "table.csv"))


def test_one_lineage_alone(read):
    text = "path,organ,kind\nscans/a.png,lung,a\nscans/b.png,heart,b\n"
    source = read(text, keep_lineage="lung")
    assert [r.lineage.taxa for r in source.records] == [("lung", "a")]
    assert source.report.ignored == {"rows outside lung": 1}
    with pytest.raises(UserError, match="no row of .* in data.keep_lineage=liver"):
        read(text, keep_lineage="liver")


def test_images_may_lie_elsewhere(folder, data_config, tmp_path):
    (tmp_path / "list.csv").write_text("path,kind\nscans/a.png,x\n")
    data_config.source, data_config.table = "csv_table", str(tmp_path / "list.csv")
    (record,) = sources.load(data_config, str(folder)).records
    assert record.path == folder / "scans" / "a.png"
    with pytest.raises(UserError, match="none of 1 image .*the file is missing"):
        sources.load(data_config)
    del data_config.table
    with pytest.raises(UserError, match=r"expected one table .* found none"):
        sources.load(data_config, str(folder))
    with pytest.raises(UserError, match="no table was given: use --data_dir"):
        sources.load(data_config)


WRONG = {
    "path,kind\nscans/b.png,x\nscans/a.png,\n": "line 3: the column 'kind' is empty",
    "path,species\nscans/a.png,\n": "line 2: the column 'species' is empty",
    "path,kind\nscans/a.png,\n": r"no column for a rank: kind \(it is empty\)",
    "path,kind\n ,x\n": "line 2: the column 'path' is empty",
    "path,kind\nscans/a.png,x\n\nscans/./a.png,y\n": "line 4: .*occurs in line 2",
    "path,kind\nscans/a.png,x,y\n": r"line 2: 3 cells, expected 2 \(path,kind\)",
    "path,kind,kind\nscans/a.png,x,y\n": "line 1: the column 'kind' occurs twice",
    "bird,kind\nscans/a.png,x\n": "of path, image.*found none.*Rename .* to path",
    "path,image,kind\na,b,c\n": "found path, image",
    "path kind\nscans/a.png x\n": "found none in path kind",
    "path\nscans/a.png\n": "no column for a rank",
    "path,a/b\nscans/a.png,x\n": "'a/b' cannot name a rank",
    "path,,\nscans/a.png,x,y\n": "line 2: 3 cells, expected 1",
    "path,,note\nscans/a.png,x,\n": "no column for a rank: unnamed column 2 .it has no",
    "path,kind\n../a.png,x\n": r"line 2: '\.\./a\.png' leads out of its folder",
    "path,kind\n/etc/passwd,x\n": "line 2: '/etc/passwd' leads out",
    "path,kind\nC:\\a.png,x\n": "leads out",
    "path,kind\na\\b.png,x\n": "has backslashes",
    'path,kind\n"a\nb.png",x\n': r"line 2: 'a\\nb.png' holds a control character",
    "path,kind,mask\nscans/a.png,x,../m.png\n": r"'\.\./m\.png' leads out",
    "path,kind,mask\nscans/a.png,x,no.png\n": "line 2: there is no mask .*no.png",
    "path,kind,example_id\nscans/a.png,x,../up\n": r"'\.\./up' leads out",
    "path,kind,split\nscans/a.png,x,dev\n": "line 2: split is 'dev'",
    "path,kind,split\nscans/a.png,x,\n": "line 2: split is ''",
    "path,kind,x0,y0\nscans/a.png,x,1,2\n": "a box needs x0, y0, x1, y1, found x0, y0",
    "path,kind,x0,y0,x1,y1\nscans/a.png,x,1,2,3,\n": "line 2: the box is 1,2,3,, exp",
    "path,kind,x0,y0,x1,y1\nscans/a.png,x,1,2,nan,4\n": "expected four numbers",
    "path,kind,x0,y0,x1,y1\nscans/a.png,x,5,2,3,4\n": "x1 <= x0",
    "path,kind,x0,y0,x1,y1\nscans/a.png,x,0,0,10,20\n": "line 2: .*has 20 x 10 pixels",
    'path,kind\nscans/a.png,"x\n': "line 2: unexpected end of data",
    "path,kind\n": "has a header, but no rows",
    "": "is empty, expected a CSV table with a header",
    b"path,kind\nscans/a.png,x\nb.png,caf\xe9\n": r"line 3: not UTF-8 \(byte 0xe9",
}


@pytest.mark.parametrize("text", WRONG)
def test_the_message_names_the_line(read, text):
    with pytest.raises(UserError, match=WRONG[text]) as raised:
        read(text)
    assert "\n" not in str(raised.value) and "table.csv" in str(raised.value)


def test_a_missing_table_is_reported(data_config, tmp_path):
    data_config.source = "csv_table"
    with pytest.raises(UserError, match="cannot read the table .*No such file"):
        sources.load(data_config, str(tmp_path / "no.csv"))


def test_what_cannot_be_read_is_left_out(read, folder):
    (folder / "scans" / "b.png").write_bytes(b"no image")
    text = "path,kind\nscans/a.png,x\nscans/b.png,y\nscans/gone.png,y\n"
    source = read(text)
    assert [r.example_id for r in source.records] == ["scans/a.png"]
    assert dict(source.report.unreadable) == {
        "scans/b.png": "not an image that Pillow knows",
        "scans/gone.png": "the file is missing",
    }


def test_boxes_and_masks_turn_with_the_photo(read, folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed 10 wide, 20 high: turned clockwise
    Image.new("RGB", (20, 10)).save(folder / "scans" / "a.jpg", exif=exif)
    text = "path,kind,x0,y0,x1,y1,mask\nscans/a.jpg,x,2,3,12,9,masks/a.png\n"
    (record,) = read(text).records
    assert (record.width, record.height) == (10, 20)
    assert record.boxes == ((1, 2, 7, 12),)  # x = 10 - y, y = x
    mask = annotations.read_labels(record.mask_path)
    assert (mask[2:12, 1:7] > 0).all() and (mask > 0).sum() == 60


@pytest.mark.parametrize("name", ["a/../../b", "..", "/a", "", "a/ /b", "\udce9.jpg"])
def test_no_name_leads_out(name):
    with pytest.raises(UserError) as raised:
        safe_paths.relative(name)
    str(raised.value).encode("utf-8")


def test_names_that_stay_inside():
    assert safe_paths.relative("a//./b.jpg") == "a/b.jpg"
    assert safe_paths.relative("..a/b..jpg") == "..a/b..jpg"


def test_a_jpeg_is_no_mask(read, folder):
    """Its pixels around the object are above 0: 9 % more area for a disk."""
    Image.new("L", (20, 10)).save(folder / "masks" / "a.JPG")
    with pytest.raises(UserError, match="line 2: the mask .*a.JPG is a JPEG.*PNG"):
        read("path,kind,mask\nscans/a.png,x,masks/a.JPG\nscans/b.png,y,\n")


def test_a_mask_of_another_shape_is_refused(read, folder):
    Image.new("L", (10, 20)).save(folder / "masks" / "b.png")
    text = "path,kind,mask\nscans/a.png,x,masks/a.png\nscans/b.png,y,masks/b.png\n"
    with pytest.raises(
        UserError,
        match="line 3: the label image .*b.png has 10 x 20 pixels, its image 20 x 10",
    ):
        read(text)
    Image.new("L", (41, 20)).save(folder / "masks" / "b.png")  # another resolution
    assert len(read(text).records) == 2


@pytest.mark.parametrize("part", ["scans", "masks"])
def test_links_do_not_lead_out(read, folder, part):
    outside = folder.parent / "outside.png"
    (folder / part / "a.png").rename(outside)
    (folder / part / "a.png").symlink_to(outside)
    with pytest.raises(UserError, match="line 2: .*a.png is a link that leads out"):
        read("path,kind,mask\nscans/a.png,x,masks/a.png\nscans/b.png,y,\n")


def test_a_huge_mask_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(annotations.decode, "MAX_PIXELS", 199)
    with pytest.raises(UserError, match="has 20 x 10 pixels, more than the 0 million"):
        annotations.read_labels(folder / "masks" / "a.png")
    monkeypatch.setattr(annotations.decode, "MAX_PIXELS", 200)
    assert annotations.read_labels(folder / "masks" / "a.png").shape == (10, 20)


def test_names_in_another_unicode_normalization_are_found(read, folder):
    """macOS writes names in NFD, tables are usually NFC; and the other way round."""
    nfc, nfd = (unicodedata.normalize(form, "größe/ü.png") for form in ("NFC", "NFD"))
    assert nfc != nfd
    for stored, listed in ((nfd, nfc), (nfc, nfd)):
        for place in ("scans", "masks"):
            path = folder / place / stored
            path.parent.mkdir()
            (folder / place / "a.png").rename(path)
        text = f"path,species,mask\nscans/{listed},x\u00fc,masks/{listed}\n"
        (record,) = read(text).records
        assert record.path == folder / "scans" / stored
        assert record.mask_path == folder / "masks" / stored
        assert record.example_id == f"scans/{listed}"
        for place in ("scans", "masks"):
            (folder / place / stored).rename(folder / place / "a.png")
            (folder / place / stored).parent.rmdir()


def test_the_lines_of_empty_cells_are_named(read, caplog):
    """One empty cell costs the finest rank; the warning has its line."""
    rows = [f"scans/a.png,f{n // 4},s{n // 2},id{n}" for n in range(12)]
    rows[5] = rows[5].replace("s2", "")
    read("path,family,art,example_id\n" + "\n".join(rows))
    assert "art (1 of its 12 cells are empty, line 7)" in caplog.text
    caplog.clear()
    rows = [row.replace(",s", ",#") for row in rows]
    for number in (1, 3, 7, 8, 10, 11):
        rows[number] = re.sub("#.", "", rows[number])
    read("path,family,art,example_id\n" + "\n".join(rows))
    assert "art (7 of its 12 cells are empty, lines 3, 5, 7, 9, 10, ...)" in caplog.text
