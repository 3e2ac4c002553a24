"""Reads Darwin Core archives (occurrence + multimedia), and bare occurrence tables.

    meta.xml         what the columns of the other files mean
    occurrence.txt   the core: one occurrence a row
    multimedia.txt   an extension: pictures of occurrences; also Audubon Core
    vernacular.txt   an extension: common names, also of the taxa of a checklist

Source: Darwin Core text guide (http://rs.tdwg.org/dwc/terms/guides/text/). A default of
a field holds where it has no column, and where the cell is empty. A row that cannot be
read does not end the reading, as it does in python-dwca-reader 0.17.1, which the tests
compare with. A table without meta.xml has the terms as its header.
"""

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from hiercam_keras import csv_files
from hiercam_keras.errors import UserError
from hiercam_keras.exchange.occurrences import RANKS, Media, Occurrence, coarser
from hiercam_keras.exchange.places import Place, fitting
from hiercam_keras.exchange.rows import Unread
from hiercam_keras.taxonomy.common_names import CommonName, Taxon

META = "meta.xml"
_NAMESPACE = "http://rs.tdwg.org/dwc/text/"
MISSING = frozenset({"", "NA", "\\N"})  # \N: of database exports
_OCCURRENCE = "occurrence"
_TAXON = "taxon"
_MEDIA = ("multimedia", "image")
_VERNACULAR = "vernacularname"
_IDS = ("id", "occurrenceID", "gbifID", "catalogNumber")
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
_ESCAPED = re.compile(r"\\[tnr\\]")
_STILL = ("stillimage", "image", "photograph", "")
_NO_NAMES: Mapping[str, tuple[CommonName, ...]] = MappingProxyType({})
Item = TypeVar("Item")


class _File(NamedTuple):
    """What meta.xml says of a file of the archive."""

    kind: str
    paths: tuple[str, ...]
    encoding: str
    delimiter: str
    quote: str
    skip: int
    key: int | None
    columns: dict[str, int]
    defaults: dict[str, str]


