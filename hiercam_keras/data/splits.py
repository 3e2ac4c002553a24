"""Train, val and test splits without leakage between them."""

import dataclasses
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hiercam_keras import wording, workdir
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError

NAMES = ("train", "val", "test")
Unit = tuple[str, ...]  # example_ids that stay together, sorted
_ALIASES = {"validation": "val", "valid": "val", "training": "train", "testing": "test"}


@dataclasses.dataclass(frozen=True)
class Split:
    """Sorted example_ids of train, val and test, without overlap.

    Attributes:
      train, val, test: example_ids.
      note: remark on how the split was made, for the log; may be empty.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    note: str = ""

    def save(self, folder: Path) -> None:
        """Writes train.txt, val.txt and test.txt, one example_id a line."""
        for name in NAMES:
            lines = "".join(f"{example_id}\n" for example_id in getattr(self, name))
            workdir.write_text(Path(folder) / f"{name}.txt", lines)

    def select(
        self, records: Iterable[Record], name: str
    ) -> tuple[list[Record], list[str]]:
        """Records of a part, in its order, and the example_ids that have no record."""
        if name not in NAMES:
            raise UserError(f"split {name!r} is unknown: use {', '.join(NAMES)}.")
        by_id = {record.example_id: record for record in records}
        wanted = getattr(self, name)
        found = [by_id[example_id] for example_id in wanted if example_id in by_id]
        return found, [example_id for example_id in wanted if example_id not in by_id]

    def unknown(self, records: Iterable[Record]) -> list[str]:
        """Sorted example_ids of records that are in no part: files added later."""
        known = {*self.train, *self.val, *self.test}
        return sorted({record.example_id for record in records} - known)

    def divided(self, groups: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Groups that are in several parts: group -> example_id -> part, sorted."""
        members: dict[str, dict[str, str]] = defaultdict(dict)
        for name in NAMES:
            for example_id in getattr(self, name):
                if example_id in groups:
                    members[groups[example_id]][example_id] = name
        return {
            group: dict(sorted(where.items()))
            for group, where in sorted(members.items())
            if len(set(where.values())) > 1
        }


def load(folder: Path) -> Split:
    """Reads what `Split.save` wrote.

    Raises:
      UserError: a file is missing or unreadable, or an example is in two parts.
    """
    parts = {name: _read(Path(folder) / f"{name}.txt") for name in NAMES}
    split = Split(**parts)
    _check_disjoint(split, str(folder))
    return split


def split_records(
    records: Sequence[Record],
    seed: int,
    fractions: Sequence[float] = (0.78, 0.11, 0.11),
    groups: Mapping[str, str] | None = None,
) -> Split:
    """Divides records into train, val and test.

    A pure function of example_ids, species, groups, seed and fractions, independent of
    the order of the records and of the trained rank. Each species is divided by the
    fractions; the remaining images (all images of a small species) are pooled over the
    species and divided so that the fractions hold overall.

    The images of a group stay in one part. A group counts as images of the species of
    its first example_id, and goes to a part with room for all of it; large groups make
    the fractions inexact. No part with a fraction stays empty while train has two
    groups or more.

    Official splits of the source take precedence, even over groups (see
    `Split.divided`); a missing part is taken from the training images.

    Args:
      records: N images.
      seed: of the shuffle.
      fractions: of train, val and test.
      groups: example_id -> group; any other image is its own group.

    Raises:
      UserError: no records, duplicate example_ids, or fractions that do not add up to
      1.
    """
    fractions = _check(records, fractions)
    official: dict[str, list[Record]] = {name: [] for name in NAMES}
    for record in records:
        official[official_part(record)].append(record)
    if not any(record.split for record in records):
        parts = _deal(records, seed, fractions, groups or {})
        note = _note(records, parts)
    else:
        parts, note = _carve(official, seed, fractions, groups or {})
    split = Split(**{name: tuple(sorted(parts[name])) for name in NAMES}, note=note)
    _check_disjoint(split, "the split")
    return split


