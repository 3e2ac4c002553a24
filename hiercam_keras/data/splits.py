"""Data room: train, val and test that cannot leak into each other."""

import dataclasses
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from hiercam_keras import workdir
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError

NAMES = ("train", "val", "test")
_ALIASES = {"validation": "val", "valid": "val", "training": "train", "testing": "test"}


@dataclasses.dataclass(frozen=True)
class Split:
    """Which example belongs where: sorted example_ids, none in two places.

    Attributes:
      train, val, test: example_ids.
      note: what a person should know about how they were dealt; may be empty.
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
        """Sorted example_ids of records that are in no part: files that came later."""
        known = {*self.train, *self.val, *self.test}
        return sorted({record.example_id for record in records} - known)


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
) -> Split:
    """Deals records into train, val and test.

    A pure function of example_ids, species, seed and fractions: neither the order of
    the records nor the rank that is trained matters. Each species is divided by the
    fractions; the images that do not come out even (all of them, in a species with a
    few images) are pooled over the species and dealt so that the fractions hold
    overall.

    Where the source has official splits they win, and a part that it lacks is carved
    out of its training images.

    Raises:
      UserError: no records, duplicate example_ids, or fractions that do not add up to
      1.
    """
    fractions = _check(records, fractions)
    official: dict[str, list[Record]] = {name: [] for name in NAMES}
    for record in records:
        official[_official(record)].append(record)
    if not any(record.split for record in records):
        parts = _deal(records, seed, fractions)
        note = _note(records, parts)
    else:
        parts, note = _carve(official, seed, fractions)
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
        or not fractions[0]
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise UserError(
            f"data.fractions is {fractions}: expected three numbers, for train, val "
            "and "
            "test, not below 0, that add up to 1; train above 0."
        )
    ids = [record.example_id for record in records]
    if len(set(ids)) < len(ids):
        raise UserError("two images have the same example_id: nothing could be split.")
    return dict(zip(NAMES, fractions, strict=True))


def _official(record):
    name = (record.split or "train").lower()
    name = _ALIASES.get(name, name)
    if name not in NAMES:
        raise UserError(
            f"{record.example_id} is in the split {record.split!r}: expected train, "
            "val or test."
        )
    return name


def _carve(official, seed, fractions):
    """Official parts as they are; missing ones out of the training images."""
    parts = {name: [r.example_id for r in found] for name, found in official.items()}
    missing = [name for name in NAMES[1:] if not parts[name] and fractions[name]]
    if not missing or not official["train"]:
        return parts, "The source's own splits are used."
    share = {name: fractions[name] if name in missing else 0.0 for name in NAMES[1:]}
    # The official test images count when val is sized, as fractions are of everything.
    total = sum(len(found) for found in official.values())
    share = {
        name: min(0.5, f * total / len(official["train"])) if f else 0.0
        for name, f in share.items()
    }
    share["train"] = 1 - sum(share.values())
    parts.update(
        {
            name: ids
            for name, ids in _deal(official["train"], seed, share).items()
            if name == "train" or name in missing
        }
    )
    made = " and ".join(missing)
    return parts, f"The source's own splits are used; {made} carved out of train."


def _deal(records, seed, fractions) -> dict[str, list[str]]:
    species = defaultdict(list)
    for record in records:
        species[_species(record)].append(record.example_id)
    parts: dict[str, list[str]] = {name: [] for name in NAMES}
    pool = []  # (round, shuffle key, example_id): one of each species a round
    for ids in species.values():
        ids.sort(key=lambda example_id: _shuffle_key(seed, example_id))
        start = 0
        for name in NAMES:
            # The tolerance keeps 0.29 * 100 from being 28.
            whole = math.floor(len(ids) * fractions[name] + 1e-9)
            parts[name] += ids[start : start + whole]
            start += whole
        pool += [
            # A fresh shuffle: what is left over of a species is the end of the first.
            (turn, _shuffle_key(seed, example_id, b"pool"), example_id)
            for turn, example_id in enumerate(ids[start:])
        ]
    pool.sort()
    left = [example_id for _, _, example_id in pool]
    wanted = _whole_numbers(len(records), fractions)
    for name in ("val", "test"):
        need = max(0, wanted[name] - len(parts[name]))
        parts[name] += left[:need]
        left = left[need:]
    parts["train"] += left
    return parts


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
    names = {name for name in NAMES if parts[name]}
    short = sum(found != names for found in seen.values())
    if not short:
        return ""
    return (
        f"{short} of {len(seen)} species have too few images to be in every split; "
        "they were dealt out by the seed so that the fractions hold overall."
    )


def _species(record):
    return record.lineage.taxa if record.lineage is not None else ()


def _shuffle_key(seed: int, example_id: str, purpose: bytes = b"") -> bytes:
    """The same on every machine and Python, unlike `hash`."""
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
    # Only the newline parts lines: a name may hold any other character.
    return tuple(line for line in text.split("\n") if line)


def _check_disjoint(split, where):
    total = len(split.train) + len(split.val) + len(split.test)
    if len({*split.train, *split.val, *split.test}) < total:
        raise UserError(
            f"an example of {where} is in two of train, val and test: the split is "
            "damaged. Restore it or train again."
        )
