"""Camtrap DP packages are read row by row; faults that validators pass are found."""

import json
import shutil

import pytest
from camtrap_packages import deployment, medium, observation, write

from hiercam_keras.errors import UserError
from hiercam_keras.exchange.camtrap_dp import Package, is_package
from hiercam_keras.exchange.rows import RowLog


def read(package, log):
    """Deployments, media and observations that can be read."""
    deployments = list(log.good(package.deployments(), "deployments.csv"))
    known = {one.id for one in deployments}
    media = list(log.good(package.media(known), "media.csv"))
    places = {one.id: one.deployment for one in media}
    rows = package.observations(known, places)
    return deployments, media, list(log.good(rows, "observations.csv"))


def test_every_row_of_the_real_package_is_read(real_data):
    log = RowLog()
    package = Package(real_data / "camtrap_dp")
    deployments, media, observations = read(package, log)
    assert (len(deployments), len(media), len(observations)) == (4, 423, 549)
    assert log.unread == []
    boxed = [one for one in observations if one.box]
    assert len(boxed) == 20 and {one.name for one in boxed} == {"Ardea"}
    first = next(one for one in boxed if one.medium == "7ab33b3a")
    assert first.box == pytest.approx((0.35947, 0.61382, 0.68898, 0.92607))
    assert package.taxa()["Ardea"]["taxonRank"] == "genus"
    assert package.credit().endswith("(http://creativecommons.org/licenses/by/4.0/)")


BOX = {"bboxX": "0.5", "bboxY": "0.25", "bboxWidth": "0.5", "bboxHeight": "0.5"}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({**BOX, "bboxWidth": "0.6"}, "its box reaches beyond the edge"),
        ({**BOX, "bboxY": ""}, "its box is not complete"),
        ({**BOX, "bboxHeight": "0"}, "its box is empty"),
        ({**BOX, "bboxX": "1", "bboxWidth": "0.005"}, "its box is empty"),
        ({**BOX, "bboxX": "-0.1"}, "bboxX is not between 0 and 1"),
        ({**BOX, "bboxX": "half"}, "bboxX is no number"),
        ({"mediaID": ""}, "it is of level media and has no mediaID"),
        ({"mediaID": "m9"}, "its mediaID is not among the media that can be read"),
        (
            {"deploymentID": "d2"},
            "its deployment is another one than that of its media file",
        ),
        ({"deploymentID": "d9"}, "its deploymentID is not among the deployments"),
        ({"eventStart": "2021-06-10T10:00:09Z"}, "it ends before it starts"),
        ({"eventStart": "2021-06-10T10:00:00"}, "eventStart has no offset from UTC"),
        ({"eventEnd": "noon"}, "eventEnd is no time as in 2020-05-30T02:57:37Z"),
        ({"eventEnd": ""}, "eventEnd is empty"),
        ({"observationID": "o1"}, "its observationID occurs before"),
        ({"observationLevel": "burst"}, "observationLevel is none of media, event"),
        (
            {"classificationProbability": "89"},
            "classificationProbability is not between 0 and 1",
        ),
    ],
)
def test_a_row_with_a_fault_is_left_out_with_line_and_reason(tmp_path, cells, reason):
    rows = [
        observation("o1", "m1"),
        observation("o2", "m1") | cells,
        observation("o3", "m1", **BOX),
    ]
    log = RowLog()
    _, _, found = read(Package(write(tmp_path / "p", [medium("m1")], rows)), log)
    assert [one.id for one in found] == ["o1", "o3"]
    assert found[1].box == (0.5, 0.25, 1.0, 0.75)
    (fault,) = log.unread
    assert (fault.number, fault.reason) == (3, reason)
    assert fault.table == "observations.csv"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"deploymentID": "d9"}, "its deploymentID is not among the deployments"),
        ({"mediaID": "m1"}, "its mediaID occurs before"),
        ({"filePath": ""}, "filePath is empty"),
        ({"timestamp": "2021-06-10"}, "timestamp has no offset from UTC"),
    ],
)
def test_media_with_a_fault(tmp_path, cells, reason):
    media = [medium("m1"), medium("m2") | cells, medium("m3")]
    log = RowLog()
    _, found, _ = read(Package(write(tmp_path / "p", media, [])), log)
    assert [one.id for one in found] == ["m1", "m3"]
    assert [(row.number, row.reason) for row in log.unread] == [(3, reason)]


def test_a_deployment_that_ends_before_it_starts_takes_its_files_with_it(tmp_path):
    early = deployment("d1", deploymentEnd="2021-05-01T00:00:00+02:00")
    package = write(
        tmp_path / "p",
        [medium("m1"), medium("m2", deploymentID="d2")],
        [observation("o1", "m1"), observation("o2", "m2", deploymentID="d2")],
        [early, deployment("d2")],
    )
    log = RowLog()
    deployments, media, observations = read(Package(package), log)
    assert [len(one) for one in (deployments, media, observations)] == [1, 1, 1]
    assert [row.table for row in log.unread] == [
        "deployments.csv",
        "media.csv",
        "observations.csv",
    ]


