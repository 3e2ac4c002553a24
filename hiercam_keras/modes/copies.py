"""What prepare and train say of photographs that are in the data more than once."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from hiercam_keras import tables, wording
from hiercam_keras.data import duplicates, splits
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.workdir import CACHE_FLAG

FILE = "duplicates.csv"
_HEADER = (
    *("kind", "example_id", "taxon", "split"),
    *("copy_of", "taxon_of_it", "split_of_it"),
    *("bits", "labels_differ"),
)


def report(records: Sequence[Record], folder: Path) -> list[str]:
    """Lines on all copies, which `folder`/duplicates.csv lists.

    A file of an earlier call is removed where there are none any more.
    """
    exact = duplicates.exact_copies(records)
    near = duplicates.near_copies(records)
    path = Path(folder) / FILE
    if not (exact or near):
        with contextlib.suppress(OSError):  # none, or somebody else's
            path.unlink()
        return ["no image is there twice, and none looks like another one"]
    rows = [
        _row("exact", record, found[0], 0) for found in exact for record in found[1:]
    ]
    rows += [_row("near", *one) for one in near]
    lines = []
    if exact:
        lines.append(
            f"{_there_twice(exact)}; splits that are made here keep the files of one "
            "together"
        )
    lines += [
        line
        for line in (_of_several_classes(exact), _divided(_official(records), exact))
        if line
    ]
    if near:
        lines.append(
            f"{_images(len(near), 'looks', 'look')} like another one (near copies); "
            "splits keep them together with --config.data.near_copies=together alone"
        )
    try:
        tables.write_csv(path, _HEADER, rows)
    except UserError:  # the index may be one that somebody else made
        lines.append(
            f"the list of all copies cannot be written to {path}: choose another "
            f"folder with {CACHE_FLAG}"
        )
    else:
        lines.append(f"all copies: {path}")
    return lines


def warn(records: Sequence[Record], split: splits.Split) -> None:
    """Logs what copies do to a training on `split`."""
    exact = duplicates.exact_copies(records)
    if exact:
        logging.info("%s", _there_twice(exact))
    for line in (_of_several_classes(exact), _divided(split, exact)):
        if line:
            logging.warning("%s. --mode=prepare lists all copies", line)


def _row(kind: str, record: Record, of: Record, bits: int) -> list:
    return [
        *(kind, record.example_id, _taxon(record), record.split or ""),
        *(of.example_id, _taxon(of), of.split or ""),
        *(bits, int(bool(duplicates.of_several_classes([(record, of)])))),
    ]


def _taxon(record: Record) -> str:
    return record.lineage.path if record.lineage else ""


def _there_twice(exact: Sequence[Sequence[Record]]) -> str:
    files = sum(len({record.path for record in found}) for found in exact)
    return f"{_images(len(exact), 'is', 'are')} there more than once, in {files} files"


def _images(number: int, one: str, several: str) -> str:
    """`1 image is`, `2 images are`."""
    return f"{wording.count(number, 'image')} {one if number == 1 else several}"


def _of_several_classes(exact: Sequence[Sequence[Record]]) -> str:
    wrong = duplicates.of_several_classes(exact)
    if not wrong:
        return ""
    first = {record.example_id: _taxon(record) for record in wrong[0]}
    return (
        f"{_images(len(wrong), 'has', 'have')} copies under different taxa, so that "
        f"labels are wrong: {_named(first)}"
    )


def _divided(split: splits.Split, exact: Sequence[Sequence[Record]]) -> str:
    """What a split that was not made here, or before there were groups, divides."""
    divided = split.divided(duplicates.groups(exact))
    if not divided:
        return ""
    return (
        f"the splits divide {_images(len(divided), 'that is', 'that are')} there more "
        f"than once: {_named(next(iter(divided.values())))}"
    )


def _named(first: Mapping[str, str]) -> str:
    return ", ".join(f"{example_id} ({about})" for example_id, about in first.items())


def _official(records: Sequence[Record]) -> splits.Split:
    """The parts of the data set's own splits; empty ones where it has none."""
    marked = [record for record in records if record.split]
    parts = {
        name: tuple(r.example_id for r in marked if splits.official_part(r) == name)
        for name in splits.NAMES
    }
    return splits.Split(**parts)
