"""Images listed in a CSV table, with ranks of any hierarchy (`table`).

Paths are relative to data.root, or to the table's own folder. Boxes and masks refer to
the stored pixels, and are rotated together with a photo that has an EXIF orientation.
"""

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hiercam_keras import wording
from hiercam_keras.data import decode, grouping
from hiercam_keras.data import index as index_lib
from hiercam_keras.data.index import Entry
from hiercam_keras.data.records import Box, Record
from hiercam_keras.data.sources import annotations, boxes, common_names
from hiercam_keras.data.sources.choe_metadata_files import SafeFolder
from hiercam_keras.data.sources.image_folder import lineage_prefix
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.data.sources.table import Row, read_rows
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.common_names import Collected, CommonName

_BLURRED = (".jpg", ".jpeg")
_CHECKED = 50  # masks with a size check at reading; the others are checked at use


def read_source(request: Request) -> Reading:
    """The images of data.table, or of the CSV file that --data_dir or data.root names.

    Raises:
      UserError: there is no table, a line of it is invalid, or no image can be read.
    """
    table, root = _find(request)
    ranks = request.config.get("ranks", ())
    keep = lineage_prefix(request.config.get("keep_lineage", ""))
    options = boxes.Options.of(request.config)
    choice = grouping.Choice.of(request.config)
    names = common_names.Choice.of(request.config)
    return read_table(
        table, root, request.cache, request.workers, ranks, keep, options, choice, names
    )


def read_table(
    table: Path,
    root: Path,
    cache_dir: Path,
    workers: int = 0,
    ranks: Sequence[str] = (),
    keep: tuple[str, ...] = (),
    options: boxes.Options = boxes.AUTO,
    choice: grouping.Choice = grouping.Choice(),  # noqa: B008 - a frozen value
    names: common_names.Choice = common_names.Choice(),  # noqa: B008
) -> Reading:
    """Records of a table's readable images, sorted by example_id.

    Args:
      table: the CSV file.
      root: folder that its paths are relative to.
      cache_dir: folder of the index.
      workers: threads; 0 for one per core.
      ranks: see `table.read_rows`.
      keep: coarsest taxa of the lineages that are kept; () keeps all rows.
      options: convention and units of the boxes.
      choice: of the groups.
      names: which common names are shown.

    Raises:
      UserError: a line of the table is invalid, no row is kept, or no image can be
        read.
    """
    rows, convention, columns = read_rows(table, ranks, choice, names)
    rows, ignored = _select(rows, keep, table)
    rows.sort(key=lambda row: row.example_id)
    safe = SafeFolder(root)
    files = {row.example_id: _join(safe, row.path, row, table) for row in rows}
    # The index belongs to the table: two tables of a folder may use one id differently.
    found = index_lib.scan(
        table, cache_dir, files, workers, +ignored, times=choice.gap is not None
    )
    rows = [
        row for row in rows if found.entries[row.example_id].verdict != "unreadable"
    ]
    boxes_of = _boxes(rows, found, convention, options, table)
    masks = _masks(rows, found, safe, table)
    records = []
    for row in rows:
        entry = found.entries[row.example_id]
        records.append(
            Record(
                example_id=row.example_id,
                path=found.pixels_path(row.example_id, files[row.example_id]),
                lineage=row.lineage,
                boxes=boxes_of.get(row.example_id, ()),
                mask_path=masks.get(row.example_id),
                split=row.split,
                group=row.group,
                **entry.for_record(),
            )
        )
    if not records:
        name, why = found.report.unreadable[0]
        raise UserError(
            f"none of {wording.count(len(files), 'image')} of {table} can be read; the "
            "first is "
            f"{files[name]}: {why}.{_like(files[name])} Its paths are relative to "
            f"{root}; data.root or --data_dir changes that."
        )
    common = _common_names(rows, names.language, table)
    return Reading(
        root, records, found.report, group_columns=columns, common_names=common
    )


def _common_names(
    rows: Sequence[Row], language: str, table: Path
) -> dict[tuple[str, ...], str]:
    """Common names of the rows' finest taxa, by lineage prefix."""
    found: Collected[tuple[str, ...]] = Collected(language)
    for row in rows:
        taxon = row.lineage.prefix(row.lineage.finest)
        found.add(taxon, CommonName(row.common_name))
    return found.chosen(str(table))


