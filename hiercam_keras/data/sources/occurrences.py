"""Labels from Darwin Core archives and iNaturalist exports, for pictures in a folder.

Both name pictures by URL. The picture of an occurrence is found in the folder
  - by the relative path that the archive has in place of a URL;
  - by the last part of the URL, or the number of the photo in a URL of iNaturalist
    (.../photos/12345/medium.jpg is 12345.jpg);
  - by the id of the occurrence: 30790051.jpg, 30790051_2.jpg, 30790051/any.jpg.
The group of a picture is its event, else its occurrence (data.groups: occurrenceID).
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hiercam_keras.cache_folder import expanded
from hiercam_keras.data import grouping, suffixes
from hiercam_keras.data.sources import observed
from hiercam_keras.data.sources.name_lineages import Named
from hiercam_keras.data.sources.observed import Picture
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import darwin_core, inaturalist, rows, taxon_names
from hiercam_keras.exchange.occurrences import Media, Occurrence
from hiercam_keras.taxonomy.common_names import CommonName, Taxon

_PHOTO = re.compile(r"/photos/(\d+)/[^/]*$")
_PARTS = re.compile(r"[_ .-]")
_EPITHET = re.compile(r"[a-zß-ÿ-]+")
_GROUPS = ("eventID", "occurrenceID")  # that data.groups can name
TABLES = (".csv", ".tsv", ".txt")


def read_source(request: Request) -> Reading:
    """The pictures of an archive or export in data.table, --data_dir or data.root.

    Raises:
      UserError: there is none, too many rows cannot be read, or no picture is there
        with a lineage.
    """
    table, root = find(request)
    log = rows.RowLog()
    if darwin_core.is_archive(table) or not inaturalist.is_export(_header(table)):
        source = darwin_core.Archive(table)
        media = darwin_core.by_id(log.good(source.media(), "multimedia"))
        names = darwin_core.by_id(log.good(source.common_names(), "vernacular names"))
        found = source.occurrences(media, names)
    else:
        source = inaturalist.Export(table)
        found = source.occurrences()
    choice = grouping.Choice.of(request.config)
    by = choice.column_of(_GROUPS, _GROUPS, str(table))
    occurrences = list(log.good(found, source.table))
    pictures = list(_pictures(occurrences, Files(root), by))
    return observed.read_pictures(
        pictures,
        root,
        source.table,
        request,
        log,
        table,
        _GROUPS,
        _common_names(occurrences),
    )


def _common_names(
    occurrences: Iterable[Occurrence],
) -> dict[Taxon, list[CommonName]]:
    """The common names that the occurrences state, one for each of them."""
    found: dict[Taxon, list[CommonName]] = defaultdict(list)
    for one in occurrences:
        names = [name for name in one.common_names if name.name]
        if names:
            found[_taxon(one)] += names
    return found


def _taxon(one: Occurrence) -> Taxon:
    """The taxon of an occurrence as a tree of lineages has it: a binomial without
    author, or a coarser taxon."""
    parts = taxon_names.parse(one.name, one.rank)
    if parts is not None and parts.rank == "species":
        words = one.name.split()
        # A subspecies has a name of its own, which its species does not have.
        is_finer = len(words) > 2 and _EPITHET.fullmatch(words[2])
        name = one.name if is_finer else f"{parts.genus} {parts.epithet}"
        return Taxon(name, "species")
    return Taxon(one.name, one.rank)


def find(request: Request) -> tuple[Path, Path]:
    """The archive or export, and the folder of its pictures.

    Raises:
      UserError: there is none, or several.
    """
    named = request.config.get("table", "")
    place = Path(request.place) if request.place else None
    if place is not None and place.is_file():
        return place, place.parent
    if named:
        table = expanded(named)
        return table, place or (table if table.is_dir() else table.parent)
    if place is None:
        raise UserError(
            "no archive or export was given: use --data_dir=FOLDER, with the table and "
            "its pictures in it, or --config.data.table=FILE for a table elsewhere."
        )
    if darwin_core.is_archive(place):
        return place, place
    found = list(listed(place))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise UserError(
            f"expected one export of iNaturalist or Darwin Core table in {place}, "
            f"found {names}. Name the file: --config.data.table={place}/FILE.csv."
        )
    return found[0], place


def listed(folder: Path) -> Iterable[Path]:
    """The tables of a folder that are exports or occurrence tables, or archives."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in TABLES and path.is_file() and is_table(path):
            yield path
        elif path.suffix.lower() == ".zip" and darwin_core.is_archive(path):
            yield path


