"""Groups: of tables and folders, of bursts by EXIF data, and merged with copies."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from hiercam_keras.data import capture, grouping, index, sources, splits
from hiercam_keras.data.grouping import Choice
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError

BASE = ExifTags.Base


def exif(taken="", make="", model="", serial=""):
    """EXIF data as cameras write them, with padding."""
    data = Image.Exif()
    if make:
        data[BASE.Make] = make
    if model:
        data[BASE.Model] = model + "\0"
    details = data.get_ifd(ExifTags.IFD.Exif)
    if taken:
        details[BASE.DateTimeOriginal] = taken
    if serial:
        details[BASE.BodySerialNumber] = serial
    return data


def picture(path, seed, **about):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((48, 40)).save(path, exif=exif(**about))


def groups(source):
    return {record.example_id: record.group for record in source.records}


@pytest.fixture
def shots(tmp_path):
    """Photographs of two cameras, one without a time, in two class folders."""
    root = tmp_path / "shots"
    one = {"make": "RECONYX", "model": "HF2"}
    times = {
        "a/1.jpg": ("2021:04:11 20:43:09", one),
        "a/2.jpg": ("2021:04:11 20:43:09", one),
        "a/3.jpg": ("2021:04:11 20:44:09", one),  # 60 s later
        "b/4.jpg": ("2021:04:11 20:45:10", one),  # 61 s later
        "b/5.jpg": ("2021:04:11 20:43:20", {**one, "serial": "H1"}),
        "b/6.jpg": ("2021:04:11 20:43:21", {**one, "serial": "H1"}),
        "b/7.jpg": ("0000:00:00 00:00:00", one),
        "b/8.jpg": ("", {}),
        "b/9.jpg": ("2021:04:11 20:43:10", {}),
    }
    for seed, (name, (taken, camera)) in enumerate(times.items()):
        picture(root / name, seed, taken=taken, **camera)
    return root


def test_bursts_by_time_and_camera(data_config, shots):
    data_config.groups = "exif:60s"
    found = groups(sources.load(data_config, str(shots)))
    first = "2021-04-11T20:43:09 RECONYX HF2"
    assert [found[f"a/{n}.jpg"] for n in (1, 2, 3)] == [first] * 3
    assert found["b/4.jpg"] == "2021-04-11T20:45:10 RECONYX HF2"
    # Another serial number is another camera; the number itself is not kept.
    assert found["b/5.jpg"] == found["b/6.jpg"]
    assert found["b/5.jpg"].startswith("2021-04-11T20:43:20 RECONYX HF2 #")
    assert "H1" not in found["b/5.jpg"]
    assert found["b/7.jpg"] is found["b/8.jpg"] is None
    assert found["b/9.jpg"] == "2021-04-11T20:43:10"
    data_config.groups = "exif:1min"
    assert groups(sources.load(data_config, str(shots))) == found
    data_config.groups = "exif:59s"
    assert groups(sources.load(data_config, str(shots)))["a/3.jpg"] != first
    data_config.groups = ""
    assert set(groups(sources.load(data_config, str(shots))).values()) == {None}


def test_turned_and_converted_photographs_keep_their_time(data_config, tmp_path):
    root = tmp_path / "turned"
    data = exif("2020:01:02 03:04:05", "A", "B")
    data[BASE.Orientation] = 6
    (root / "a").mkdir(parents=True)
    Image.new("RGB", (40, 30), "navy").save(root / "a" / "1.jpg", exif=data)
    Image.new("L", (40, 30)).save(root / "a" / "2.png", exif=data)
    data_config.groups = "exif:60s"
    source = sources.load(data_config, str(root))
    assert {r.path.parent.name for r in source.records} == {"converted"}
    assert set(groups(source).values()) == {"2020-01-02T03:04:05 A B"}


def test_an_index_of_an_earlier_version_gets_times_when_asked(
    data_config, shots, monkeypatch
):
    data_config.groups = "exif:60s"
    fresh = sources.load(data_config, str(shots))
    path = fresh.report.index_dir / "index.json"
    content = json.loads(path.read_text())
    assert content["schema_version"] == 4
    content["schema_version"] = 2
    content["files"] = {name: row[:-2] for name, row in content["files"].items()}
    path.write_text(json.dumps(content))
    monkeypatch.setattr(index.decode, "examine", None)  # nothing is decoded again
    data_config.groups = ""
    plain = sources.load(data_config, str(shots))
    assert {r.taken for r in plain.records} == {""}
    data_config.groups = "exif:60s"
    assert sources.load(data_config, str(shots)).records == fresh.records
    monkeypatch.setattr(capture, "of_file", None)  # and the times are kept
    assert sources.load(data_config, str(shots)).records == fresh.records


def test_photographs_without_times_have_no_bursts(data_config, bird_folder):
    data_config.groups = "exif:60s"
    with pytest.raises(UserError, match=r"none of 12 images .* has a time"):
        sources.load(data_config, str(bird_folder))


def test_the_real_burst_is_one_group(data_config, real_data, tmp_path):
    """Ten photographs in six seconds; some share a second."""
    folder = tmp_path / "heron" / "Ardea"
    shutil.copytree(real_data / "camtrap_dp" / "media", folder)
    data_config.groups = "exif:2s"
    source = sources.load(data_config, str(folder.parent))
    assert len({record.taken for record in source.records}) == 7
    name = "2021-04-11T20:43:09 RECONYX HYPERFIRE 2 COVERT"
    assert set(groups(source).values()) == {name} and len(source.records) == 10


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.sampled_from("xy")), min_size=1, max_size=25
    ),
    st.integers(0, 90),
)
def test_bursts_are_chains_of_short_gaps(shots, gap):
    """Compared with all pairs: linked images are those a chain of gaps connects."""
    records = [
        Record(
            f"{n}.jpg",
            pathlib.Path(f"{n}.jpg"),
            None,
            taken=f"2020-01-01T00:{at // 60:02d}:{at % 60:02d}",
            camera=camera,
        )
        for n, (at, camera) in enumerate(shots)
    ]
    found = grouping.bursts(records[::-1], gap)
    assert found == grouping.bursts(records, gap)
    at = {f"{n}.jpg": shot for n, shot in enumerate(shots)}
    linked = {one: {one} for one in at}
    for _ in at:
        for one, (a, camera) in at.items():
            for other, (b, same) in at.items():
                if camera == same and abs(a - b) <= gap:
                    linked[one] |= linked[other]
    for one in at:
        assert {other for other in at if found[other] == found[one]} == linked[one]


@pytest.mark.parametrize(
    "text", ["exif", "exif:", "exif:60", "exif:s", "exif:-1s", "exif:60d", "EXIF:1"]
)
def test_a_burst_needs_a_duration(text):
    with pytest.raises(UserError, match="exif:60s"):
        Choice.of({"groups": text})


def test_durations_and_words():
    assert Choice.of({}) == Choice.of({"groups": " "}) == Choice()
    assert Choice.of({"groups": "exif:1.5h"}).gap == 5400
    assert Choice.of({"groups": "EXIF: 2 min"}).gap == 120
    assert Choice.of({"groups": "None"}).none
    assert Choice.of({"groups": "Event ID"}).column == "Event ID"


HEADER = "path,family,species,group,event"


@pytest.fixture
def table(bird_folder):
    """A table of the folder's images: groups of two images, events of six."""
    rows = [HEADER]
    paths = sorted(path.relative_to(bird_folder) for path in bird_folder.rglob("*.jpg"))
    for n, path in enumerate(paths):
        species = path.parts[0].rsplit("_", 2)[-1]
        rows.append(f"{path},F,{species},g{n // 2},e{n // 6}")
    table = bird_folder / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def test_columns_of_a_table(data_config, table):
    data_config.source = "auto"
    source = sources.load(data_config, str(table))
    assert {r.lineage.ranks for r in source.records} == {("family", "species")}
    assert [r.group for r in source.records] == [f"g{n // 2}" for n in range(12)]
    for name in ("event", "Event", "EVENT"):
        data_config.groups = name
        found = sources.load(data_config, str(table)).records
        assert [r.group for r in found] == [f"e{n // 6}" for n in range(12)]
        assert found[0].lineage.ranks[-1] == "species"
    data_config.groups = "none"
    source = sources.load(data_config, str(table))
    assert {r.group for r in source.records} == {None}
    assert {r.lineage.ranks for r in source.records} == {("family", "species")}
    data_config.groups = "deployment"
    with pytest.raises(UserError, match="no column of this name, but family, species"):
        sources.load(data_config, str(table))