def _check(records, fractions):
    if not records:
        raise UserError("there are no images to split.")
    fractions = tuple(float(f) for f in fractions)
    if (
        len(fractions) != 3
        or min(fractions) < 0
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise UserError(
            f"data.fractions is {fractions}: expected three numbers, for train, val "
            "and "
            "test, not below 0, that add up to 1."
        )
    ids = [record.example_id for record in records]
    if len(set(ids)) < len(ids):
        raise UserError("two images have the same example_id, so they cannot be split.")
    return dict(zip(NAMES, fractions, strict=True))


def official_part(record: Record) -> str:
    """The official part of an image: train, val or test; train if the source has none.

    Raises:
      UserError: the source names another part.
    """
    name = (record.split or "train").lower()
    name = _ALIASES.get(name, name)
    if name not in NAMES:
        raise UserError(
            f"{record.example_id} is in the split {record.split!r}: expected train, "
            "val or test."
        )
    return name


def _carve(official, seed, fractions, groups):
    """The official parts, with missing ones taken from the training images."""
    parts = {name: [r.example_id for r in found] for name, found in official.items()}
    missing = [name for name in NAMES[1:] if not parts[name] and fractions[name]]
    if not missing or not official["train"]:
        return parts, "The source's own splits are used."
    share = {name: fractions[name] if name in missing else 0.0 for name in NAMES[1:]}
    # Fractions refer to all images, so official test images count for the size of val.
    total = sum(len(found) for found in official.values())
    share = {
        name: min(0.5, f * total / len(official["train"])) if f else 0.0
        for name, f in share.items()
    }
    share["train"] = 1 - sum(share.values())
    parts.update(
        {
            name: ids
            for name, ids in _deal(official["train"], seed, share, groups).items()
            if name == "train" or name in missing
        }
    )
    made = " and ".join(missing)
    return parts, f"The source's own splits are used; {made} carved out of train."


def _deal(records, seed, fractions, groups) -> dict[str, list[str]]:
    species = defaultdict(list)
    for taxa, unit in _units(records, groups):
        species[taxa].append(unit)
    parts: dict[str, list[Unit]] = {name: [] for name in NAMES}
    pool = []  # (round, shuffle key, unit): one unit of each species per round
    for units in species.values():
        units.sort(key=lambda unit: _shuffle_key(seed, unit[0]))
        total = _size(units)
        # The tolerance keeps 0.29 * 100 from being 28.
        whole = {n: math.floor(total * fractions[n] + 1e-9) for n in NAMES}
        left = units
        for name in NAMES:
            left = _fill(parts[name], left, whole[name])
        pool += [
            # Shuffled again: the remainder of a species is the end of the first order.
            (turn, _shuffle_key(seed, unit[0], b"pool"), unit)
            for turn, unit in enumerate(left)
        ]
    pool.sort()
    left = [unit for _, _, unit in pool]
    wanted = _whole_numbers(len(records), fractions)
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
        yield _species(members[0]), tuple(one.example_id for one in members)


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


def _whole_numbers(total: int, fractions) -> dict[str, int]:
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


def _note(records, parts):
    where = {example_id: name for name, ids in parts.items() for example_id in ids}
    seen = defaultdict(set)
    for record in records:
        seen[_species(record)].add(where[record.example_id])
    ranks = {record.lineage.ranks[-1] for record in records if record.lineage}
    rank = ranks.pop() if len(ranks) == 1 else "taxon"
    names = {name for name in NAMES if parts[name]}
    short = sum(found != names for found in seen.values())
    if not short:
        return ""
    return (
        f"{short} of {wording.count(len(seen), rank)} have too few images to be in "
        "every split; they were dealt out by the seed so that the fractions hold "
        "overall."
    )


def _species(record):
    return record.lineage.taxa if record.lineage is not None else ()


def _shuffle_key(seed: int, example_id: str, purpose: bytes = b"") -> bytes:
    """A hash that is the same on every machine and Python, unlike `hash`."""
    text = f"{seed}\0{example_id}".encode()
    return hashlib.blake2b(text, digest_size=16, person=purpose).digest()


def _read(path):
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: the run has no frozen split. Train it again."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the split {path}: {error}") from error
    # Only a newline separates lines: a name may hold any other character.
    return tuple(line for line in text.split("\n") if line)


def _check_disjoint(split, where):
    total = len(split.train) + len(split.val) + len(split.test)
    if len({*split.train, *split.val, *split.test}) < total:
        raise UserError(
            f"an example of {where} is in two of train, val and test: the split is "
            "damaged. Restore it or train again."
        )
