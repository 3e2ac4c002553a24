"""Train, val and test as an experiment's config says."""

from collections.abc import Mapping, Sequence
from typing import Any

from hiercam_keras.data import duplicates, grouping, splits
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError

TOGETHER = ("groups", "copies", "nothing")
_NEAR = ("apart", "together")


def make_split(
    records: Sequence[Record], config: Any, together: str = "groups"
) -> splits.Split:
    """Train, val and test by data.split_seed, else by the experiment's seed.

    Models of several seeds on one split answer for the same test images.

    Args:
      records: of the images.
      config: the experiment's.
      together: what is in one part: images of a group and exact copies, exact copies
        alone, or nothing. The last two are how earlier versions split.
    """
    seed = config.data.split_seed
    seed = config.seed if seed < 0 else seed
    groups: Mapping[str, str] = {}
    balanced = together == "groups" and is_grouped(records, config)
    if balanced:
        groups = groups_of(records, config)
    elif together != "nothing":
        groups = duplicates.groups(duplicates.exact_copies(records))
    fractions = config.data.fractions
    return splits.split_records(records, seed, fractions, groups, balanced)


def is_grouped(records: Sequence[Record], config: Any) -> bool:
    """Whether more than exact copies stays together."""
    return _near(config) or grouping.has_groups(records)


def groups_of(records: Sequence[Record], config: Any) -> dict[str, str]:
    """example_id -> group, see `grouping.merged`.

    Raises:
      UserError: data.near_copies has another value.
    """
    return grouping.merged(records, _near(config))


def _near(config: Any) -> bool:
    choice = config.data.get("near_copies", "apart")
    if choice not in _NEAR:
        raise UserError(
            f"data.near_copies is {choice!r}: use one of {', '.join(_NEAR)}."
        )
    return choice == "together"