def test_an_observation_id_is_no_rank_but_a_group(data_config, table):
    """Numbers below species count as a finer rank unless they are named."""
    rows = table.read_text().splitlines()
    ids = ["Observation_ID", *(1000 + n // 2 for n in range(12))]
    rows = [f"{row},{one}" for row, one in zip(rows, ids, strict=True)]
    table.write_text("\n".join(rows))
    data_config.source, data_config.groups = "auto", "observation-id"
    found = sources.load(data_config, str(table)).records
    assert found[0].group == found[1].group == "1000" != found[2].group
    assert "observation_id" not in found[0].lineage.ranks
    data_config.groups = ""  # with an id below it, `group` is a group all the same
    found = sources.load(data_config, str(table)).records
    assert [r.group for r in found] == [f"g{n // 2}" for n in range(12)]


def test_empty_cells_are_in_no_group(data_config, table):
    text = table.read_text().replace(",g0,", ",,")
    table.write_text(text)
    data_config.source = "auto"
    found = sources.load(data_config, str(table)).records
    assert [r.group for r in found[:4]] == [None, None, "g1", "g1"]


def test_a_coarse_rank_called_group_stays_a_rank(data_config, table):
    rows = table.read_text().splitlines()
    rows = [",".join(row.split(",")[:3]) for row in rows]
    kinds = ["group"] + ["water"] * 8 + ["wood"] * 4
    table.write_text("\n".join(f"{r},{k}" for r, k in zip(rows, kinds, strict=True)))
    data_config.source = "auto"
    found = sources.load(data_config, str(table)).records
    assert "group" in found[0].lineage.ranks
    assert {r.group for r in found} == {None}


def test_groups_next_to_a_folder(data_config, bird_folder, caplog):
    names = sorted(str(p.relative_to(bird_folder)) for p in bird_folder.rglob("*.jpg"))
    rows = [f"images/{name},n{n % 3},w{n}" for n, name in enumerate(names[:-1])]
    text = "\n".join(["example_id,nest,who", *rows, "images/gone.jpg,n0,w"])
    (bird_folder / "groups.csv").write_text(text)
    source = sources.load(data_config, str(bird_folder))
    found = groups(source)
    assert found[names[0]] == found[names[3]] == "n0" and found[names[-1]] is None
    assert "1 row name no image that was read, the first is line 13" in caplog.text
    data_config.groups = "who"
    assert len(set(groups(sources.load(data_config, str(bird_folder))).values())) == 12
    data_config.groups = "event"
    with pytest.raises(UserError, match="no column of this name, but nest, who"):
        sources.load(data_config, str(bird_folder))
    (bird_folder / "groups.csv").write_text(
        f"example_id,group\n{names[0]},a\n{names[0]},b\n"
    )
    data_config.groups = ""
    with pytest.raises(UserError, match="line 3: .* another group in an earlier line"):
        sources.load(data_config, str(bird_folder))


def test_a_source_without_columns_refuses_a_name(data_config, bird_folder):
    data_config.groups = "event"
    with pytest.raises(UserError, match=r"no column of this name, but none at all"):
        sources.load(data_config, str(bird_folder))


def record(name, group=None, pixels="", dhash=""):
    about = {"group": group, "pixels": pixels, "dhash": dhash}
    return Record(f"{name}.jpg", pathlib.Path(name), None, 60, 40, **about)


def test_copies_join_groups():
    records = [
        record("a", "x", "p"),
        record("b", "x"),
        record("c", "y", "p"),
        record("d", "y"),
        record("e", "z"),
        record("f", None, "q"),
        record("g", None, "q"),
        record("h"),
    ]
    found = grouping.merged(records)
    assert found == {
        **dict.fromkeys(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), "x"),
        "e.jpg": "z",
        **dict.fromkeys(("f.jpg", "g.jpg"), "copies of f.jpg"),
    }
    assert grouping.merged(records[::-1]) == found
    assert not grouping.has_groups(records[5:]) and grouping.has_groups(records)


def test_near_copies_join_on_request():
    look = f"{0x0F0F33CC5A5AF00F:016x}"
    near = f"{0x0F0F33CC5A5AF00F ^ 3:016x}"
    records = [record("a", "x", dhash=look), record("b", "y", dhash=near), record("c")]
    assert grouping.merged(records) == {"a.jpg": "x", "b.jpg": "y"}
    assert grouping.merged(records, near=True) == {"a.jpg": "x", "b.jpg": "x"}
    split = splits.split_records(
        records, 0, (0.5, 0.25, 0.25), grouping.merged(records, True), True
    )
    assert split.divided({"a.jpg": "x", "b.jpg": "x"}) == {}


def test_records_without_groups_are_those_of_before(data_config, bird_folder):
    """No field of a record changes but the two that were added."""
    source = sources.load(data_config, str(bird_folder))
    for one in source.records:
        fresh = dataclasses.replace(one, group=None, taken="", camera="")
        assert one == fresh
