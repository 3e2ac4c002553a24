"""What prepare and train report on groups of images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import wording
from hiercam_keras.data import balance, grouping, splits
from hiercam_keras.data.balance import Balance
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.modes import splitting
from hiercam_keras.taxonomy.tree import Taxonomy

FILE = "balance.csv"  # in the folder of the split
_SHOWN = 5  # names that a sentence lists
_GAP = 60  # seconds between images of a burst, in a hint


def lines(records: Sequence[Record], config: Any) -> list[str]:
    """The lines of prepare; without groups a hint at bursts, where there are any.

    Args:
      records: of the source.
      config: of the experiment; its split is described.
    """
    if not splitting.is_grouped(records, config):
        return _bursts(records, config)
    groups = splitting.groups_of(records, config)
    if not groups:  # near copies were asked for, and there are none
        return []
    split = splitting.make_split(records, config)
    spread = balance.of(records, split, groups, config.data.fractions)
    found = [_counted(records, groups), _spread(spread)]
    if not _is_official(records):
        found.append(spread.sentence())
    found += [_divided(split, groups), _whole(groups, records)]
    return [line for line in found if line]


def report(
    records: Sequence[Record], split: splits.Split, config: Any
) -> Balance | None:
    """Logs how a training's split keeps groups together; None without groups."""
    if not splitting.is_grouped(records, config):
        for line in _bursts(records, config):
            logging.warning("%s", line)
        return None
    groups = splitting.groups_of(records, config)
    spread = balance.of(records, split, groups, config.data.fractions)
    if not _is_official(records):
        logging.info("%s", spread.sentence())
    if spread.single:
        logging.warning("%s", _spread(spread))
    if divided := _divided(split, groups):
        logging.warning("%s", divided)
    return spread


def check(
    records: Sequence[Record], config: Any, taxonomy: Taxonomy, ranks: Sequence[str]
) -> None:
    """Checks that the images can be divided, and are of several taxa.

    Raises:
      UserError: all images are in one group, and no official split divides them; the
        message also has the other reasons for which they cannot be trained on.
    """
    if not splitting.is_grouped(records, config) or _is_official(records):
        return
    if not any(config.data.fractions[1:]):  # all of them are for training
        return
    whole = _whole(splitting.groups_of(records, config), records)
    if not whole:
        return
    reasons = [f"{whole}."]
    for rank in ranks:
        try:
            taxonomy.check_trainable(rank)
        except UserError as error:
            reasons.append(f"{str(error)[:1].upper()}{str(error)[1:]}")
    raise UserError(
        " ".join(reasons) + " Add images of other groups, or divide the group for a "
        "test of the program alone (--config.data.groups=none)."
    )


def _bursts(records: Sequence[Record], config: Any) -> list[str]:
    """A hint at pictures that were taken one after another, unless groups were set."""
    if str(config.data.get("groups", "")).strip() or _is_official(records):
        return []
    count = Counter(grouping.bursts(records, _GAP).values())
    images = sum(size for size in count.values() if size > 1)
    if not images:
        return []
    return [
        f"{wording.count(images, 'image')} were taken at most {_GAP} s before or after "
        f"another one by the same camera: --config.data.groups=exif:{_GAP}s keeps such "
        "bursts in one split"
    ]


def _counted(records: Sequence[Record], groups: Mapping[str, str]) -> str:
    sizes = Counter(groups.values())
    ((largest, images),) = sizes.most_common(1)
    alone = len(records) - len(groups)
    text = f"groups: {len(sizes)}, the largest has "
    text += f"{wording.count(images, 'image')} ({largest})"
    if alone:
        text += f"; {wording.count(alone, 'image')} in none"
    crossing = _crossing(records, groups)
    if crossing:
        verb = "holds" if crossing == 1 else "hold"
        text += f"; {wording.count(crossing, 'group')} {verb} several taxa"
    return text


def _crossing(records: Sequence[Record], groups: Mapping[str, str]) -> int:
    """Number of groups with images of several taxa."""
    taxa: dict[str, set] = {}
    for record in records:
        if record.example_id in groups:
            lineage = record.lineage.taxa if record.lineage else ()
            taxa.setdefault(groups[record.example_id], set()).add(lineage)
    return sum(len(found) > 1 for found in taxa.values())


def _spread(spread: Balance) -> str:
    """How species are spread over groups."""
    total = wording.count(len(spread.species), spread.rank)
    text = f"{len(spread.species) - len(spread.single)} of {total} in several groups"
    if not spread.single:
        return text
    names = ", ".join(spread.single[:_SHOWN])
    more = len(spread.single) - _SHOWN
    if more > 0:
        names += f" and {more} more"
    one = len(spread.single) == 1
    return (
        f"{text}; {names} {'is' if one else 'are'} in a single one"
        f"{'' if one else ' each'}, so all images of {'it' if one else 'each'} are for "
        "training and none for a test, or it is not trained at all"
    )


def _divided(split: splits.Split, groups: Mapping[str, str]) -> str:
    """Groups that a split divides, which was not made here or before there were any."""
    divided = split.divided(groups)
    if not divided:
        return ""
    named = "; ".join(
        f"{group} ({_parts(where.values())})"
        for group, where in list(divided.items())[:_SHOWN]
    )
    more = f"; and {len(divided) - _SHOWN} more" if len(divided) > _SHOWN else ""
    verb = "is" if len(divided) == 1 else "are"
    return (
        f"of {wording.count(len(set(groups.values())), 'group')} {len(divided)} {verb} "
        f"divided by the splits, so tests see what was trained on: {named}{more}"
    )


def _parts(names: Sequence[str]) -> str:
    count = Counter(names)
    parts = (*splits.NAMES, splits.CALIBRATION)
    return ", ".join(f"{count[name]} {name}" for name in parts if count[name])


def _whole(groups: Mapping[str, str], records: Sequence[Record]) -> str:
    """A clause if all images are in one group; "" otherwise."""
    if len(groups) < len(records) or len(set(groups.values())) > 1 or len(records) < 2:
        return ""
    name = next(iter(groups.values()))
    return (
        f"all {len(records)} images are in one group ({name}), so no split keeps a "
        "test apart from the training"
    )


def _is_official(records: Sequence[Record]) -> bool:
    return any(record.split for record in records)


def save(spread: Balance | None, folder: Path) -> None:
    """Writes `FILE` into the folder of a split with groups."""
    if spread is not None:
        spread.save(folder / FILE)