def test_damaged_lines_do_not_end_the_reading(tmp_path):
    """A quote that is not closed in its cell, a short row, and Latin-1."""
    package = write(
        tmp_path / "p",
        [medium("m1")],
        [observation("o1", "m1"), observation("o2", "m1"), observation("o3", "m1")],
    )
    path = package / "observations.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    broken = lines[2].replace(b"o2,", b'"o2"x,')
    latin = lines[2].replace(b"Anas", "Änas".encode("latin-1"))
    path.write_bytes(b"".join([*lines[:2], broken, b"short,row\n", latin, lines[3]]))
    log = RowLog()
    _, _, found = read(Package(package), log)
    assert [one.id for one in found] == ["o1", "o3"]
    assert [row.number for row in log.unread] == [3, 4, 5]
    reasons = [row.reason for row in log.unread]
    assert "no valid CSV" in reasons[0] and reasons[2] == "it is not UTF-8"
    assert reasons[1] == "it has another number of cells"
    assert log.unread[1].found == "2, expected 28"


def test_columns_in_any_order_and_remarks_with_semicolons(tmp_path):
    """A remark with semicolons is no other delimiter, as a guess would have it."""
    remark = "a;b;c;d\ne;f;g;h"
    rows = [observation(f"o{i}", "m1", observationComments=remark) for i in range(9)]
    package = write(tmp_path / "p", [medium("m1", mine="x")], rows)
    lines = (package / "deployments.csv").read_text().splitlines()
    turned = [",".join(reversed(line.split(","))) for line in lines]
    (package / "deployments.csv").write_text("\n".join(turned) + "\n")
    log = RowLog()
    deployments, media, observations = read(Package(package), log)
    assert (len(deployments), len(media), len(observations)) == (2, 1, 9)
    assert observations[8].number == 2 + 2 * 8 and not log.unread


def test_an_archive_is_read_like_its_folder(tmp_path):
    folder = write(tmp_path / "p", [medium("m1")], [observation("o1", "m1")])
    flat = shutil.make_archive(str(tmp_path / "flat"), "zip", folder)
    inside = shutil.make_archive(str(tmp_path / "inside"), "zip", tmp_path, "p")
    expected = read(Package(folder), RowLog())
    for path in (flat, inside, folder / "datapackage.json"):
        assert is_package(path)
        assert read(Package(path), RowLog()) == expected
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    assert not is_package(tmp_path / "no.zip") and not is_package(tmp_path)


def test_what_is_no_package_of_this_version_is_refused(tmp_path):
    folder = write(tmp_path / "a", [], [], profile="x/camtrap-dp/2.0/profile.json")
    with pytest.raises(UserError, match=r"of version 2\.0: 1\.0\.x is read"):
        Package(folder)
    folder = write(tmp_path / "b", [], [])
    text = json.loads((folder / "datapackage.json").read_text())
    text["resources"][1]["path"] = "../media.csv"
    (folder / "datapackage.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="expected a file in it"):
        list(Package(folder).media({}))
    del text["resources"][1]
    (folder / "datapackage.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="no resource 'media'"):
        Package(folder)
    (folder / "datapackage.json").write_text("[]")
    assert not is_package(folder)
    with pytest.raises(UserError, match="no JSON object"):
        Package(folder)
    (folder / "datapackage.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        Package(folder)
    folder = write(tmp_path / "c", [], [])
    (folder / "media.csv").write_text("mediaID;deploymentID\n")
    with pytest.raises(UserError, match="no column mediaID"):
        list(Package(folder).media({}))


def test_the_dialect_of_a_resource(tmp_path):
    folder = write(tmp_path / "p", [medium("m1")], [observation("o1", "m1")])
    text = json.loads((folder / "datapackage.json").read_text())
    table = (folder / "media.csv").read_text()
    (folder / "media.csv").write_text(table.replace(",", ";"))
    text["resources"][1]["dialect"] = {"delimiter": ";"}
    (folder / "datapackage.json").write_text(json.dumps(text))
    assert [len(one) for one in read(Package(folder), RowLog())] == [2, 1, 1]
    text["resources"][1]["dialect"] = {"delimiter": ";;"}
    (folder / "datapackage.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="expected one character"):
        read(Package(folder), RowLog())


def test_a_large_share_of_faults_is_an_error(tmp_path):
    log = RowLog()
    rows = [observation(f"o{i}", "m1") for i in range(40)]
    for row in rows[:3]:
        row["eventEnd"] = ""
    read(Package(write(tmp_path / "p", [medium("m1")], rows)), log)
    log.check(0.1, "p")
    with pytest.raises(UserError, match=r"3 of 40 rows .* line 2: eventEnd is empty"):
        log.check(0.05, "p")
