"""What is asked about a photograph, and how the columns of maps.csv are called."""

import itertools

RANKS = ("order", "family", "genus", "species")
STEP = "step-"  # before a rank, the name of a step's columns
QUESTIONS = (*RANKS, *(STEP + rank for rank in RANKS))


def columns() -> list[str]:
    """The columns of maps.csv.

    species, and of each rank the true taxon (empty: the network does not know it), the
    answer and its probability; box_area, the box's share of what the network sees; of
    each question the energy on the box and whether the highest cell is on it (empty: no
    map); of two questions the correlation of their maps; of each question the mean
    correlation with its maps of the other photographs.
    """
    ranks = [f"{rank}_{name}" for rank in RANKS for name in ("true", "answer", "p")]
    maps = [f"{name}_{what}" for name in QUESTIONS for what in ("energy", "hit")]
    both = [*map(pair, pairs()), *map(elsewhere, QUESTIONS)]
    return ["example_id", "species", *ranks, "box_area", *maps, *both]


def pairs() -> list[tuple[str, str]]:
    """Questions that are compared: ranks with ranks, steps with steps."""
    both = (RANKS, tuple(STEP + rank for rank in RANKS))
    return [two for names in both for two in itertools.combinations(names, 2)]


def pair(names: tuple[str, str]) -> str:
    """The column of two questions' correlation."""
    return "~".join(names)


def elsewhere(name: str) -> str:
    """The column of a question's correlation with the maps of other photographs."""
    return f"{name}~elsewhere"
