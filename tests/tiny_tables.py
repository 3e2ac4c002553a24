"""Tables of measurements made by hand, for the tests of the experiments' results."""

import numpy as np

from hiercam_keras.evaluation.table import Table

RANKS = ("family", "species")
AREAS = {"object_area": 0.5, "part_family_area": 0.3, "part_species_area": 0.2}


def make_table(
    energy,
    keys=("asked-species", "step-species"),
    example_ids=None,
    groups=None,
    maps=None,
    **by_rank,
) -> Table:
    """A table of N pictures.

    Args:
      energy: (N, K, 3) of background, bill (family) and patch (species).
      keys: K questions. "asked-" questions of the other ranks are added, with the
        energy of the first.
      example_ids, groups: (N,).
      maps: (N, K, h, w) for "map".
      **by_rank: true, predicted, rolled, log2_true: (N, 2) at family and species.
    """
    energy = np.asarray(energy, np.float64)
    count, keys = len(energy), list(keys)[: energy.shape[1]]
    maps = np.ones((count, len(keys), 2, 2), np.float16) / 4 if maps is None else maps
    for rank in RANKS:
        if f"asked-{rank}" not in keys:
            keys.append(f"asked-{rank}")
            energy = np.concatenate([energy, energy[:, :1]], axis=1)
            maps = np.concatenate([maps, maps[:, :1]], axis=1)
    place = [RANKS.index(key.partition("-")[2]) for key in keys]
    nothing = np.zeros((count, 2), int)
    shape = (count, len(keys))
    names = ("true", "predicted", "rolled", "log2_true")
    return Table(
        example_ids=np.array(
            [f"{number:02d}.jpg" for number in range(count)]
            if example_ids is None
            else example_ids
        ),
        groups=np.arange(count) if groups is None else np.asarray(groups),
        questions=tuple(keys),
        ranks=tuple(RANKS[at] for at in place),
        values={
            **{name: by_rank.get(name, nothing)[:, place] for name in names},
            "degenerate": np.zeros(shape, bool),
            "trivial": np.isnan(energy).any(-1),
            "heatmap_area": np.full(shape, 0.1),
            "energy_on_object": 1 - energy[..., 0],
            "part_family": energy[..., 1],
            "part_species": energy[..., 2],
            "map": maps,
        },
        pictures={name: np.full(count, area) for name, area in AREAS.items()},
    )
