"""Reads Camtrap DP data packages of version 1.0.x: folders or zip archives.

    datapackage.json   licences, contributors, taxa
    deployments.csv    where a camera was, from when to when
    media.csv          its files
    observations.csv   what is to be seen, in a file or in an event of several

Source: https://camtrap-dp.tdwg.org (Bubnicki et al. 2023, doi:10.1002/rse2.374).
Columns are found by name, in any order; others are ignored. Besides types, ids and
references this checks what the table schemas do not say: that a box is complete and in
the picture, that an observation of level media names a file, that nothing ends before
it starts, and that an observation is of the deployment of its file.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from hiercam_keras.errors import UserError
from hiercam_keras.exchange import camtrap_dp_cells as cell
from hiercam_keras.exchange.detections import RelativeBox
from hiercam_keras.exchange.places import Place, fitting
from hiercam_keras.exchange.rows import Unread
from hiercam_keras.taxonomy.common_names import CommonName, Taxon

DESCRIPTOR = "datapackage.json"
MISSING = frozenset({"", "NA", "NaN", "nan"})
TABLES = ("deployments", "media", "observations")
OBSERVATIONS = (
    *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd"),
    *("observationLevel", "observationType", "cameraSetupType", "scientificName"),
    *("count", "lifeStage", "sex", "behavior", "individualID"),
    *("individualPositionRadius", "individualPositionAngle", "individualSpeed"),
    *("bboxX", "bboxY", "bboxWidth", "bboxHeight", "classificationMethod"),
    *("classifiedBy", "classificationTimestamp", "classificationProbability"),
    *("observationTags", "observationComments"),
)
LEVELS = ("media", "event")
TYPES = ("animal", "human", "vehicle", "blank", "unknown", "unclassified")
METHODS = ("human", "machine")
_VERSION = re.compile(r"camtrap-dp/v?(\d+)\.(\d+)(?:\.\d+)?/")
_READ = ("1", "0")
_REQUIRED = {
    "deployments": ("deploymentID", "deploymentStart", "deploymentEnd"),
    "media": ("mediaID", "deploymentID", "timestamp", "filePath", "fileMediatype"),
    "observations": (
        *("observationID", "deploymentID", "eventStart", "eventEnd"),
        *("observationLevel", "observationType"),
    ),
}


class Deployment(NamedTuple):
    """A camera at a place."""

    id: str
    start: datetime
    end: datetime


class Medium(NamedTuple):
    """A file of a camera.

    Attributes:
      number: line in the table.
      id: mediaID.
      deployment: deploymentID.
      timestamp: with an offset from UTC.
      path: relative to the package, or a URL.
      mediatype: such as image/jpeg.
      name: of the file; may be empty.
    """

    number: int
    id: str
    deployment: str
    timestamp: datetime
    path: str
    mediatype: str
    name: str


class Observation(NamedTuple):
    """What is to be seen in a file or in an event.

    Attributes:
      number: line in the table.
      id: observationID.
      deployment: deploymentID.
      medium: mediaID; "" at level event.
      event: eventID; may be empty.
      start: with an offset from UTC.
      end: likewise.
      level: media or event.
      kind: observationType, one of `TYPES`.
      name: scientificName; may be empty.
      box: relative x0, y0, x1, y1 in 0..1 of the picture as displayed; or None.
      method: human or machine; "" if unknown.
      probability: 0..1, or None.
    """

    number: int
    id: str
    deployment: str
    medium: str
    event: str
    start: datetime
    end: datetime
    level: str
    kind: str
    name: str
    box: RelativeBox | None
    method: str
    probability: float | None


class Resource(NamedTuple):
    """One table of a package."""

    path: str
    encoding: str
    delimiter: str
    quote: str


class Package:
    """A data package; its tables are streamed, and can be read several times.

    Attributes:
      place: the folder or archive.
      descriptor: content of datapackage.json.

    Args:
      path: of the folder, of its datapackage.json, or of a zip archive.

    Raises:
      UserError: it is no data package with the three tables, or of another version.
    """

    def __init__(self, path: Path):
        path = Path(path)
        if path.name == DESCRIPTOR and path.is_file():
            path = path.parent
        self.place = Place(path, DESCRIPTOR)
        with self.place.open(DESCRIPTOR) as file:
            try:
                self.descriptor: dict[str, Any] = json.load(file)
            except ValueError as error:
                raise UserError(f"{path}: {DESCRIPTOR} is no JSON: {error}.") from None
        if not isinstance(self.descriptor, dict):
            raise UserError(f"{path}: {DESCRIPTOR} holds no JSON object.")
        self._resources = self._find_resources()
        self._check_version()

    def resource(self, table: str) -> Resource:
        """The file of deployments, media or observations."""
        return self._resources[table]

    def header(self, table: str) -> list[str]:
        """Columns of a table.

        Raises:
          UserError: one that is needed is missing, or the table is empty.
        """
        rows = self.place.rows(*self._resources[table])
        first = next(rows, None)
        rows.close()
        columns = [] if first is None else [name.strip() for name in first.cells]
        missing = [name for name in _REQUIRED[table] if name not in columns]
        if missing:
            raise UserError(
                f"{self.place.path}: {self._resources[table].path} has no column "
                f"{missing[0]}, found {', '.join(columns[:8]) or 'nothing'}, ... . Its "
                "delimiter is a comma unless the resource's dialect names another."
            )
        return columns

    def deployments(self) -> Iterator[Deployment | Unread]:
        """The deployments; the first of two with one id counts."""
        seen: set[str] = set()
        for number, cells, fault in self._rows("deployments"):
            try:
                if fault:
                    raise cell.Fault(*fault)
                name = cell.new(cells, "deploymentID", seen)
                start, end = (
                    cell.time(cells, f"deployment{x}") for x in ("Start", "End")
                )
                if end < start:
                    raise cell.Fault("it ends before it starts", cells["deploymentEnd"])
                yield Deployment(name, start, end)
            except cell.Fault as error:
                yield self._unread("deployments", number, error)

    def media(self, deployments: Collection[str]) -> Iterator[Medium | Unread]:
        """The media files.

        Args:
          deployments: ids of the deployments that can be read.
        """
        seen: set[str] = set()
        for number, cells, fault in self._rows("media"):
            try:
                if fault:
                    raise cell.Fault(*fault)
                yield Medium(
                    number,
                    cell.new(cells, "mediaID", seen),
                    cell.known(cells, "deploymentID", deployments),
                    cell.time(cells, "timestamp"),
                    cell.filled(cells, "filePath"),
                    cell.filled(cells, "fileMediatype"),
                    cells.get("fileName", ""),
                )
            except cell.Fault as error:
                yield self._unread("media", number, error)

    def observations(
        self, deployments: Collection[str], media: Mapping[str, str]
    ) -> Iterator[Observation | Unread]:
        """The observations.

        Args:
          deployments: ids of the deployments that can be read.
          media: deploymentID by mediaID, of the files that can be read.
        """
        seen: set[str] = set()
        for number, cells, fault in self._rows("observations"):
            try:
                if fault:
                    raise cell.Fault(*fault)
                yield _observation(number, cells, seen, deployments, media)
            except cell.Fault as error:
                yield self._unread("observations", number, error)

    def taxa(self) -> dict[str, dict[str, str]]:
        """Entries of the descriptor's taxonomic block by scientific name: taxonRank,
        and kingdom, phylum, ... where they are given."""
        found = {}
        for entry in self.descriptor.get("taxonomic") or ():
            if isinstance(entry, dict) and entry.get("scientificName"):
                texts = {k: v for k, v in entry.items() if isinstance(v, str) and v}
                found[entry["scientificName"]] = texts
        return found

    def common_names(self) -> dict[Taxon, tuple[CommonName, ...]]:
        """The vernacular names of the descriptor's taxonomic block."""
        found = {}
        for entry in self.descriptor.get("taxonomic") or ():
            if not isinstance(entry, dict) or not entry.get("scientificName"):
                continue
            names = entry.get("vernacularNames")
            if isinstance(names, dict):
                taxon = Taxon(
                    str(entry["scientificName"]), str(entry.get("taxonRank") or "")
                )
                found[taxon] = tuple(
                    CommonName(name, str(language))
                    for language, name in names.items()
                    if isinstance(name, str)
                )
        return found

    def credit(self) -> str:
        """Title and licence of the media, for a caption; "" if neither is given."""
        licence = ""
        for entry in self.descriptor.get("licenses") or ():
            if isinstance(entry, dict) and entry.get("scope", "media") == "media":
                licence = entry.get("name") or entry.get("path") or ""
        who = self.descriptor.get("title") or self.descriptor.get("name") or ""
        return f"{who} ({licence})" if who and licence else who or licence

    def raw(self, table: str) -> Iterator[list[str]]:
        """The cells of all rows as they are, without the header; none for a row that
        is no valid CSV."""
        rows = self.place.rows(*self._resources[table])
        next(rows)
        return (row.cells for row in rows)

    def _rows(self, table: str) -> Iterator[tuple[int, dict[str, str], tuple]]:
        columns = self.header(table)
        rows = self.place.rows(*self._resources[table])
        next(rows)
        for row in rows:
            fault = fitting(row, len(columns), self._resources[table].path)
            if fault is not None:
                yield row.line, {}, (fault.reason, fault.found)
                continue
            cells = {
                name: "" if cell in MISSING else cell
                for name, cell in zip(columns, row.cells, strict=True)
            }
            yield row.line, cells, ()

    def _unread(self, table: str, number: int, error: cell.Fault) -> Unread:
        reason, found = (*error.args, "")[:2]
        return Unread(number, reason, self._resources[table].path, found)

    def _find_resources(self) -> dict[str, Resource]:
        listed = self.descriptor.get("resources")
        found = {}
        for entry in listed if isinstance(listed, list) else ():
            if not isinstance(entry, dict) or entry.get("name") not in _REQUIRED:
                continue
            path = entry.get("path")
            if isinstance(path, list) and len(path) == 1:
                path = path[0]
            if not isinstance(path, str):
                raise UserError(
                    f"{self.place.path}: the resource {entry['name']} has the path "
                    f"{path!r}, expected one file."
                )
            dialect = entry.get("dialect")
            dialect = dialect if isinstance(dialect, dict) else {}
            encoding = str(entry.get("encoding", "utf-8")).lower()
            if encoding.replace("-", "") == "utf8":
                encoding = "utf-8-sig"
            found[entry["name"]] = Resource(
                path,
                encoding,
                str(dialect.get("delimiter", ",")),
                str(dialect.get("quoteChar", '"')),
            )
        missing = [name for name in _REQUIRED if name not in found]
        if missing:
            raise UserError(
                f"{self.place.path} is no Camtrap DP package: its {DESCRIPTOR} has no "
                f"resource {missing[0]!r}. Expected {', '.join(_REQUIRED)}."
            )
        return found

    def _check_version(self) -> None:
        """Refuses another version; one that is not stated may be 1.0."""
        match = _VERSION.search(str(self.descriptor.get("profile", "")))
        if match and match.groups() != _READ:
            raise UserError(
                f"{self.place.path} is a Camtrap DP package of version "
                f"{'.'.join(match.groups())}: 1.0.x is read. Export it as 1.0."
            )
        if not match:
            logging.warning(
                "%s does not state its version of Camtrap DP: it is read as 1.0",
                self.place.path,
            )


