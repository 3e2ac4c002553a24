"""Boxes of tables and of boxes.csv: conventions, units, images that they must fit."""

import logging
import unicodedata

import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources
from hiercam_keras.data.sources import boxes
from hiercam_keras.errors import UserError

SIZES = {"a/1.jpg": (200, 100), "a/2.jpg": (100, 50), "b/3.jpg": (80, 80)}
BOXES = {  # x0, y0, x1, y1 in pixels
    "a/1.jpg": (100, 20, 160, 80),
    "a/2.jpg": (60, 10, 80, 40),
    "b/3.jpg": (48, 8, 72, 60),
}
LETTERS = {"xyxy": "x0,y0,x1,y1", "xywh": "x,y,width,height"}


def written(box, size, convention, units):
    x0, y0, x1, y1 = box
    numbers = box if convention == "xyxy" else (x0, y0, x1 - x0, y1 - y0)
    across, down = size if units == "relative" else (1, 1)
    pairs = zip(numbers, (across, down, across, down), strict=True)
    return [number / side for number, side in pairs]


def rows(convention, units, header):
    yield header
    for name, box in BOXES.items():
        numbers = written(box, SIZES[name], convention, units)
        yield ",".join([name, *map(repr, numbers)])


@pytest.fixture(params=["boxes.csv", "table"])
def load(request, data_config, tmp_path):
    """Loads three images with boxes, from class folders and from a table."""
    for name, size in SIZES.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)

    def load(lines, **options):
        lines, config = list(lines), ConfigDict(data_config.to_dict())
        config.boxes = options
        if request.param == "table":
            config.source = "csv_table"
            lines = [f"{lines[0]},kind"] + [f"{line},x" for line in lines[1:]]
            (tmp_path / "images" / "t.csv").write_text("\n".join(lines))
        else:
            (tmp_path / "boxes.csv").write_text("\n".join(lines))
        source = sources.load(config, str(tmp_path / "images"))
        return {r.example_id: r.boxes for r in source.records}

    return load


def check(found):
    for name, box in BOXES.items():
        assert found[name][0] == pytest.approx(box)


@pytest.mark.parametrize("units", boxes.UNITS)
@pytest.mark.parametrize("convention", boxes.CONVENTIONS)
def test_conventions_are_read_from_the_config(load, convention, units):
    lines = rows(convention, units, "path,x0,y0,x1,y1")
    check(load(lines, convention=convention, units=units))


@pytest.mark.parametrize("units", boxes.UNITS)
@pytest.mark.parametrize(
    ("convention", "names"),
    [
        ("xyxy", "X0,Y0,X1,Y1"),
        ("xyxy", "xmin,ymin,xmax,ymax"),
        ("xyxy", "x min,y min,x max,y max"),
        ("xywh", "x,y,width,height"),
        ("xywh", "bboxX,bboxY,bboxWidth,bboxHeight"),
        ("xywh", "x0,y0,x1,y1"),  # only the numbers show it
    ],
)
def test_what_is_certain_is_found_out_and_logged(
    load, convention, names, units, caplog
):
    with caplog.at_level(logging.INFO, logger="absl"):
        check(load(rows(convention, units, f"path,{names}")))
    said = "in pixels" if units == "pixels" else "relative to the image's sides"
    assert f"3 boxes are read as {LETTERS[convention]} {said}" in caplog.text
    warned = any(record.levelname == "WARNING" for record in caplog.records)
    assert warned == (units == "relative" or (convention, names[:2]) == ("xywh", "x0"))


def test_two_rows_are_not_enough_to_contradict_the_header(load):
    """Two slips of the pen are no convention: the flag is named instead."""
    lines = ["path,x0,y0,x1,y1", "a/1.jpg,100,20,60,60", "a/2.jpg,60,10,20,30"]
    lines.append("b/3.jpg,1,1,40,40")
    with pytest.raises(UserError, match="line 2: .*x1 <= x0.*convention=xywh"):
        load(lines)
    assert load(lines, convention="xywh")["a/2.jpg"] == ((60, 10, 80, 40),)


@pytest.mark.parametrize(
    ("row", "options", "words"),
    [
        ("a/1.jpg,0,0,300,90", {}, "is outside of the image, which has 200 x 100"),
        ("a/1.jpg,-9,0,30,90", {}, "is outside of the image"),
        ("a/1.jpg,10,0,10,90", {}, "has x1 <= x0"),
        ("a/1.jpg,0,0,0.5,0.5", {"units": "pixels"}, "smaller than a.*units=relative"),
        ("a/1.jpg,1,1,9,9", {"units": "relative"}, "is outside.*units=pixels"),
        (
            "a/1.jpg,1,1,9,big",
            {},
            "line 2: the box is 1,1,9,big, expected four numbers",
        ),
        ("a/1.jpg,1,1,9,9", {"units": "px"}, "data.boxes.units is 'px'"),
        ("a/1.jpg,1,1,9,9", {"convention": "yx"}, "data.boxes.convention is 'yx'"),
    ],
)
def test_a_box_that_does_not_fit_is_named(load, row, options, words):
    with pytest.raises(UserError, match=words) as error:
        load(["path,x0,y0,x1,y1", row], **options)
    assert "\n" not in str(error.value)


