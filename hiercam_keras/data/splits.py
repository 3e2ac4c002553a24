"""Train, val and test splits without leakage between them."""

import dataclasses
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hiercam_keras import wording, workdir
from hiercam_keras.data import dealing, group_dealing
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError

NAMES = dealing.NAMES
CALIBRATION = "calibration"
_ALIASES = {"validation": "val", "valid": "val", "training": "train", "testing": "test"}


@dataclasses.dataclass(frozen=True)
class Split:
    """Sorted example_ids of train, val and test, without overlap.

    Attributes:
      train, val, test: example_ids.
      calibration: example_ids that were taken from val, see `calibration_apart`.
      note: remark on how the split was made, for the log; may be empty.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    note: str = ""
    calibration: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Writes train.txt, val.txt and test.txt, one example_id a line.

        calibration.txt is written if there is a calibration part.
        """
        for name in (*NAMES, CALIBRATION) if self.calibration else NAMES:
            lines = "".join(f"{example_id}\n" for example_id in getattr(self, name))
            workdir.write_text(Path(folder) / f"{name}.txt", lines)

    def select(
        self, records: Iterable[Record], name: str
    ) -> tuple[list[Record], list[str]]:
        """Records of a part, in its order, and the example_ids that have no record."""
        if name not in (*NAMES, CALIBRATION):
            raise UserError(f"split {name!r} is unknown: use {', '.join(NAMES)}.")
        by_id = {record.example_id: record for record in records}
        wanted = getattr(self, name)
        found = [by_id[example_id] for example_id in wanted if example_id in by_id]
        return found, [example_id for example_id in wanted if example_id not in by_id]

    def unknown(self, records: Iterable[Record]) -> list[str]:
        """Sorted example_ids of records that are in no part: files added later."""
        known = {*self.train, *self.val, *self.test, *self.calibration}
        return sorted({record.example_id for record in records} - known)

    def divided(self, groups: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Groups that are in several parts: group -> example_id -> part, sorted."""
        members: dict[str, dict[str, str]] = defaultdict(dict)
        for name in (*NAMES, CALIBRATION):
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
    calibration = Path(folder) / f"{CALIBRATION}.txt"
    if calibration.exists():
        parts[CALIBRATION] = _read(calibration)
    split = Split(**parts)
    _check_disjoint(split, str(folder))
    return split


def calibration_apart(
    split: Split, share: float, seed: int, groups: Mapping[str, str] | None = None
) -> Split:
    """Takes a calibration part out of val; nothing else of the split moves.

    Args:
      split: without a calibration part.
      share: of the val images, 0 .. 1; groups make it inexact.
      seed: of the choice, which hangs on the names of images and groups alone.
      groups: example_id -> group, which stays together.

    Raises:
      UserError: the share is out of range, or one of the parts would be empty.
    """
    if not share:
        return split
    if not 0 < share < 1:
        raise UserError(
            f"believe.calibration is {share}, expected the share of the val images "
            "that is kept apart, at least 0 and below 1."
        )
    units: dict[str, list[str]] = defaultdict(list)
    for example_id in split.val:
        units[(groups or {}).get(example_id, example_id)].append(example_id)

    def place(unit: str) -> str:
        return hashlib.sha256(f"{seed}:{CALIBRATION}:{unit}".encode()).hexdigest()

    apart: list[str] = []
    for unit in sorted(units, key=place):
        if len(apart) + len(units[unit]) / 2 <= share * len(split.val):
            apart += units[unit]
    rest = sorted(set(split.val) - set(apart))
    if not apart or not rest:
        images = wording.count(len(split.val), "val image")
        raise UserError(
            f"believe.calibration={share} of {images} in "
            f"{wording.count(len(units), 'group')} leaves one part empty. Take more "
            "images for val (data.fractions), or leave believe.calibration out and use "
            "--mode=calibrate with other images."
        )
    return dataclasses.replace(split, val=tuple(rest), calibration=tuple(sorted(apart)))


def split_records(
    records: Sequence[Record],
    seed: int,
    fractions: Sequence[float] = (0.78, 0.11, 0.11),
    groups: Mapping[str, str] | None = None,
    balanced: bool = False,
) -> Split:
    """Divides records into train, val and test.

    A pure function of example_ids, species, groups, seed and fractions, independent of
    the order of the records and of the trained rank. Each species is divided by the
    fractions; the remaining images (all images of a small species) are pooled over the
    species and divided so that the fractions hold overall.

    The images of a group stay in one part, so large groups make the fractions inexact.
    Copies of an image count as images of the species of the first example_id, and go to
    a part with room for all of them. Groups of many images are `balanced`: each goes to
    the part that lacks most of its species. No part with a fraction stays empty while
    train has two groups or more.

    Official splits of the source take precedence, even over groups (see
    `Split.divided`); a missing part is taken from the training images.

    Args:
      records: N images.
      seed: of the shuffle.
      fractions: of train, val and test.
      groups: example_id -> group; any other image is its own group.
      balanced: whether they are dealt by `group_dealing`, not as copies.

    Raises:
      UserError: no records, duplicate example_ids, or fractions that do not add up to
      1.
    """
    fractions = _check(records, fractions)
    deal = group_dealing.deal if balanced else dealing.deal
    official: dict[str, list[Record]] = {name: [] for name in NAMES}
    for record in records:
        official[official_part(record)].append(record)
    if not any(record.split for record in records):
        parts = deal(records, seed, fractions, groups or {})
        note = _note(records, parts)
    else:
        parts, note = _carve(official, seed, fractions, groups or {}, deal)
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


def _carve(official, seed, fractions, groups, deal):
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
            for name, ids in deal(official["train"], seed, share, groups).items()
            if name == "train" or name in missing
        }
    )
    made = " and ".join(missing)
    return parts, f"The source's own splits are used; {made} carved out of train."


def _note(records, parts):
    where = {example_id: name for name, ids in parts.items() for example_id in ids}
    seen = defaultdict(set)
    for record in records:
        seen[dealing.species(record)].add(where[record.example_id])
    ranks = {record.lineage.finest for record in records if record.lineage}
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