def is_labelled(folder: Path) -> bool:
    """Whether a table labels the pictures of a folder, and not its class folders.

    Folders of single observations have their ids as names, and one folder may hold all
    pictures.
    """
    if not any(listed(folder)):
        return False
    classes = [
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
        if not entry.name.isdecimal() and _holds_images(entry.path)
    ]
    return len(classes) < 2


def _holds_images(folder: str) -> bool:
    return any(name.lower().endswith(suffixes.IMAGES) for name in os.listdir(folder))


def is_table(path: Path) -> bool:
    """Whether a file is an export of iNaturalist or a table of occurrences."""
    try:
        header = _header(path)
    except UserError:
        return False
    return inaturalist.is_export(header) or darwin_core.is_table(header)


def _header(path: Path) -> list[str]:
    return inaturalist.header_of(path) if path.is_file() else []


class Files:
    """The image files below a folder, found by path, name or id.

    Args:
      root: of the files; hidden ones and those in hidden folders do not count.
    """

    def __init__(self, root: Path):
        self._paths: set[str] = set()
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for place, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = os.path.relpath(place, root).replace(os.sep, "/")
            for name in sorted(names):
                if name.startswith(".") or not name.lower().endswith(suffixes.IMAGES):
                    continue
                path = name if inside == "." else f"{inside}/{name}"
                stem = os.path.splitext(name)[0]
                self._paths.add(path)
                self._by_name[name].append(path)
                keys = {stem, _PARTS.split(stem)[0]}
                if inside != ".":
                    keys.add(inside.rsplit("/", 1)[-1])
                for key in keys:
                    self._by_key[key].append(path)

    def of_media(self, media: Media, shared: Container[str] = ()) -> list[str]:
        """Files of a picture that a table names by path or URL.

        Args:
          media: the picture.
          shared: names that several pictures have, as original.jpg.
        """
        if media.file in self._paths:
            return [media.file]
        if match := _PHOTO.search(urlsplit(media.file).path):
            return self.of_id(match[1])
        name = _last(media.file)
        return [] if name in shared else self.of_name(name)

    def of_name(self, name: str) -> list[str]:
        """The file of a name with its suffix, if there is one alone."""
        found = self._by_name.get(name, [])
        return found if len(found) == 1 else []

    def of_id(self, key: str) -> list[str]:
        """Files that are named by an id, or are in a folder named by it."""
        return self._by_key.get(key, [])


def _last(url: str) -> str:
    """The last part of a path or URL."""
    return unquote(urlsplit(url).path).rsplit("/", 1)[-1]


def _pictures(
    occurrences: Sequence[Occurrence], files: Files, by: str | None
) -> Iterable[Picture]:
    urls = {media.file for one in occurrences for media in one.media}
    names = Counter(map(_last, urls))
    shared = {name for name, number in names.items() if number > 1}
    for one in occurrences:
        named, why = Named(one.name, one.rank, one.taxa), ""
        if one.absent:
            named, why = None, "it says that the taxon is absent"
        group = (one.event if by == "eventID" else "") or one.id
        found: dict[str, str] = {}  # credit by file
        for media in one.media:
            for file in files.of_media(media, shared):
                found.setdefault(file, media.credit or one.owner.credit)
        for key in (one.id, *one.other_ids):
            for file in files.of_id(key):
                found.setdefault(file, one.owner.credit)
        if not found:
            url = one.media[0].file if one.media else ""
            found = {url or f"{one.id}.jpg": ""}
        for file, credit in found.items():
            yield Picture(
                one.number, file, named, why, group if by else None, (), credit
            )
