"""Deals images into train, val and test, species by species.

An image, or the copies of an image, are one *unit*. Groups that hold many images are
dealt otherwise, see `group_dealing`.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hiercam_keras.data.records import Record

NAMES = ("train", "val", "test")
Unit = tuple[str, ...]  # example_ids that stay together, sorted


def deal(
    records: Sequence[Record],
    seed: int,
    fractions: Mapping[str, float],
    groups: Mapping[str, str],
) -> dict[str, list[str]]:
    """The example_ids of train, val and test, see `splits.split_records`."""
    by_species = defaultdict(list)
    for taxa, unit in _units(records, groups):
        by_species[taxa].append(unit)
    parts: dict[str, list[Unit]] = {name: [] for name in NAMES}
    pool = []  # (round, shuffle key, unit): one unit of each species per round
    for units in by_species.values():
        units.sort(key=lambda unit: shuffle_key(seed, unit[0]))
        total = _size(units)
        # The tolerance keeps 0.29 * 100 from being 28.
        whole = {n: math.floor(total * fractions[n] + 1e-9) for n in NAMES}
        left = units
        for name in NAMES:
            left = _fill(parts[name], left, whole[name])
        pool += [
            # Shuffled again: the remainder of a species is the end of the first order.
            (turn, shuffle_key(seed, unit[0], b"pool"), unit)
            for turn, unit in enumerate(left)
        ]
    pool.sort()
    left = [unit for _, _, unit in pool]
    wanted = whole_numbers(len(records), fractions)
    for name in ("val", "test"):
        left = _fill(parts[name], left, wanted[name] - _size(parts[name]))
    parts["train"] += left
    if any(len(unit) > 1 for unit in parts["train"]):
        _fill_empty(parts, fractions)
    return {name: [one for unit in parts[name] for one in unit] for name in NAMES}


def _units(records, groups) -> Iterator[tuple[tuple[str, ...], Unit]]:
    """(species, example_ids) of each group."""
    found = defaultdict(list)
    for record in records:
        group = groups.get(record.example_id)
        key = (record.example_id,) if group is None else ("group", group)
        found[key].append(record)
    for members in found.values():
        members.sort(key=lambda record: record.example_id)
        yield species(members[0]), tuple(one.example_id for one in members)


def _size(units: Iterable[Unit]) -> int:
    return sum(len(unit) for unit in units)


def _fill(part: list[Unit], units: Iterable[Unit], room: int) -> list[Unit]:
    """Adds units to a part while there is room; returns the others."""
    left = []
    for unit in units:
        if len(unit) <= room:
            part.append(unit)
            room -= len(unit)
        else:
            left.append(unit)
    return left


def _fill_empty(parts: dict[str, list[Unit]], fractions: Mapping[str, float]) -> None:
    """Moves the smallest unit of train to a part that is empty because none fitted."""
    for name in ("val", "test"):
        if fractions[name] and not parts[name] and len(parts["train"]) > 1:
            smallest = min(parts["train"], key=lambda unit: (len(unit), unit))
            parts["train"].remove(smallest)
            parts[name].append(smallest)


def whole_numbers(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Sizes of the parts by largest remainder; no part with a fraction is empty."""
    exact = {name: total * fractions[name] for name in NAMES}
    sizes = {name: math.floor(exact[name] + 1e-9) for name in NAMES}
    by_remainder = sorted(NAMES, key=lambda name: sizes[name] - exact[name])
    for name in by_remainder[: total - sum(sizes.values())]:
        sizes[name] += 1
    for name in NAMES:
        if fractions[name] and not sizes[name] and total >= len(NAMES):
            sizes[max(NAMES, key=sizes.get)] -= 1
            sizes[name] = 1
    return sizes


def species(record: Record) -> tuple[str, ...]:
    """The taxa of an image, () if they are unknown."""
    return record.lineage.taxa if record.lineage is not None else ()


def shuffle_key(seed: int, example_id: str, purpose: bytes = b"") -> bytes:
    """A hash that is the same on every machine and Python, unlike `hash`."""
    text = f"{seed}\0{example_id}".encode()
    return hashlib.blake2b(text, digest_size=16, person=purpose).digest()
