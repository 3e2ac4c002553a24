"""Finds photographs that occur more than once in a data set.

*Exact copies* have the same pixels after decoding to upright RGB, under any name and in
any lossless format. *Near copies* have difference hashes (`fingerprints`) that differ
in at most `NEAR_BITS` of 64 bits, and the same aspect ratio. Resized or recompressed
photographs and pictures of a burst usually are near copies.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hiercam_keras.data import fingerprints
from hiercam_keras.data.records import Record

NEAR_BITS = 5
_SHAPE_SLACK = 0.02  # relative difference of aspect ratios
_FLAT = 6  # bits: a hash with fewer zeros or ones comes from a gradient or a flat image
_NEIGHBORS = 1000  # most images of a band that an image is compared with


class Near(NamedTuple):
    """A near copy of an image, and the number of differing bits, 0 .. 64."""

    record: Record
    of: Record
    bits: int


def exact_copies(records: Iterable[Record]) -> list[tuple[Record, ...]]:
    """Sets of records of two or more files with the same pixels, sorted by example_id.

    Crops count as their pictures, and those of one picture alone are no copies.
    """
    by_pixels = defaultdict(list)
    for record in records:
        if record.pixels:
            by_pixels[record.pixels].append(record)
    copies = [
        tuple(sorted(found, key=_id))
        for found in by_pixels.values()
        if len({record.path for record in found}) > 1
    ]
    return sorted(copies, key=lambda found: found[0].example_id)


def groups(copies: Iterable[Sequence[Record]]) -> dict[str, str]:
    """Groups for `splits.split_records`: each copy's group is the first's id."""
    return {
        record.example_id: found[0].example_id for found in copies for record in found
    }


def of_several_classes(
    copies: Iterable[Sequence[Record]],
) -> list[tuple[Record, ...]]:
    """Copies with different taxa, of which at most one label is right."""
    return [tuple(found) for found in copies if len(_classes(found)) > 1]


def near_copies(records: Iterable[Record], most: int = NEAR_BITS) -> list[Near]:
    """Images that are near copies of another one, without exact copies.

    Each image is listed once, with the most similar image of a smaller example_id.
    Images with a nearly constant hash are excluded, because all skies look alike.

    Args:
      records: any number; the time grows with the number of similar images only.
      most: bits in which two hashes may differ, 0 to 63.
    """
    records = sorted((one for one in records if _has_look(one)), key=_id)
    if len(records) < 2:
        return []
    hashes = np.array([int(one.dhash, 16) for one in records], np.uint64)
    shapes = np.array([one.width / one.height for one in records])
    # Crops of one file, and exact copies, are no near copies.
    keys = [one.pixels or str(one.path) for one in records]
    names = {key: number for number, key in enumerate(keys)}
    pixels = np.array([names[key] for key in keys])
    # (bits, earlier image) as one number: its minimum is the most similar image.
    total = len(records)
    none = (fingerprints.DHASH_BITS + 1) * total
    best = np.full(total, none, np.int64)
    for band in _bands(hashes, most + 1):
        # Hashes that differ in `most` bits agree in at least one of `most` + 1 bands.
        order = np.lexsort((hashes, band))
        for step in range(1, min(total, _NEIGHBORS)):
            first, second = order[:-step], order[step:]
            same = band[first] == band[second]
            if not same.any():
                break
            first, second = np.sort([first[same], second[same]], axis=0)
            bits = np.bitwise_count(hashes[first] ^ hashes[second]).astype(np.int64)
            ratio = shapes[first] / shapes[second]
            near = (bits <= most) & (abs(np.log(ratio)) <= _SHAPE_SLACK)
            near &= pixels[first] != pixels[second]
            np.minimum.at(best, second[near], bits[near] * total + first[near])
    return [
        Near(records[at], records[value % total], int(value // total))
        for at, value in enumerate(best.tolist())
        if value < none
    ]


def copies_of(
    records: Iterable[Record], others: Iterable[Record], most: int = NEAR_BITS
) -> tuple[list[Near], list[Near]]:
    """Images of one set that are copies of images of another, under any name.

    The two sets may be of two folders. Images with a nearly constant hash are excluded.
    Pixels are compared of images with equal hashes, which are decoded for it.

    Args:
      records, others: whole pictures or crops, which count as their pictures.
      most: bits in which the hashes of near copies may differ, 0 to 63.

    Returns:
      Exact copies and near copies, in the order of `records`, each with the most
      similar of the others.
    """
    others = sorted((one for one in others if _has_look(one)), key=_id)
    hashes = np.array([int(one.dhash, 16) for one in others], np.uint64)
    shapes = np.array([one.width / one.height for one in others])
    exact, near = [], []
    digests: dict[Path, str] = {}
    for record in records if others else ():
        if not _has_look(record):
            continue
        bits = np.bitwise_count(hashes ^ np.uint64(int(record.dhash, 16)))
        ratio = record.width / record.height / shapes
        bits = np.where(abs(np.log(ratio)) <= _SHAPE_SLACK, bits, 255)
        alike = [others[at] for at in np.flatnonzero(bits == 0)]
        same = [one for one in alike if _same_pixels(record, one, digests)]
        if same:
            exact.append(Near(record, same[0], 0))
        elif bits.min() <= most:
            at = int(bits.argmin())
            near.append(Near(record, others[at], int(bits[at])))
    return exact, near


def _same_pixels(one: Record, other: Record, digests: dict[Path, str]) -> bool:
    """Whether two pictures have the same pixels; `digests` are kept by path."""
    if (one.width, one.height) != (other.width, other.height):
        return False
    for record in (one, other):
        if record.path not in digests:
            digests[record.path] = record.pixels or fingerprints.digest_of(record.path)
    return bool(digests[one.path]) and digests[one.path] == digests[other.path]


def _id(record: Record) -> str:
    return record.example_id


def _classes(found: Iterable[Record]) -> set[tuple[str, ...]]:
    return {one.lineage.taxa for one in found if one.lineage is not None}


def _has_look(record: Record) -> bool:
    if not record.dhash:
        return False
    ones = int(record.dhash, 16).bit_count()
    return _FLAT <= ones <= fingerprints.DHASH_BITS - _FLAT


def _bands(hashes: np.ndarray, count: int) -> Iterable[np.ndarray]:
    """The bits of the hashes, split into `count` bands."""
    edges = np.linspace(0, fingerprints.DHASH_BITS, count + 1).round().astype(int)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        mask = np.uint64((1 << int(high - low)) - 1)
        yield (hashes >> np.uint64(low)) & mask