class Archive:
    """A Darwin Core archive with an occurrence core, or one occurrence table.

    Attributes:
      path: of the folder, zip archive or table.
      table: name of the file of occurrences.

    Args:
      path: of a folder or zip archive with meta.xml, or of a table.
      core: "occurrence", or "taxon" of a checklist.

    Raises:
      UserError: it is none, or its core is another one.
    """

    def __init__(self, path: Path, core: str = _OCCURRENCE):
        self.path = Path(path)
        self._kind = core
        if self.path.name == META:
            self.path = self.path.parent
        self._vernacular: list[_File] = []
        if self.path.is_file() and self.path.suffix.lower() != ".zip":
            self._place = Place(self.path.parent, self.path.name)
            self._core, self._media = _bare(self._place, self.path.name), []
        else:
            self._place = Place(self.path, META)
            self._core, self._media = self._read_meta()
        self.table = self._core.paths[0]
        if "scientificName" not in self._core.columns | self._core.defaults:
            raise UserError(
                f"{self.path}: {self.table} has no scientificName. Columns: "
                f"{', '.join(self._core.columns)}."
            )

    def media(self) -> Iterator[tuple[str, Media] | Unread]:
        """(id of the occurrence, picture) of the extensions' rows that are pictures."""
        for file in self._media:
            for number, key, cells, fault in self._rows(file):
                address = cells.get("accessURI") or cells.get("identifier", "")
                if not fault and not address:
                    fault = Unread(number, "it names no file", file.paths[0])
                if fault:
                    yield fault
                elif _is_picture(cells):
                    yield key, Media(address, *_rights(cells))

    def common_names(self) -> Iterator[tuple[str, CommonName] | Unread]:
        """(id of the row of the core, common name) of the vernacular extension."""
        for file in self._vernacular:
            for number, key, cells, fault in self._rows(file):
                if not fault and not cells.get("vernacularName"):
                    fault = Unread(number, "vernacularName is empty", file.paths[0])
                yield fault or (key, _common_name(cells))

    def taxa(self) -> Iterator[tuple[str, Taxon, CommonName] | Unread]:
        """(id, taxon, its common name or an empty one) of the rows of a taxon core."""
        for number, key, cells, fault in self._rows(self._core):
            if not fault and not cells.get("scientificName"):
                fault = Unread(number, "scientificName is empty", self.table)
            if fault:
                yield fault
            else:
                taxon = Taxon(_without_author(cells), cells.get("taxonRank", ""))
                yield key, taxon, _common_name(cells)

    def occurrences(
        self,
        media: Mapping[str, tuple[Media, ...]],
        common_names: Mapping[str, tuple[CommonName, ...]] = _NO_NAMES,
    ) -> Iterator[Occurrence | Unread]:
        """The occurrences with their pictures.

        Args:
          media: pictures by the id of the occurrence, see `by_id`.
          common_names: likewise.
        """
        seen: set[str] = set()
        for number, key, cells, fault in self._rows(self._core):
            if not fault and not key:
                fault = Unread(number, "it has no id", self.table)
            elif not fault and key in seen:
                fault = Unread(number, "its id occurs before", self.table, key)
            elif not fault and not cells.get("scientificName"):
                fault = Unread(number, "scientificName is empty", self.table)
            if fault:
                yield fault
                continue
            seen.add(key)
            names = common_names.get(key, ())
            yield _occurrence(number, key, cells, media.get(key, ()), names)

    def _rows(
        self, file: _File
    ) -> Iterator[tuple[int, str, dict[str, str], Unread | None]]:
        least = 1 + max([*file.columns.values(), file.key or 0])
        for path in file.paths:
            width = None
            rows = self._place.rows(path, file.encoding, file.delimiter, file.quote)
            for place, row in enumerate(rows):
                if place < file.skip:
                    width = len(row.cells)
                    continue
                bad = fitting(row, width or max(least, len(row.cells)), path, least)
                if bad:
                    yield row.line, "", {}, bad
                    continue
                cells = {
                    term: "" if row.cells[at] in MISSING else row.cells[at].strip()
                    for term, at in file.columns.items()
                }
                for term, default in file.defaults.items():
                    if not cells.get(term):
                        cells[term] = default
                key = row.cells[file.key].strip() if file.key is not None else ""
                yield row.line, key, cells, None

    def _read_meta(self) -> tuple[_File, list[_File]]:
        with self._place.open(META) as file:
            try:
                root = ET.fromstring(file.read())
            except ET.ParseError as error:
                raise UserError(f"{self.path}: {META} is no XML: {error}.") from None
        core, extensions = None, []
        for element in root:
            tag = _local(element.tag)
            if tag == "core":
                core = self._file(element, "id")
            elif tag == "extension":
                extensions.append(self._file(element, "coreid"))
        if core is None or core.kind != self._kind:
            found = "none" if core is None else core.kind
            raise UserError(
                f"{self.path}: the core of the archive is {found}, expected "
                f"{self._kind}"
                + (
                    ": export the occurrences with their multimedia."
                    if self._kind == _OCCURRENCE
                    else ", with the extension of vernacular names."
                )
            )
        if core.key is None:
            raise UserError(f"{self.path}: {META} gives the core no id.")
        extensions = [one for one in extensions if one.key is not None]
        self._vernacular = [one for one in extensions if one.kind == _VERNACULAR]
        return core, [one for one in extensions if one.kind in _MEDIA]

    def _file(self, element: ET.Element, key: str) -> _File:
        columns: dict[str, int] = {}
        defaults: dict[str, str] = {}
        at, paths = None, []
        for part in element.iter():
            tag, index = _local(part.tag), part.get("index")
            if tag == "location" and part.text:
                paths.append(part.text.strip())
            elif tag == key and index is not None:
                at = self._number(index)
            elif tag == "field" and part.get("term"):
                term = _local(part.get("term"))
                if index is not None:
                    columns.setdefault(term, self._number(index))
                if part.get("default"):
                    defaults.setdefault(term, part.get("default"))
        if not paths:
            raise UserError(f"{self.path}: {META} names no file of its {element.tag}.")
        encoding = element.get("encoding") or "utf-8"
        utf8 = encoding.lower().replace("-", "") == "utf8"
        return _File(
            _local(element.get("rowType", "")).lower(),
            tuple(paths),
            "utf-8-sig" if utf8 else encoding,
            _unescaped(element.get("fieldsTerminatedBy", ",")),
            _unescaped(element.get("fieldsEnclosedBy", '"')),
            self._number(element.get("ignoreHeaderLines") or "0"),
            at,
            columns,
            defaults,
        )

    def _number(self, text: str) -> int:
        if not text.strip().isdecimal():
            raise UserError(
                f"{self.path}: {META} has {text!r} where a number is expected."
            )
        return int(text)