def _select(
    rows: list[Row], keep: tuple[str, ...], table: Path
) -> tuple[list[Row], Counter[str]]:
    """The rows with the coarsest taxa `keep`, and counts of the others."""
    ignored: Counter[str] = Counter()
    if not keep:
        return rows, ignored
    kept = [row for row in rows if row.lineage.taxa[: len(keep)] == keep]
    if not kept:
        raise UserError(
            f"no row of {table} is in data.keep_lineage={'/'.join(keep)}. "
            "Correct it, or leave it empty."
        )
    ignored[f"rows outside {'/'.join(keep)}"] = len(rows) - len(kept)
    return kept, ignored


def _like(path: Path) -> str:
    """A hint at a file that differs only in its suffix; "" if there is none."""
    near = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    if path.exists() or not near:
        return ""
    return f" There is {near[0].name}: paths need the file's suffix."


def _find(request: Request) -> tuple[Path, Path]:
    """The table, and the folder that its paths are relative to."""
    place = Path(request.place).expanduser() if request.place else None
    named = request.config.get("table", "")
    if place is not None and place.suffix.lower() == ".csv" and not place.is_dir():
        return place, place.parent  # a table in --data_dir overrides data.table
    if named:
        table = Path(named).expanduser()
        return table, place or table.parent
    if place is None:
        raise UserError(
            "no table was given: use --data_dir=/path/to/table.csv, or "
            "--config.data.table=/path/to/table.csv with the images' folder in "
            "--data_dir."
        )
    tables = sorted(place.glob("*.csv"))
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables[:5]) or "none"
        raise UserError(
            f"expected one table (.csv) in {place}, found {found}. Name the file: "
            f"--data_dir={place}/table.csv."
        )
    return tables[0], place


def _join(safe: SafeFolder, name: str, row: Row, table: Path) -> Path:
    try:
        return safe.join(name)
    except UserError as error:
        raise UserError(f"{table}, line {row.line}: {error}") from None


def _boxes(
    rows: Sequence[Row],
    found: index_lib.Index,
    convention: str,
    options: boxes.Options,
    table: Path,
) -> dict[str, tuple[Box, ...]]:
    """Boxes by example_id, in pixels as displayed."""
    entries = found.entries
    drawn = [
        boxes.Row(row.line, row.example_id, row.box)
        for row in rows
        if row.box is not None
    ]
    stored = {one.example_id: _stored(entries[one.example_id]) for one in drawn}
    in_pixels = boxes.in_pixels(drawn, stored, options, convention, str(table))
    return {
        name: (decode.turn_box(box, *stored[name], entries[name].orientation),)
        for (_, name, _), box in zip(drawn, in_pixels, strict=True)
    }


def _masks(
    rows: Sequence[Row], found: index_lib.Index, safe: SafeFolder, table: Path
) -> dict[str, Path]:
    """Mask files by example_id, as displayed; the sizes of the first are checked."""
    masks: dict[str, Path] = {}
    for row in rows:
        if not row.mask:
            continue
        path = _join(safe, row.mask, row, table)
        entry = found.entries[row.example_id]
        try:
            mask = _mask(path, entry, found.folder, len(masks) < _CHECKED)
        except UserError as error:
            raise UserError(f"{table}, line {row.line}: {error}") from None
        masks[row.example_id] = mask
    return masks


def _stored(entry: Entry) -> tuple[int, int]:
    return decode.displayed_size(entry.width, entry.height, entry.orientation)


def _mask(mask: Path, entry: Entry, cache: Path, check_size: bool) -> Path:
    """mask_path of a `Record`: the file, or a rotated copy in the cache."""
    if not mask.is_file():
        raise UserError(f"there is no mask {mask}.")
    if mask.suffix.lower() in _BLURRED:
        raise UserError(
            f"the mask {mask} is a JPEG, in which pixels around the object are not 0. "
            "Save masks as PNG."
        )
    if entry.orientation != 1:
        mask = annotations.turned(mask, _stored(entry), entry.orientation, cache)
    if check_size:
        annotations.check_mask_size(mask, (entry.width, entry.height))
    return mask
