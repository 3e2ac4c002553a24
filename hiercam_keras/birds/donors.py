"""Who gives a bird the form of an exchanged part.

A donor is a whole species, so that an exchanged bird can be compared with it; its form
of the part always differs from the bird's.
"""

import functools

import numpy as np

from hiercam_keras.birds.bird import Bird
from hiercam_keras.birds.tree import (
    LARGEST,
    RANKS,
    SyntheticSpecies,
    default_tree,
)

# Part -> the rank that has its form. Legs are of the body plan, which is the order's;
# "bird" is the body plan with all that is attached to it, "placement" the size and the
# place in the picture, to which a bird is fitted with its bill and tail.
RANK_OF_PART = {
    "body": "order",
    "bill_and_tail": "family",
    "wing": "genus",
    "patch": "species",
    "habitat": "family",
    "legs": "order",
    "bird": "order",
    "placement": "family",
}


def form(leaf: SyntheticSpecies, part: str):
    """What a species has as a part; equal forms are drawn alike."""
    look = leaf.look
    return {
        "body": look.body,
        "bill_and_tail": look.bill_tail,
        "wing": look.wing,
        "patch": look.patch_place,
        "habitat": leaf.habitat,
        "legs": look.body.leg,
        "bird": look.body,
        "placement": look.bill_tail,
    }[part]


def donors(bird: Bird, part: str, how: str) -> list[SyntheticSpecies]:
    """Species with another form of a part, one of each taxon that can give it.

    Args:
      bird: that is changed.
      part: a key of RANK_OF_PART.
      how: "sibling": taxa of the part's rank with the bird's parent. "unrelated": taxa
        of another order with a form that no taxon of the data set has. All parents
        have children of the same forms, so that of another order of the data set is
        the bird's or a sibling's; it is taken where the generator knows no other form.
        Habitats differ between families: an unrelated one is that of a family of
        another order.

    Returns:
      The species, which are as the bird in the finer ranks; none if no taxon has
      another form, as in a tree with one child per parent.
    """
    rank = RANKS.index(RANK_OF_PART[part])
    own = bird.leaf.values
    counts = bird.settings.counts
    unknown = [range(n, most) for n, most in zip(counts, LARGEST, strict=True)]
    if how == "sibling":
        others = [value for value in range(counts[rank]) if value != own[rank]]
        wanted = [(*own[:rank], value) for value in others]
    elif rank == 0:
        wanted = [(value,) for value in unknown[0]]
    else:
        values = (part != "habitat" and unknown[rank]) or range(counts[rank])
        orders = [order for order in range(counts[0]) if order != own[0]] or unknown[0]
        between = own[1:rank]
        wanted = [(order, *between, value) for order in orders for value in values]
    known = {leaf.values: leaf for leaf in bird.settings.tree()}
    leaves = _leaves_of_largest_tree() | known
    found = [leaves[(*values, *own[rank + 1 :])] for values in wanted]
    same = {bird.habitat if part == "habitat" else form(bird.leaf, part)}
    if part == "habitat" and how == "unrelated":
        same |= {known[(own[0], f, *own[2:])].habitat for f in range(counts[1])}
    return [leaf for leaf in found if form(leaf, part) not in same]


def draw_donor(bird: Bird, part: str, how: str, seed: int) -> SyntheticSpecies | None:
    """One of the donors at random; None if there is none.

    A body and a whole bird have the same one, and so have bill and tail and the
    placement.
    """
    found = donors(bird, part, how)
    if not found:
        return None
    part = {"bird": "body", "placement": "bill_and_tail"}.get(part, part)
    words = [list(RANK_OF_PART).index(part), ("sibling", "unrelated").index(how)]
    rng = np.random.default_rng([0xD012, seed, bird.species, bird.index, *words])
    return found[rng.integers(len(found))]


def taxon(leaf: SyntheticSpecies, part: str) -> str:
    """Name of the taxon of the part's rank that a species is of."""
    *_, order, family, genus, epithet = leaf.class_dir.split("_")
    names = (order, family, genus, f"{genus} {epithet}")
    return names[RANKS.index(RANK_OF_PART[part])]


@functools.cache
def _leaves_of_largest_tree() -> dict[tuple[int, ...], SyntheticSpecies]:
    return {leaf.values: leaf for leaf in default_tree(*LARGEST)}
