"""A large package is read in under a minute and under 1 GiB."""

import csv
import json
import subprocess
import sys

import pytest
from camtrap_packages import DEPLOYMENTS, MEDIA, PROFILE, deployment

from hiercam_keras.exchange.camtrap_dp import OBSERVATIONS

NUM_MEDIA, NUM_DEPLOYMENTS = 200_000, 200
READ = """
import sys, time
from benchmarks.worker import peak_memory  # of this process, not of its parent's copy
from ml_collections import ConfigDict
from hiercam_keras.data import sources
from hiercam_keras.errors import UserError
config = ConfigDict({"source": "auto", "root": "", "cache_dir": sys.argv[2]})
try:
    sources.load(config, sys.argv[1])
except UserError as error:
    assert "a URL that was not downloaded (200000)" in str(error), error
else:
    raise AssertionError
print(time.process_time())
print(peak_memory())
"""


@pytest.mark.slow
def test_200_000_media_and_300_000_observations(tmp_path):
    """Every picture has a row of its own, and those of a camera are in events of ten.

    The files are URLs, so no picture is opened. Seconds are those of the processor, as
    other processes may run; the reading is of one thread.
    """
    folder = tmp_path / "large"
    folder.mkdir()
    _write(folder)
    command = [sys.executable, "-c", READ, str(folder), str(tmp_path / "cache")]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-2000:]
    seconds, mebibytes = map(float, said.stdout.split())
    assert seconds < 60 and mebibytes < 1024, (seconds, mebibytes)


def _write(folder):
    resources = [
        {"name": name, "path": f"{name}.csv"}
        for name in ("deployments", "media", "observations")
    ]
    text = json.dumps({"name": "large", "profile": PROFILE, "resources": resources})
    (folder / "datapackage.json").write_text(text)
    names = [f"d{number:04}" for number in range(NUM_DEPLOYMENTS)]
    rows = [[deployment(name).get(one, "") for one in DEPLOYMENTS] for name in names]
    _write_csv(folder / "deployments.csv", DEPLOYMENTS, rows)
    _write_csv(folder / "media.csv", MEDIA, _media(names))
    _write_csv(folder / "observations.csv", OBSERVATIONS, _observations(names))


def _time(number):
    """UTC, two seconds from picture to picture of a camera."""
    seconds = number // NUM_DEPLOYMENTS * 2
    return f"2021-06-10T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


def _media(names):
    for number in range(NUM_MEDIA):
        key = f"{number:08x}-0d99-4ab4-973b-7e4a8e20b56d"
        yield [
            *(key, names[number % NUM_DEPLOYMENTS], "activityDetection"),
            *(_time(number), f"https://multimedia.example.org/assets/{key}/file"),
            *("true", f"RCNX{number:07}.JPG", "image/jpeg", "", "false", ""),
        ]


def _observations(names):
    """200,000 rows of media, and 100,000 of events, ten pictures each on average."""
    for number in range(NUM_MEDIA + NUM_MEDIA // 2):
        of_media = number < NUM_MEDIA
        at = number if of_media else (number - NUM_MEDIA) * 2
        key = f"{at:08x}-0d99-4ab4-973b-7e4a8e20b56d" if of_media else ""
        row = dict.fromkeys(OBSERVATIONS, "")
        row["observationID"] = f"{number:08x}-1111-4ab4-973b-7e4a8e20b56d"
        row["deploymentID"] = names[at % NUM_DEPLOYMENTS]
        row["mediaID"] = key
        row["eventID"] = f"event-{at // 2000 * 200 + at % NUM_DEPLOYMENTS:06}"
        row["eventStart"] = _time(at)
        row["eventEnd"] = _time(at if of_media else at + 2000)
        row["observationLevel"] = "media" if of_media else "event"
        row["observationType"] = "blank" if number % 3 == 0 else "animal"
        row["scientificName"] = "" if number % 3 == 0 else f"Anas sp{'abc'[at % 3]}"
        row["classificationMethod"] = "human"
        if of_media and at % 2 and number % 3:
            row |= {"bboxX": f"{at % 97 / 100:.5f}", "bboxY": "0.25000"}
            row |= {"bboxWidth": "0.02500", "bboxHeight": "0.50000"}
        yield [row[name] for name in OBSERVATIONS]


def _write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
