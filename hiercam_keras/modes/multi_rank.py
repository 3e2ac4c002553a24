"""Support of models with several heads: ranks, the label tree, and path tables."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import tables
from hiercam_keras.data import sources
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import hierarchy
from hiercam_keras.modes.load import load_source, taxonomy_of
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs.run_folder import ALL
from hiercam_keras.taxonomy import partial
from hiercam_keras.taxonomy.tree import Taxonomy

PATHS_HEADER = ("head", "consistent", "right_path", "images")


def with_ranks_of_data(settings: Settings) -> tuple[Settings, Any]:
    """Resolves ranks that depend on the data.

    --rank=all means the ranks with more than one taxon in the data, coarse to fine. If
    --rank is not given and the data have a single rank, such as folders with plain
    names, it is that rank.

    Returns:
      The settings, and the source if it was read for them, else None.

    Raises:
      UserError: --rank names all and other ranks, or no rank has two taxa.
    """
    config = settings.config
    if are_all(settings.rank):
        source = load_source(config, settings.data_dir)
        taxonomy = taxonomy_of(source, config)
        finest = taxonomy.check_trainable(taxonomy.finest)
        taxonomy = partial.tree_of(taxonomy.lineages, finest)
        return replace(settings, rank=taxonomy.trainable_ranks()), source
    fixed = sources.has_usual_ranks(config.data, settings.data_dir)
    if settings.chosen_rank or fixed:
        return settings, None
    source = load_source(config, settings.data_dir)
    ranks = source.records[0].lineage.ranks
    if len(ranks) == 1 and ranks != settings.rank:
        logging.info("the data have one rank, which is used: --rank=%s", ranks[0])
        settings = replace(settings, rank=ranks)
    return settings, source


def are_all(ranks: tuple[str, ...]) -> bool:
    """Whether --rank is all.

    Raises:
      UserError: it names all and other ranks.
    """
    if ALL in ranks and len(ranks) > 1:
        raise UserError(
            f"--rank={','.join(ranks)} names all and other ranks: give --rank=all "
            "alone, or the ranks by name."
        )
    return ranks == (ALL,)


def tree_arrays(taxonomy: Taxonomy, ranks: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Labels of each leaf of the finest of `ranks`, at all ranks down to its own.

    Ranks are coarse to fine. This is the form of the tree that `training` uses.
    """
    finest = max(ranks, key=taxonomy.ranks.index)
    down_to = taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]
    return {rank: taxonomy.parents(finest, rank) for rank in down_to}


def write_paths(
    path: Path, logits: dict[str, np.ndarray], labels: dict, taxonomy: Taxonomy
) -> None:
    """Writes how often the predictions of several heads form one path of the tree.

    Rows of `PATHS_HEADER`: for each head coarser than the finest, the share of images
    with a prediction that is the ancestor of the finest head's, and the share with both
    correct. The last row, "all", has the shares of images for which this holds for
    every head. Only images with a known true taxon at the finest head's rank are
    counted. Writes nothing for a model with one head.
    """
    if len(logits) < 2:
        return
    ranks = sorted(logits, key=taxonomy.ranks.index)
    known = labels[ranks[-1]] >= 0
    if not known.any():
        return
    labels = {rank: values[known] for rank, values in labels.items()}
    answers = {rank: logits[rank][known].argmax(-1) for rank in ranks}
    finest, rows = ranks[-1], []
    for name in [*ranks[:-1], "all"]:
        asked = {finest: answers[finest]}
        asked.update(answers if name == "all" else {name: answers[name]})
        one_path = hierarchy.path_consistency(asked, taxonomy)
        right = hierarchy.full_path_correct(asked, labels[finest], finest, taxonomy)
        rows.append([name, float(one_path.mean()), float(right.mean()), len(right)])
    tables.write_csv(path, PATHS_HEADER, rows)
