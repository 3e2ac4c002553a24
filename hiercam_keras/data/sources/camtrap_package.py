"""Camtrap DP data packages: pictures of camera traps with observations.

A picture has the taxon of the observations of its file, or of the event that it is part
of: a person's before a machine's, the file's before the event's. Its group is the event
(data.groups: deploymentID for the deployment), as the pictures of an event show one
animal.
"""

import bisect
import os
import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from absl import logging

from hiercam_keras import wording, workdir
from hiercam_keras.data import grouping, suffixes
from hiercam_keras.data import index as index_lib
from hiercam_keras.data.sources import observed, occurrences, safe_paths
from hiercam_keras.data.sources.name_lineages import Named
from hiercam_keras.data.sources.observed import Picture
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import places, rows
from hiercam_keras.exchange.camtrap_dp import TABLES, Medium, Observation, Package
from hiercam_keras.exchange.detections import RelativeBox
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS

_MACHINE = "machine"
_SAME = 1e-4  # of the picture's side; boxes are written with as many digits
_NO_ANIMALS = ("blank", "human", "vehicle")
_NEVER = datetime.min.replace(tzinfo=UTC)
_GROUPS = ("eventID", "deploymentID")  # that data.groups can name


class Seen(NamedTuple):
    """What one observation says of a picture."""

    kind: str
    name: str
    method: str
    event: str
    box: RelativeBox | None


class Events:
    """Observations of level event, found by deployment and time."""

    def __init__(self):
        self._entries: dict[str, list[tuple[datetime, datetime, Seen]]] = {}
        self._trees: dict[str, list[datetime]] = {}

    def add(self, one: Observation) -> None:
        """Adds an observation; not after `at` was called."""
        entry = (one.start, one.end, _seen(one))
        self._entries.setdefault(one.deployment, []).append(entry)

    def at(self, deployment: str, time: datetime) -> list[Seen]:
        """The observations of the events that a time is in, by their start.

        An event may be as long as its deployment, so those that start before are not
        tried one by one, but in a tree of their latest ends.
        """
        entries = self._entries.get(deployment)
        if not entries:
            return []
        if deployment not in self._trees:
            entries.sort(key=lambda entry: entry[0])
            self._trees[deployment] = _latest([end for _, end, _ in entries])
        tree = self._trees[deployment]
        begun = bisect.bisect_right(entries, time, key=lambda entry: entry[0])
        width = len(tree) // 2
        found, nodes = [], [(1, 0, width)]
        while nodes:
            node, first, size = nodes.pop()
            if first >= begun or tree[node] < time:
                continue
            if size == 1:
                found.append(entries[first][2])
                continue
            half = size // 2
            nodes.append((2 * node + 1, first + half, half))
            nodes.append((2 * node, first, half))
        return found


def _latest(ends: Sequence[datetime]) -> list[datetime]:
    """A binary tree as a list: the latest end below each node, the root at 1."""
    width = 1 << (len(ends) - 1).bit_length()
    tree = [_NEVER] * width + [*ends] + [_NEVER] * (width - len(ends))
    for node in range(width - 1, 0, -1):
        tree[node] = max(tree[2 * node], tree[2 * node + 1])
    return tree


