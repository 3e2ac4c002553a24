"""Ranks, lineages and the taxonomy tree. Depends on NumPy only."""

from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS, check_rank, check_ranks
from hiercam_keras.taxonomy.tree import Taxonomy

__all__ = [
    "DEFAULT_RANKS",
    "Lineage",
    "Taxonomy",
    "check_rank",
    "check_ranks",
    "parse_class_name",
]
