"""Records of pictures that a table of observations names, for several formats."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from absl import logging

from hiercam_keras import file_names, tables, wording
from hiercam_keras.data import grouping, suffixes
from hiercam_keras.data import index as index_lib
from hiercam_keras.data.prepare_report import PrepareReport
from hiercam_keras.data.records import Box, Record
from hiercam_keras.data.sources import (
    common_names,
    lineage_table,
    name_lineages,
    safe_paths,
)
from hiercam_keras.data.sources.image_folder import lineage_prefix
from hiercam_keras.data.sources.name_lineages import Named
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import rows
from hiercam_keras.exchange.detections import RelativeBox
from hiercam_keras.taxonomy.common_names import (
    Collected,
    CommonName,
    Taxon,
    of_lineages,
)
from hiercam_keras.taxonomy.lineage import Lineage

SHARE = 0.05  # of unread rows, for configs of earlier versions
_SHOWN = 4  # reasons in a message
_URL = "a URL that was not downloaded"
_ABSENT = "its file is not there"


class Picture(NamedTuple):
    """A picture with what its table says of it.

    Attributes:
      number: line of the table.
      file: relative to the root, with slashes; or a URL.
      named: its taxon; None if it shows none, or no single one.
      why: the reason where `named` is None.
      group: pictures with the same are not divided.
      boxes: of the object.
      credit: author and licence; may be empty.
      taken: time at the camera, in ISO form; "": that of the file.
      camera: what took it; read with `taken`.
    """

    number: int
    file: str
    named: Named | None
    why: str = ""
    group: str | None = None
    boxes: tuple[RelativeBox, ...] = ()
    credit: str = ""
    taken: str = ""
    camera: str = ""


def read_pictures(
    pictures: Sequence[Picture],
    root: Path,
    table: str,
    request: Request,
    log: rows.RowLog,
    place: Path,
    group_columns: tuple[str, ...],
    names: Mapping[Taxon, Sequence[CommonName]] = MappingProxyType({}),
) -> Reading:
    """Records of the pictures that are there and have a lineage.

    With `request.unlabelled` the others that are there are read, too. Rows and pictures
    left out are counted in the report and listed in a table next to the index.

    Args:
      pictures: of the data set.
      root: folder of the files.
      table: name of the table that names the pictures.
      request: with the config and the cache.
      log: of the rows that were read.
      place: of the data set, for messages.
      group_columns: that data.groups can name.
      names: common names of the data set by scientific name.

    Raises:
      UserError: too many rows cannot be read, or no picture is left.
    """
    log.check(float(request.config.get("max_unread_share", SHARE)), str(place))
    known = _table(request)
    chosen = _choose(pictures, root, table, request, log, known)
    files = {name: root / name for name in sorted(chosen)}
    times = grouping.Choice.of(request.config).gap is not None
    found = index_lib.scan(
        place, request.cache, files, request.workers, log.counts(), times=times
    )
    listed = _write(log, found.folder)
    if listed:
        counts = ", ".join(
            wording.of_kind(number, kind) for kind, number in log.counts().items()
        )
        logging.info("%s: left out: %s. All of them: %s", place, counts, listed)
    records, credits = [], {}
    for name, path in files.items():
        entry, (picture, lineage) = found.entries[name], chosen[name]
        if entry.verdict == "unreadable":
            continue
        facts = entry.for_record()
        if picture.taken:
            facts |= {"taken": picture.taken, "camera": picture.camera}
        records.append(
            Record(
                name,
                found.pixels_path(name, path),
                lineage,
                boxes=tuple(_in_pixels(box, entry) for box in picture.boxes),
                group=picture.group,
                **facts,
            )
        )
        if picture.credit:
            credits[name] = picture.credit
    report = found.report.with_rows(listed)
    if not records:
        raise UserError(_none(pictures, log, report, place, root))
    common = _common_names(records, names, known, request, place)
    return Reading(root, records, report, None, group_columns, credits, common)


def _table(request: Request) -> lineage_table.Lineages | None:
    """The table of data.lineages; None where there is none."""
    table = request.config.get("lineages", "")
    if not table:
        return None
    names = common_names.Choice.of(request.config)
    return lineage_table.read(Path(table).expanduser(), _ranks(request), names)


def _ranks(request: Request) -> tuple[str, ...]:
    return tuple(str(rank).lower() for rank in request.config.get("ranks", ()))


def _common_names(
    records: Sequence[Record],
    names: Mapping[Taxon, Sequence[CommonName]],
    known: lineage_table.Lineages | None,
    request: Request,
    place: Path,
) -> dict[tuple[str, ...], str]:
    """Common names by lineage prefix; those of the table of lineages have priority."""
    choice = common_names.Choice.of(request.config)
    collected: Collected[Taxon] = Collected(choice.language)
    for taxon, several in names.items():
        collected.add(taxon, *several)
    lineages = [one.lineage for one in records if one.lineage is not None]
    found = of_lineages(lineages, collected.chosen(str(place)))
    return found if known is None else {**found, **known.common_names}


def _choose(
    pictures: Sequence[Picture],
    root: Path,
    table: str,
    request: Request,
    log: rows.RowLog,
    known: lineage_table.Lineages | None,
) -> dict[str, tuple[Picture, Lineage | None]]:
    """The pictures that are there and wanted, with their lineages, by example_id."""
    named = [one.named for one in pictures if one.named is not None]
    lineages = name_lineages.find(named, known, _ranks(request), request.partial)
    keep = lineage_prefix(request.config.get("keep_lineage", ""))
    chosen: dict[str, tuple[Picture, Lineage | None]] = {}
    said: dict[str, list[Lineage]] = defaultdict(list)
    for picture in pictures:
        found = lineages.get(picture.named)
        if isinstance(found, Lineage):
            said[picture.file].append(found)
    several = {file for file, found in said.items() if not _on_one_path(found)}
    for picture in pictures:
        example_id, why = _file(picture, root)
        lineage, no_name = None, picture.why
        if picture.named is not None:
            found = lineages[picture.named]
            lineage, no_name = (None, found) if isinstance(found, str) else (found, "")
        if picture.file in several:
            lineage, no_name = None, "several taxa in one picture"
        if not why and example_id in chosen:
            why = "its file is named before"
        if not why and lineage and lineage.taxa[: len(keep)] != keep:
            why = f"outside {'/'.join(keep)}"
        if not why and lineage is None and not request.unlabelled:
            why = no_name
        if why:
            log.leave_out(picture.number, why, table, _found(picture, why))
        else:
            chosen[example_id] = picture, lineage
    return chosen


def _on_one_path(lineages: Sequence[Lineage]) -> bool:
    """Whether one of them is identified as far as the others, and further."""
    taxa = [list(filter(None, one.taxa)) for one in lineages]
    longest = max(taxa, key=len)
    return all(one == longest[: len(one)] for one in taxa)


def _in_pixels(box: RelativeBox, entry: index_lib.Entry) -> Box:
    x0, y0, x1, y1 = box
    width, height = entry.width, entry.height
    return x0 * width, y0 * height, x1 * width, y1 * height


def _file(picture: Picture, root: Path) -> tuple[str, str]:
    """The example_id, and the reason why there is no such file."""
    if "://" in picture.file:
        return "", _URL
    try:
        name = safe_paths.relative(picture.file)
    except UserError:
        return "", "its path is not one in the data set"
    if kind := suffixes.raw_kind(name):
        return name, kind
    if not name.lower().endswith(suffixes.IMAGES):
        return name, "no image file"
    return name, "" if os.path.isfile(root / name) else _ABSENT


def _found(picture: Picture, why: str) -> str:
    if picture.named is not None and why not in (_URL, _ABSENT):
        return picture.named.name
    return picture.file


def _write(log: rows.RowLog, folder: Path) -> Path | None:
    path = folder / "left_out.csv"
    table = log.table()
    if not table:
        path.unlink(missing_ok=True)
        return None
    return tables.write_csv(path, rows.HEADER, table)


def _none(
    pictures: Sequence[Picture],
    log: rows.RowLog,
    report: PrepareReport,
    place: Path,
    root: Path,
) -> str:
    """The message where no picture is left: reasons, and what the files are of."""
    reasons = Counter(row.reason for row in log.left_out)
    reasons += Counter(why for _, why in report.unreadable)
    shown = "; ".join(f"{why} ({n})" for why, n in reasons.most_common(_SHOWN))
    absent = {row.number for row in log.left_out if row.reason in (_URL, _ABSENT)}
    here = [one for one in pictures if one.number not in absent]
    text = (
        f"none of {wording.count(len(pictures), 'picture')} of "
        f"{file_names.in_full(place)} is there with a lineage: {shown}."
    )
    names = sorted({one.named.name for one in here if one.named is not None})
    groups = {one.group for one in here}
    if len(names) == 1 and len(groups) == 1:
        text += (
            f" The {len(here)} that are there are of one taxon, {names[0]}, and of one "
            f"event, {groups.pop()}: a network needs two taxa, and a split needs two "
            "events."
        )
    if here:
        text += (
            " --config.data.lineages=taxa.csv gives lineages by scientific_name; "
            "--config.data.ranks=\"('family','genus')\" does without species."
        )
    else:
        text += (
            f" Put the files into {file_names.in_full(root)}, or name their folder "
            "with --data_dir (and an export with --config.data.table); docs/FIELD.md "
            "says by which names they are found."
        )
    return f"{text} All of them: {report.left_out}" if report.left_out else text
