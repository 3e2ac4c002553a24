"""Which images an interval resamples together, where images are in groups.

Images of a species are alike, and so are images of a group (burst, visit, deployment).
A cluster bootstrap is valid if the resampled sets are independent of each other, so
clusters are formed at the highest level of dependence (Davison and Hinkley 1997,
section 3.8; Field and Welsh 2007, J. R. Statist. Soc. B 69, 369-390; Cameron and Miller
2015, J. Human Resources 50, 317-372). Groups within one species are resampled with it;
species that share a group are one cluster.
"""

from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from hiercam_keras.metrics.resampling import MIN_GROUPS


def independent(taxa: Any, groups: Any = None) -> np.ndarray:
    """Labels of the sets of images that are resampled.

    If fewer than `MIN_GROUPS` independent sets remain, the groups alone are resampled,
    if there are as many. The interval then holds for further groups of these species,
    not for further species.

    Args:
      taxa: (N,) finest true taxon of each image.
      groups: (N,) group of each image, "" for none, or None: no groups. An image in
        none is a group of its own.

    Returns:
      (N,) labels: the first taxon by name of each set, or the groups.

    Raises:
      ValueError: the shapes differ.
    """
    taxa = np.asarray(taxa)
    if groups is None:
        return taxa
    groups = np.asarray(groups)
    if groups.shape != taxa.shape or taxa.ndim != 1:
        raise ValueError(f"taxa {taxa.shape} and groups {groups.shape}, expected (N,)")
    known = groups != ""
    if not known.any():
        return taxa
    sets = of_taxa(taxa, groups)
    alone = np.array([f"image {number}" for number in range(len(taxa))])
    by_group = np.where(known, groups, alone)
    if len(np.unique(sets)) < MIN_GROUPS <= len(np.unique(by_group)):
        return by_group
    return sets


def of_taxa(taxa: Any, groups: Any) -> np.ndarray:
    """The sets of taxa that share no group: (N,), the first taxon by name of each.

    Args:
      taxa: (N,) finest true taxon of each image.
      groups: (N,) group of each image, "" for none.
    """
    taxa, groups = np.asarray(taxa), np.asarray(groups)
    known = groups != ""
    if not known.any():
        return taxa
    names, taxon = np.unique(taxa, return_inverse=True)
    _, group = np.unique(groups[known], return_inverse=True)
    size = len(names) + group.max() + 1
    edges = np.ones(len(group)), (taxon[known], len(names) + group)
    _, found = connected_components(coo_matrix(edges, shape=(size, size)), False)
    # names are sorted, so the first index of a set is that of its first name.
    sets, first = np.unique(found[: len(names)], return_index=True)
    return names[first[np.searchsorted(sets, found[: len(names)])]][taxon]