def by_id(rows: Iterable[tuple[str, Item]]) -> dict[str, tuple[Item, ...]]:
    """The rows of an extension by the id of their core row, in order."""
    found: dict[str, list[Item]] = defaultdict(list)
    for key, one in rows:
        found[key].append(one)
    return {key: tuple(items) for key, items in found.items()}


def is_archive(path: Path) -> bool:
    """Whether a folder or zip archive holds the meta.xml of a Darwin Core archive."""
    path = Path(path)
    if path.name == META:
        path = path.parent
    if not (path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip")):
        return False
    try:
        with Place(path, META).open(META) as file:
            return _NAMESPACE in file.read()
    except UserError:
        return False


def is_table(header: list[str]) -> bool:
    """Whether the columns are those of an occurrence table with Darwin Core terms."""
    return "scientificName" in header and any(name in header for name in _IDS)


def _bare(place: Place, name: str) -> _File:
    """A table without meta.xml: its header has the terms."""
    with place.open(name) as file:
        delimiter = csv_files.delimiter_of(file.readline())
    first = next(place.rows(name, delimiter=delimiter), None)
    header = [cell.strip() for cell in first.cells] if first else []
    key = next((one for one in _IDS if one in header), None)
    if key is None:
        raise UserError(
            f"{place.path / name} has no column {', '.join(_IDS)}, found "
            f"{', '.join(header[:8]) or 'nothing'}."
        )
    columns = {term: at for at, term in enumerate(header) if term}
    paths, encoding = (name,), "utf-8-sig"
    return _File(
        *(_OCCURRENCE, paths, encoding, delimiter, '"', 1, header.index(key)),
        columns,
        {},
    )


def _occurrence(
    number: int,
    key: str,
    cells: Mapping[str, str],
    media: tuple[Media, ...],
    common_names: tuple[CommonName, ...],
) -> Occurrence:
    owner = Media("", *_rights(cells))
    if not media:
        listed = cells.get("associatedMedia", "").split("|")
        media = tuple(Media(one.strip()) for one in listed if one.strip())
    others = {cells.get(one, "") for one in _IDS}
    return Occurrence(
        number,
        key,
        _without_author(cells),
        cells.get("taxonRank", "").lower(),
        coarser(cells, {rank: rank for rank in RANKS}),
        cells.get("eventID", ""),
        media,
        owner,
        cells.get("occurrenceStatus", "").lower() == "absent",
        tuple(sorted(others - {"", key})),
        (*common_names, CommonName(cells.get("vernacularName", ""))),
    )


def _without_author(cells: Mapping[str, str]) -> str:
    name, author = cells["scientificName"], cells.get("scientificNameAuthorship", "")
    return name.removesuffix(author).strip() if author else name


def _common_name(cells: Mapping[str, str]) -> CommonName:
    return CommonName(
        cells.get("vernacularName", ""),
        cells.get("language", ""),
        cells.get("isPreferredName", "").lower() in ("true", "1", "yes"),
    )


def _rights(cells: Mapping[str, str]) -> tuple[str, str]:
    """Who holds the rights, and the licence."""
    who = next(
        (
            cells[term]
            for term in ("rightsHolder", "creator", "Owner", "recordedBy")
            if cells.get(term)
        ),
        "",
    )
    terms = ("license", "UsageTerms", "WebStatement", "rights")
    return who, next((cells[term] for term in terms if cells.get(term)), "")


def _is_picture(cells: Mapping[str, str]) -> bool:
    kind = _local(cells.get("type", "")).lower()
    form = cells.get("format", "").lower()
    return (
        form.startswith("image/") or (not form and kind in _STILL) or kind in _STILL[:3]
    )


def _local(name: str) -> str:
    """The last part of a term's or tag's full name."""
    return re.split(r"[/#}:]", name)[-1]


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], text)