def test_one_relative_box_among_pixels_is_seen(load):
    lines = ["path,x0,y0,x1,y1", "a/1.jpg,10,20,60,60", "a/2.jpg,0.1,0.2,0.5,0.7"]
    with pytest.raises(UserError, match="line 3: .*smaller than a pixel"):
        load(lines)


def test_a_pixel_over_the_edge_is_a_matter_of_convention(load):
    found = load(["path,x0,y0,x1,y1", "a/1.jpg,-1,0,201,100"])
    assert found["a/1.jpg"] == ((-1, 0, 201, 100),)


@pytest.fixture
def folder(tmp_path):
    """Two images, and a function that loads them and returns warnings."""
    for name in ("a/1.jpg", "a/2.jpg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10)).save(path)
    return tmp_path


def warnings(config, folder, caplog):
    caplog.clear()
    source = sources.load(config, str(folder / "images"))
    return source.records, "\n".join(
        r.getMessage() for r in caplog.records if r.levelname == "WARNING"
    )


def test_ids_without_suffix_say_what_was_compared(data_config, folder, caplog):
    (folder / "boxes.csv").write_text(
        "example_id,x0,y0,x1,y1\na/1,1,1,9,9\nimages/a/2.jpg,1,1,9,9\nc/9.jpg,1,1,9,9\n"
    )
    records, said = warnings(data_config, folder, caplog)
    assert [record.boxes for record in records] == [(), ((1, 1, 9, 9),)]
    assert "1 of 3 boxes name no image" in said
    assert "compared 'a/1' (line 2) with ids such as 'a/1.jpg'" in said
    (folder / "boxes.csv").write_text("image,x0,y0,x1,y1\n2.jpg,1,1,9,9\n")
    _, said = warnings(data_config, folder, caplog)
    assert "compared '2.jpg' (line 2) with ids such as 'a/2.jpg'" in said


def test_ids_of_macos_are_those_of_the_table(data_config, folder, caplog):
    """The folder's name is in NFD, the table's in NFC."""
    name = "Åse"
    (folder / "images" / "a").rename(
        folder / "images" / unicodedata.normalize("NFD", name)
    )
    text = f"example_id,x0,y0,x1,y1\n{name}/1.jpg,1,1,9,9\n"
    (folder / "boxes.csv").write_text(text, encoding="utf-8")
    records, said = warnings(data_config, folder, caplog)
    assert [record.boxes for record in records] == [((1, 1, 9, 9),), ()] and not said


def test_boxes_of_folders_that_are_not_read_are_counted(data_config, folder, caplog):
    text = "example_id,x0,y0,x1,y1\na/1.jpg,1,1,9,9\nother/1.jpg,1,1,9,9\n"
    (folder / "boxes.csv").write_text(text)
    with caplog.at_level("INFO", logger="absl"):
        _, said = warnings(data_config, folder, caplog)
    assert "1 of 2 boxes are in folders that are not read, such as 'other'" in (
        caplog.text
    )
    assert not said


def test_a_few_boxes_from_another_corner_do_not_turn_the_others():
    """Three of 31 have x1 < x0 and y1 < y0, and all 31 fit as x,y,width,height."""
    numbers = [(25, 22, 15, 12)] * 3 + [(10, 12, 30, 32)] * 28
    rows = [boxes.Row(i, str(i), one) for i, one in enumerate(numbers)]
    sizes = {row.example_id: (80, 64) for row in rows}
    with pytest.raises(UserError, match="3 of 31 boxes do not fit.*convention=xywh"):
        boxes.in_pixels(rows, sizes, boxes.AUTO, "xyxy", "boxes.csv")
    found = boxes.in_pixels(rows[:30], sizes, boxes.AUTO, "xyxy", "boxes.csv")
    assert found[-1] == (10, 12, 40, 44)


def test_a_spreadsheet_wrote_the_boxes(data_config, folder, caplog):
    text = "Example ID ;X0;Y0;X1;Y1;;\r\na/1.jpg;1,5;1;9;9;;\r\n;;;;;;\r\n"
    (folder / "boxes.csv").write_bytes(text.encode("utf-8-sig"))
    records, said = warnings(data_config, folder, caplog)
    assert records[0].boxes == ((1.5, 1, 9, 9),) and not said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("masks/a/1.jpg", "the first is a/1.jpg: expected a/1.png. Labels must be"),
        ("masks/a/1.PNG", "the first is a/1.PNG: expected a/1.png"),
        ("masks/a/1_mask.png", "it holds a/1_mask.png, but a/1.png was expected"),
        ("parts/1.png", "it holds 1.png, but a/1.png was expected"),
    ],
)
def test_masks_under_other_names_are_named(data_config, folder, caplog, name, words):
    (folder / name).parent.mkdir(parents=True)
    Image.new("L", (20, 10), 255).save(folder / name)
    records, said = warnings(data_config, folder, caplog)
    assert records[0].mask_path is None and words in said
    right = folder / name.split("/")[0] / "a" / "1.png"
    right.parent.mkdir(exist_ok=True)
    (folder / name).rename(right)
    assert warnings(data_config, folder, caplog)[1] == ""
