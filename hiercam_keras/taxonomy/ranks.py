"""Names and order of ranks, coarse to fine."""

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
    """Returns the rank as `ranks` spells it, ignoring letter case and outer spaces.

    Raises:
      UserError: `rank` is not in `ranks`. The message lists them and the closest match.
    """
    wanted = str(rank).strip().casefold()
    by_key = {known.casefold(): known for known in ranks}
    if wanted in by_key:
        return by_key[wanted]
    close = difflib.get_close_matches(wanted, list(by_key), n=1)
    hint = f" Did you mean {by_key[close[0]]!r}?" if close else ""
    raise UserError(f"unknown rank {rank!r}, expected one of {', '.join(ranks)}.{hint}")


def check_ranks(ranks: Iterable[str]) -> tuple[str, ...]:
    """Normalizes ranks, coarse to fine: stripped and in lower case.

    Raises:
      UserError: there is no rank, one is empty, or one occurs twice.
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
