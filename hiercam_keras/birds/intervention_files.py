"""Exchanged birds as lossless files and a table.

A folder of each bird has its picture, its parts, and a picture and a mask of each
intervention. The bird's own table is written last, so that a run that was stopped goes
on with the next bird; `interventions.csv` has the rows of all of them.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hiercam_keras import tables, workdir
from hiercam_keras.birds.bird import bird_of
from hiercam_keras.birds.draw import PARTS as LABELS
from hiercam_keras.birds.interventions import HOWS, PARTS, check, exchanges
from hiercam_keras.birds.settings import (
    RENDERER_VERSION,
    SCHEMA_VERSION,
    DatasetSettings,
)
from hiercam_keras.birds.workers import OrderedSteps
from hiercam_keras.errors import UserError

TABLE = "interventions.csv"
_HEADER = "interventions.json"


@dataclass(frozen=True)
class Row:
    """One intervention, a row of the table.

    Attributes:
      example_id: of the picture in the data set.
      part, how, rank, donor, changed: as in `Intervention`.
      share: of the picture's pixels that are in the mask, 0..1.
      original: path of the bird as it was, a PNG, from the table's folder.
      original_parts: path of its labels, as in `draw.PARTS`.
      path: of the picture with the part exchanged, a PNG.
      mask: path of the mask, 255 where a pixel may differ.
    """

    example_id: str
    part: str
    how: str
    rank: str
    donor: str
    changed: bool
    share: float
    original: str
    original_parts: str
    path: str
    mask: str


def write_interventions(
    root: str | os.PathLike,
    settings: DatasetSettings | Mapping[str, object],
    example_ids: Sequence[str],
    *,
    size: int | None = None,
    seed: int = 0,
    parts: Sequence[str] = PARTS,
    hows: Sequence[str] = HOWS,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes every intervention on some birds of a data set.

    Birds of a former, stopped call are kept; equal arguments give equal bytes.

    Args:
      root: folder of the files, a new one or that of the same settings.
      settings: of the data set, or a mapping of fields that differ from the default.
      example_ids: pictures of the data set, as in its boxes.csv.
      size: side of all pictures in pixels; default that of each in the data set. At
        `round(side / CROP)` the central crop of `side` pixels is not resized.
      seed: of the choice among taxa.
      parts, hows: which of `interventions.PARTS` (and WHOLE) and `HOWS`.
      workers: processes; default one per core, 0 draws in this one.
      progress: called with (birds written, all birds) from time to time.

    Returns:
      The path of the table; `read_interventions` reads it.

    Raises:
      UserError: the folder has other interventions or cannot be written, or an
        argument is none of the data set's.
    """
    root = Path(root)
    if not isinstance(settings, DatasetSettings):
        settings = DatasetSettings(**settings)
    header = {
        "schema_version": SCHEMA_VERSION,
        "renderer_version": RENDERER_VERSION,
        "settings": settings.as_json(),
        "size": size,
        "seed": seed,
        "parts": list(parts),
        "hows": list(hows),
        "labels": list(LABELS),
    }
    check(parts, hows)
    ids = tuple(dict.fromkeys(example_ids))
    for example_id in ids:
        bird_of(settings, example_id, size=size)
    _begin(root, header)
    if workers is None:
        workers = min(os.cpu_count() or 1, len(ids), 16)
    args = (root, settings, ids, size, seed, tuple(parts), tuple(hows))
    rows: list[Row] = []
    with OrderedSteps(_write_bird, args, stop=len(ids), workers=workers) as found:
        for done, one in enumerate(found, 1):
            rows += one
            if progress is not None:
                progress(done, len(ids))
    return _write_table(root / TABLE, rows)


def read_interventions(path: str | os.PathLike) -> list[Row]:
    """Rows of a table of `write_interventions`.

    Raises:
      UserError: the file is missing or no such table.
    """
    columns = tables.read_csv(path)
    names = [field.name for field in dataclasses.fields(Row)]
    if list(columns) != names:
        raise UserError(
            f"{path} has the columns {', '.join(columns)}, expected "
            f"{', '.join(names)}. Write it again with this version."
        )
    rows = []
    for cells in zip(*columns.values(), strict=True):
        row = dict(zip(names, cells, strict=True))
        changed, share = row.pop("changed") == "1", row.pop("share")
        try:
            rows.append(Row(**row, changed=changed, share=float(share)))
        except ValueError as error:
            raise UserError(
                f"{path}: the share is {share!r}, expected a number. Remove the folder "
                "of this table, and it is drawn again."
            ) from error
    return rows


def _begin(root: Path, header: dict) -> None:
    """Writes the header; raises UserError for a folder with another one."""
    path = root / _HEADER
    if path.exists():
        if workdir.read_json(path) != header:
            raise UserError(
                f"{root} has interventions of other settings. Remove it, or choose "
                "another folder."
            )
    elif root.is_dir() and any(root.iterdir()):
        raise UserError(
            f"{root} has files but no {_HEADER}. Choose an empty folder for "
            "interventions."
        )
    else:
        workdir.write_json(path, header)


def _write_bird(
    number: int,
    root: Path,
    settings: DatasetSettings,
    ids: tuple[str, ...],
    size: int | None,
    seed: int,
    parts: tuple[str, ...],
    hows: tuple[str, ...],
) -> list[Row]:
    """The files of one bird, unless it has its table."""
    bird = bird_of(settings, ids[number], size=size)
    folder = Path(bird.example_id).with_suffix("")
    table = root / folder / TABLE
    if rows := _kept(root, table):
        return rows
    workdir.make_dir(root / folder)

    def save(name: str, pixels: np.ndarray) -> str:
        path = folder / f"{name}.png"
        try:
            # A third of the time of the default level, and a tenth more bytes.
            Image.fromarray(pixels).save(root / path, compress_level=1)
        except OSError as error:
            raise UserError(
                f"cannot write {root / path}: {error.strerror or error}. Free some "
                "space, or choose another folder."
            ) from error
        return path.as_posix()

    drawn = bird.draw()
    original, labels = save("original", drawn.image), save("parts", drawn.parts)
    rows = []
    for one in exchanges(bird, parts, hows, seed=seed):
        name = f"{one.part}-{one.how}"
        rows.append(
            Row(
                example_id=bird.example_id,
                part=one.part,
                how=one.how,
                rank=one.rank,
                donor=one.donor,
                changed=one.changed,
                share=round(float(one.mask.mean()), 6),
                original=original,
                original_parts=labels,
                path=save(name, one.image),
                mask=save(f"{name}-mask", one.mask.astype(np.uint8) * 255),
            )
        )
    _write_table(table, rows)
    return rows


def _kept(root: Path, table: Path) -> list[Row]:
    """Rows of a bird with all its files; none where something is missing or damaged."""
    try:
        rows = read_interventions(table)
    except UserError:  # missing, too
        return []
    paths = {
        path
        for row in rows
        for path in (row.original, row.original_parts, row.path, row.mask)
    }
    return rows if all((root / path).is_file() for path in paths) else []


def _write_table(path: Path, rows: list[Row]) -> Path:
    header = [field.name for field in dataclasses.fields(Row)]
    return tables.write_csv(path, header, [dataclasses.asdict(row) for row in rows])