def is_package(path: Path) -> bool:
    """Whether a folder or a zip archive is a data package with the three tables."""
    path = Path(path)
    if path.name == DESCRIPTOR:
        path = path.parent
    if not (path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip")):
        return False
    try:
        with Place(path, DESCRIPTOR).open(DESCRIPTOR) as file:
            listed = json.load(file)["resources"]
        names = {one.get("name") for one in listed}
    except (UserError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return set(TABLES) <= names


def _observation(
    number: int,
    cells: Mapping[str, str],
    seen: set[str],
    deployments: Collection[str],
    media: Mapping[str, str],
) -> Observation:
    name = cell.new(cells, "observationID", seen)
    deployment = cell.known(cells, "deploymentID", deployments)
    level = cell.one_of(cells, "observationLevel", LEVELS)
    medium = cells.get("mediaID", "")
    if level == "media":
        if not medium:
            raise cell.Fault("it is of level media and has no mediaID")
        if medium not in media:
            raise cell.Fault(
                "its mediaID is not among the media that can be read", medium
            )
        if media[medium] != deployment:
            raise cell.Fault(
                "its deployment is another one than that of its media file",
                f"{deployment}, {media[medium]}",
            )
    start, end = cell.time(cells, "eventStart"), cell.time(cells, "eventEnd")
    if end < start:
        raise cell.Fault("it ends before it starts", cells["eventEnd"])
    method = cells.get("classificationMethod", "")
    return Observation(
        number,
        name,
        deployment,
        medium if level == "media" else "",
        cells.get("eventID", ""),
        start,
        end,
        level,
        cell.one_of(cells, "observationType", TYPES),
        cells.get("scientificName", ""),
        cell.box(cells),
        cell.one_of(cells, "classificationMethod", METHODS) if method else "",
        cell.share(cells, "classificationProbability"),
    )
