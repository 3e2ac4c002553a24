"""The embedded tree and random trees: the looks of their taxa.

The embedded tree reuses the values of each channel under every parent: all families of
all orders share the same few forms of bill and tail, and so on. A trait therefore
identifies the child only if the parent is known, and no finer trait identifies a
coarser taxon.
"""

from dataclasses import dataclass

import numpy as np

from hiercam_keras.birds import traits
from hiercam_keras.birds.habitats import HABITATS
from hiercam_keras.birds.traits import CHANNELS, Look
from hiercam_keras.errors import UserError

RANKS = ("order", "family", "genus", "species")

# Values of each rank, one preset each.
_PRESETS = (
    traits.BODY_PLANS,
    traits.BILL_TAILS,
    traits.WING_PATTERNS,
    traits.PATCH_PLACES,
)
# Children per parent of the largest tree.
LARGEST = tuple(len(presets) for presets in _PRESETS)

# The part that shows the trait of each rank in the embedded tree, and its label.
EVIDENCE = (
    ("order", "body", 1),
    ("family", "bill_and_tail", 2),
    ("genus", "wing", 3),
    ("species", "patch", 4),
)


@dataclass(frozen=True)
class SyntheticSpecies:
    """A leaf of the embedded tree.

    class_dir: folder name in iNat naming. look: its traits. habitat: index of the
    habitat of its family. values: the trait's index per rank, coarse to fine.
    """

    class_dir: str
    look: Look
    habitat: int
    values: tuple[int, int, int, int]


_ORDERS = (
    "Lacuniformes",
    "Ardelliformes",
    "Melodiformes",
    "Nocturiformes",
    "Paluriformes",
    "Maritiformes",
)
_STEMS = ("Velm", "Tars", "Quor", "Bris", "Dalv", "Fend", "Gorm", "Hulc")
_STEMS += ("Jarv", "Kest", "Lopr", "Mirt", "Nolv", "Pesk", "Rilm", "Sorv")
_ENDINGS = ("ora", "ina", "una", "ella", "eta", "oma")
# As in nature, an epithet describes a feature and occurs in many genera.
_EPITHETS = {
    "crown": ("coronata", "verticalis", "capitata"),
    "breast": ("pectoralis", "gularis", "thoracica"),
    "rump": ("uropygialis", "dorsata", "clunifera"),
    "belly": ("ventralis", "abdominalis", "hypogaea"),
}


def default_tree(
    orders: int = 4, families: int = 2, genera: int = 2, species: int = 3
) -> list[SyntheticSpecies]:
    """The embedded tree: names, looks and habitats, the same for every seed.

    Args:
      orders, families, genera, species: children per parent, at least 1; at most as
        many as the channel of that rank has presets.

    Returns:
      All species, in the order of their folder names.
    """
    counts = (orders, families, genera, species)
    for rank, count, most in zip(RANKS, counts, LARGEST, strict=True):
        if not 1 <= count <= most:
            raise UserError(
                f"synthetic birds: number of {rank} values must be 1 to {most}, "
                f"found {count}; change it in the data config."
            )
    names = _genus_names()
    epithet_rng = np.random.default_rng(20240518)
    places = list(traits.PATCH_PLACES)
    leaves = []
    for values in np.ndindex(*counts):
        order, family, genus, leaf = values
        synonyms = _EPITHETS[places[leaf]]
        epithet = synonyms[epithet_rng.integers(len(synonyms))]
        genus_name = names[order][family][genus]
        family_name = names[order][family][0][:-1] + "idae"
        class_dir = (
            f"{len(leaves):05d}_Animalia_Chordata_Aves_{_ORDERS[order]}_"
            f"{family_name}_{genus_name}_{epithet}"
        )
        look = Look(
            *(
                list(channel.values())[value]
                for channel, value in zip(_PRESETS, values, strict=True)
            )
        )
        habitat = (order * families + family) % len(HABITATS)
        leaves.append(SyntheticSpecies(class_dir, look, habitat, values))
    return leaves


def _genus_names() -> np.ndarray:
    """Invented genus names, one for each place of the largest tree, all different."""
    names = np.array([stem + ending for stem in _STEMS for ending in _ENDINGS])
    names = np.random.default_rng(7).permutation(names)
    shape = (len(_ORDERS), len(traits.BILL_TAILS), len(traits.WING_PATTERNS))
    return names[: int(np.prod(shape))].reshape(shape)


@dataclass(frozen=True)
class PretrainTree:
    """A random tree for pretraining.

    values: the looks of each channel, in the order of `CHANNELS`.
    rank_of_channel: position of the channel's rank, 0 coarsest .. 3 finest.
    """

    values: tuple[tuple, ...]
    rank_of_channel: tuple[int, ...]

    @property
    def num_values(self) -> np.ndarray:
        """Children per parent by rank position, int32 (4,)."""
        counts = np.empty(len(CHANNELS), dtype=np.int32)
        for channel, rank in enumerate(self.rank_of_channel):
            counts[rank] = len(self.values[channel])
        return counts

    def look(self, labels: np.ndarray) -> Look:
        """The look of a species.

        Args:
          labels: index of the child within its parent per rank, coarse to fine, (4,).
        """
        return Look(
            *(
                values[labels[rank]]
                for values, rank in zip(self.values, self.rank_of_channel, strict=True)
            )
        )


def random_tree(rng: np.random.Generator) -> PretrainTree:
    """A tree with 2 to 4 random values per channel and the channels' roles shuffled."""
    values = tuple(
        traits.random_values(channel, int(rng.integers(2, 5)), rng)
        for channel in CHANNELS
    )
    ranks = tuple(int(r) for r in rng.permutation(len(CHANNELS)))
    return PretrainTree(values, ranks)
