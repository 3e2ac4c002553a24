"""Observations that are written again: nothing is lost, and validators accept them."""

import shutil
from datetime import UTC, datetime, timedelta, timezone

import pytest
from camtrap_packages import medium, observation, rows_of, validate, write

from hiercam_keras.exchange import camtrap_dp_writer
from hiercam_keras.exchange.camtrap_dp import OBSERVATIONS, Package
from hiercam_keras.exchange.camtrap_dp_writer import Prediction
from hiercam_keras.exchange.rows import RowLog

NOW = datetime(2026, 11, 29, 3, 4, 5, 678900, timezone(timedelta(hours=2)))


def predictions(package, name="Anas crecca", **more):
    log = RowLog()
    known = {one.id for one in log.good(package.deployments(), "")}
    media = log.good(package.media(known), "")
    return [Prediction(one, "e1", name, 0.98765, **more) for one in media]


def test_rows_and_unknown_columns_are_kept_and_own_rows_replaced(tmp_path):
    cells = {"observationComments": 'a;b "c"\nd', "reviewed": "ja, ü"}
    folder = write(
        tmp_path / "p",
        [medium("m1"), medium("m2", 3)],
        [observation("o1", "m1", **cells), observation("o2", count="2")],
    )
    package, out = Package(folder), tmp_path / "out.csv"
    box = {"box": (0.25, 0.5, 1.0, 0.999996), "index": 2}
    both = [*predictions(package), *predictions(package, **box)]
    assert camtrap_dp_writer.write(out, package, both, "me", NOW) == 2
    found = rows_of(out)
    assert tuple(found[0]) == (*OBSERVATIONS, "reviewed")
    assert found[:2] == rows_of(folder / "observations.csv")
    assert len({row["observationID"] for row in found}) == 6
    new = found[2]
    assert new["deploymentID"] == "d1" and new["eventID"] == "e1"
    assert new["eventStart"] == new["eventEnd"] == "2021-06-10T10:00:00Z"
    assert new["classificationTimestamp"] == "2026-11-29T01:04:05Z"
    assert new["classificationProbability"] == "0.9877" and new["bboxX"] == ""
    sides = [found[4][name] for name in ("bboxX", "bboxY", "bboxWidth", "bboxHeight")]
    assert sides == ["0.25000", "0.50000", "0.75000", "0.50000"]
    # The same network again: its rows are replaced. Another one's are added.
    shutil.copy(out, folder / "observations.csv")
    again = tmp_path / "again.csv"
    camtrap_dp_writer.write(again, package, both, "me", NOW)
    assert again.read_text() == out.read_text()
    camtrap_dp_writer.write(again, package, both, "other", NOW)
    assert len(rows_of(again)) == 10


def test_what_is_written_is_read_again(tmp_path):
    """Name, probability and box of a prediction, and what a person had said."""
    folder = write(tmp_path / "p", [medium("m1")], [observation("o1", "m1")])
    package, out = Package(folder), tmp_path / "out.csv"
    box = (0.1, 0.2, 0.30001, 0.9)
    made = predictions(package, "Anas acuta", box=box, index=1)
    camtrap_dp_writer.write(out, package, made, "me", NOW)
    shutil.copy(out, folder / "observations.csv")
    log = RowLog()
    rows = Package(folder).observations({"d1"}, {"m1": "d1"})
    old, new = log.good(rows, "observations.csv")
    assert not log.unread
    assert (old.id, old.method, old.name) == ("o1", "human", "Anas crecca")
    assert (new.method, new.name, new.event) == ("machine", "Anas acuta", "e1")
    assert new.box == pytest.approx(box) and new.probability == 0.9877
    assert new.start == new.end == made[0].medium.timestamp


def test_an_animal_without_a_name_is_unknown(tmp_path):
    package = Package(write(tmp_path / "p", [medium("m1")], []))
    camtrap_dp_writer.write(tmp_path / "o", package, predictions(package, ""), "", NOW)
    (row,) = rows_of(tmp_path / "o")
    assert (row["observationType"], row["scientificName"]) == ("unknown", "")
    assert row["classificationProbability"] == "0.9877"


def test_an_answer_that_is_not_believed_has_no_probability(tmp_path):
    package = Package(write(tmp_path / "p", [medium("m1")], []))
    made = [one._replace(probability=None) for one in predictions(package, "")]
    camtrap_dp_writer.write(tmp_path / "o", package, made, "", NOW)
    (row,) = rows_of(tmp_path / "o")
    assert (row["observationType"], row["classificationProbability"]) == ("unknown", "")


def test_times_have_whole_seconds_and_an_offset():
    assert camtrap_dp_writer.time(NOW) == "2026-11-29T03:04:05+02:00"
    assert camtrap_dp_writer.time(NOW.astimezone(UTC)) == "2026-11-29T01:04:05Z"


def test_frictionless_accepts_what_is_written(real_data, tmp_path):
    real, out = real_data / "camtrap_dp", tmp_path / "out.csv"
    package = Package(real)
    box = {"box": (0.123456, 0.5, 1.0, 1.0), "index": 1}
    both = [*predictions(package, "Ardea"), *predictions(package, "Ardea", **box)]
    assert camtrap_dp_writer.write(out, package, both, "me", NOW) == 549
    said = validate(tmp_path / "good", real, out)
    assert said.returncode == 0, said.stdout + said.stderr[-500:]
    lines = out.read_text().splitlines(keepends=True)
    lines[-1] = lines[-1].replace("01:04:05Z", "01:04:05.6Z")
    out.write_text("".join(lines))
    said = validate(tmp_path / "bad", real, out)
    assert said.returncode == 1 and "classificationTimestamp" in said.stdout
