"""The ordered ranks, coarse to fine."""

import difflib
from collections.abc import Iterable, Sequence

from hiercam_keras.errors import UserError

DEFAULT_RANKS: tuple[str, ...] = (
    "kingdom",
    "phylum",
    "class",
    "order",
    "family",
    "genus",
    "species",
)


def check_rank(rank: str, ranks: Sequence[str] = DEFAULT_RANKS) -> str:
    """The rank as `ranks` spells it; letter case and outer spaces do not matter.

    Raises:
      UserError: `rank` is none of `ranks`; lists them, and the closest one.
    """
    wanted = str(rank).strip().casefold()
    by_key = {known.casefold(): known for known in ranks}
    if wanted in by_key:
        return by_key[wanted]
    close = difflib.get_close_matches(wanted, list(by_key), n=1)
    hint = f" Did you mean {by_key[close[0]]!r}?" if close else ""
    raise UserError(f"unknown rank {rank!r}, expected one of {', '.join(ranks)}.{hint}")


def check_ranks(ranks: Iterable[str]) -> tuple[str, ...]:
    """Ranks of a header, stripped and in lower case, coarse to fine.

    Raises:
      UserError: there is none, one is empty, or one is there twice.
    """
    found = list(ranks)
    names = tuple(str(rank).strip().lower() for rank in found)
    if not names or not all(names):
        raise UserError(
            f"ranks are {found}, expected at least one name and no empty ones, "
            "coarse to fine. Name every taxonomic column."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"rank {twice[0]!r} is twice in {', '.join(names)}. Rename one column."
        )
    return names


def rank_depth(rank: str, ranks: Sequence[str] = DEFAULT_RANKS) -> int:
    """Number of taxa from the root down to `rank`: 1 for the coarsest rank."""
    return list(ranks).index(check_rank(rank, ranks)) + 1