class Tables(NamedTuple):
    """The tables of a package as far as they concern pictures.

    Attributes:
      media: the files that are images, in the order of the table.
      by_medium: what the observations of level media say, by mediaID.
      events: observations of level event.
    """

    media: list[Medium]
    by_medium: dict[str, list[Seen]]
    events: Events

    def of(self, medium: Medium) -> tuple[list[Seen], list[Seen]]:
        """What is said of a file itself, and of the event that it is part of."""
        event = self.events.at(medium.deployment, medium.timestamp)
        return self.by_medium.get(medium.id, []), event

    def event(self, medium: Medium) -> str:
        """eventID of the event that a file is part of; "" if none is known."""
        own, event = self.of(medium)
        return next((seen.event for seen in (*own, *event) if seen.event), "")

    def files(self, root: Path) -> dict[str, str]:
        """The files by mediaID: relative paths, or URLs of those that are not there.

        A file that the package has as a URL may have been downloaded: it is called by
        its mediaID, or by its fileName if that is the only one of its kind.
        """
        if all("://" not in one.path for one in self.media):
            return {one.id: _relative(one.path) for one in self.media}
        present = occurrences.Files(root)
        names = Counter(one.name for one in self.media if one.name)
        found = {}
        for one in self.media:
            found[one.id] = _relative(one.path)
            if "://" in one.path:
                here = present.of_id(one.id)
                if not here and names[one.name] == 1:
                    here = present.of_name(one.name)
                if len(here) == 1:
                    found[one.id] = here[0]
        return found


class Opened(NamedTuple):
    """A package with its tables read.

    Attributes:
      package: the package.
      tables: of it.
      root: folder of its files; that of an archive's is in the cache.
      log: of the rows that were read.
    """

    package: Package
    tables: Tables
    root: Path
    log: rows.RowLog


def read_source(request: Request) -> Reading:
    """The images of a data package in --data_dir or data.root.

    Raises:
      UserError: it is no data package of version 1.0, too many rows cannot be read, or
        no image is there with a lineage.
    """
    if not request.place:
        raise UserError(
            "no data package was given: use --data_dir=/path/to/package, a folder or "
            "zip archive with datapackage.json."
        )
    opened = open_package(request.place, request.cache)
    place = opened.package.place.path
    choice = grouping.Choice.of(request.config)
    by = choice.column_of(_GROUPS, _GROUPS, str(place))
    return observed.read_pictures(
        _pictures(opened, by),
        opened.root,
        opened.package.resource("media").path,
        request,
        opened.log,
        place,
        _GROUPS,
        opened.package.common_names(),
    )


def open_package(place: str, cache: Path) -> Opened:
    """Reads the tables of a package, and unpacks the images of an archive.

    Raises:
      UserError: it is no data package of version 1.0.
    """
    package, log = Package(Path(place)), rows.RowLog()
    tables = read_tables(package, log)
    root = package.place.path
    if package.place.is_zip:
        root = _unpack(package, tables.media, cache)
    return Opened(package, tables, root, log)


def read_tables(package: Package, log: rows.RowLog) -> Tables:
    """Streams the three tables; rows with faults are in the log."""
    names = {name: package.resource(name).path for name in TABLES}
    known = {one.id for one in log.good(package.deployments(), names["deployments"])}
    media, deployments = [], {}
    for one in log.good(package.media(known), names["media"]):
        deployments[one.id] = one.deployment
        if one.mediatype.startswith("image/"):
            media.append(one)
        else:
            kind = f"{one.mediatype.split('/')[0]} files"
            log.leave_out(one.number, kind, names["media"], one.path)
    by_medium: dict[str, list[Seen]] = defaultdict(list)
    events = Events()
    cache: dict[Seen, Seen] = {}  # equal ones share an object
    observations = package.observations(known, deployments)
    for one in log.good(observations, names["observations"]):
        if one.medium:
            seen = _seen(one)
            by_medium[one.medium].append(cache.setdefault(seen, seen))
        else:
            events.add(one)
    return Tables(media, dict(by_medium), events)


def _relative(path: str) -> str:
    """The path as an example_id has it; one that is none is unchanged."""
    try:
        return path if "://" in path else safe_paths.relative(path)
    except UserError:
        return path


def _seen(one: Observation) -> Seen:
    return Seen(one.kind, one.name, one.method, one.event, one.box)


