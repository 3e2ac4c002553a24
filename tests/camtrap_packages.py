"""Camtrap DP packages made for tests: two deployments, and what a test asks for."""

import csv
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from hiercam_keras.exchange.camtrap_dp import OBSERVATIONS

DEPLOYMENTS = (
    *("deploymentID", "locationID", "locationName", "latitude", "longitude"),
    *("coordinateUncertainty", "deploymentStart", "deploymentEnd", "setupBy"),
    *("cameraID", "cameraModel", "cameraDelay", "cameraHeight", "cameraDepth"),
    *("cameraTilt", "cameraHeading", "detectionDistance", "timestampIssues"),
    *("baitUse", "featureType", "habitat", "deploymentGroups", "deploymentTags"),
    "deploymentComments",
)
MEDIA = (
    *("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath"),
    *("filePublic", "fileName", "fileMediatype", "exifData", "favorite"),
    "mediaComments",
)
PROFILE = (
    "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
)


def deployment(name: str, **cells: str) -> dict[str, str]:
    """A row of a camera that was there in June 2021."""
    return {
        "deploymentID": name,
        "latitude": "51.5",
        "longitude": "4.7",
        "deploymentStart": "2021-06-01T00:00:00+02:00",
        "deploymentEnd": "2021-06-30T00:00:00+02:00",
        **cells,
    }


def medium(name: str, second: int = 0, **cells: str) -> dict[str, str]:
    """A row of a photograph, taken on the 10th at noon and some seconds."""
    return {
        "mediaID": name,
        "deploymentID": "d1",
        "timestamp": f"2021-06-10T12:{second // 60:02}:{second % 60:02}+02:00",
        "filePath": f"media/{name}.jpg",
        "filePublic": "true",
        "fileMediatype": "image/jpeg",
        **cells,
    }


def observation(name: str, medium: str = "", second: int = 0, **cells: str) -> dict:
    """A row of an animal, of level media if there is a medium."""
    time = f"2021-06-10T10:{second // 60:02}:{second % 60:02}Z"
    return {
        "observationID": name,
        "deploymentID": "d1",
        "mediaID": medium,
        "eventStart": time,
        "eventEnd": time,
        "observationLevel": "media" if medium else "event",
        "observationType": "animal",
        "scientificName": "Anas crecca",
        "classificationMethod": "human",
        **cells,
    }


def write(
    folder: Path,
    media: list[dict],
    observations: list[dict],
    deployments: list[dict] | None = None,
    **descriptor,
) -> Path:
    """Writes a package, with further columns where a row has them."""
    folder.mkdir(parents=True, exist_ok=True)
    deployments = deployments or [deployment("d1"), deployment("d2")]
    write_csv(folder / "deployments.csv", DEPLOYMENTS, deployments)
    write_csv(folder / "media.csv", MEDIA, media)
    write_csv(folder / "observations.csv", OBSERVATIONS, observations)
    resources = [
        {"name": name, "path": f"{name}.csv", "encoding": "utf-8"}
        for name in ("deployments", "media", "observations")
    ]
    content = {"name": "made", "profile": PROFILE, "resources": resources}
    text = json.dumps(content | descriptor)
    (folder / "datapackage.json").write_text(text, encoding="utf-8")
    return folder


def write_csv(path: Path, header: tuple[str, ...], rows: list[dict]) -> None:
    """A table with the columns of the schema, and those that rows have besides."""
    more = dict.fromkeys(name for row in rows for name in row if name not in header)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*header, *more], restval="")
        writer.writeheader()
        writer.writerows(rows)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


VALIDATE = """
import sys
from frictionless import Package
report = Package(sys.argv[1]).validate()
print(report.flatten(["rowNumber", "fieldName", "type", "note"])[:9])
raise SystemExit(0 if report.valid else 1)
"""


def validate(
    folder: Path, real: Path, observations: Path
) -> subprocess.CompletedProcess:
    """What frictionless says of the real package with other observations.

    The profile and the schemas' addresses are replaced by the local schemas, as tests
    have no network.
    """
    if find_spec("frictionless") is None:
        pytest.skip("frictionless is not installed (requirements-dev.txt)")
    folder.mkdir()
    package = json.loads((real / "datapackage.json").read_text())
    del package["profile"]
    package["resources"] = package["resources"][:3]
    for one in package["resources"]:
        shutil.copy(real / one["path"], folder)
        one["schema"] = f"{one['name']}-table-schema.json"
        one["dialect"] = {"delimiter": ","}
        shutil.copy(real / one["schema"], folder)
    (folder / "observations.csv").unlink()
    shutil.copy(observations, folder / "observations.csv")
    path = folder / "datapackage.json"
    path.write_text(json.dumps(package))
    command = [sys.executable, "-c", VALIDATE, str(path)]
    return subprocess.run(command, capture_output=True, text=True)