def _pictures(opened: Opened, by: str | None) -> list[Picture]:
    package, tables = opened.package, opened.tables
    taxa, credit = package.taxa(), package.credit()
    files = tables.files(opened.root)
    pictures, machine = [], 0
    for medium in tables.media:
        own, event = tables.of(medium)
        found, why, by_machine = label(own, event)
        machine += by_machine and bool(found)
        group = medium.deployment
        if by == "eventID":
            group = tables.event(medium) or group
        boxes = tuple(one.box for one in boxed(own) if one.kind == "animal")
        pictures.append(
            Picture(
                medium.number,
                files[medium.id],
                _named(found, taxa) if found else None,
                why,
                group if by else None,
                boxes,
                credit,
                medium.timestamp.replace(tzinfo=None).isoformat(timespec="seconds"),
                medium.deployment,
            )
        )
    if machine:
        logging.warning(
            "%s: %s named by a machine alone",
            package.place.path,
            wording.count(machine, "picture"),
        )
    return pictures


def label(own: Sequence[Seen], event: Sequence[Seen]) -> tuple[str, str, bool]:
    """The name of the animal in a picture, or why there is none.

    What people say counts before what a machine says.

    Args:
      own: observations of the file.
      event: those of the event that it is part of; they count for a picture without
        observations of its own, and where a machine alone named what is in the file.

    Returns:
      name, reason where it is empty, and whether a machine alone says so.
    """
    if own and all(seen.kind != "animal" for seen in own):
        return "", _no_animal(own), False
    for level in (own, event):
        said = [seen for seen in level if seen.method != _MACHINE]
        if any(seen.kind == "animal" for seen in said):
            break
        if said and all(seen.kind in _NO_ANIMALS for seen in said):
            return "", _no_animal(said), False
    for machine in (False, True):
        for level in (own, event):
            names = {
                seen.name
                for seen in level
                if seen.kind == "animal" and (seen.method == _MACHINE) == machine
            } - {""}
            if len(names) > 1:
                return "", "several taxa in one picture", machine
            if names:
                return names.pop(), "", machine
    seen = [*own, *event]
    if not seen:
        return "", "without an observation", False
    if all(one.kind != "animal" for one in seen):
        return "", _no_animal(seen), False
    return "", "an animal without a name", False


def boxed(own: Sequence[Seen]) -> list[Seen]:
    """The observations with boxes: of people, else of a machine; each box once."""
    found: list[Seen] = []
    marked = [one for one in own if one.box]
    people = [one for one in marked if one.method != _MACHINE]
    for one in people or marked:
        if not any(_equal(one.box, other.box) for other in found):
            found.append(one)
    return found


def _equal(one: RelativeBox, other: RelativeBox) -> bool:
    pairs = zip(one, other, strict=True)
    return all(abs(a - b) < _SAME for a, b in pairs)


def _no_animal(seen: Sequence[Seen]) -> str:
    kinds = Counter(one.kind for one in seen)
    return f"no animal: {kinds.most_common(1)[0][0]}"


def _named(name: str, taxa: dict[str, dict[str, str]]) -> Named:
    entry = taxa.get(name, {})
    coarse = tuple((rank, entry[rank]) for rank in DEFAULT_RANKS[:-1] if rank in entry)
    return Named(name, entry.get("taxonRank", ""), coarse)


def _unpack(package: Package, media: Sequence[Medium], cache: Path) -> Path:
    """Copies the images of an archive into the cache, and returns their folder."""
    archive_path = package.place.path
    folder = cache / f"{index_lib.folder_key(archive_path)}-files"
    with places.as_user_error(archive_path), zipfile.ZipFile(archive_path) as archive:
        for medium in media:
            name, place = _relative(medium.path), package.place
            if not name.lower().endswith(suffixes.IMAGES) or not place.has(name):
                continue
            path = folder / safe_paths.relative(name)
            if path.is_file() and os.path.getsize(path) == place.size(name):
                continue
            with (
                archive.open(place.inner + name) as packed,
                workdir.atomic_path(path, flag=workdir.CACHE_FLAG) as temporary,
                open(temporary, "wb") as file,
            ):
                shutil.copyfileobj(packed, file)
    return folder
