"""The contents of files with a network's answers, in every format."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

import hiercam_keras
from hiercam_keras.modes import belief
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.training.predict import Predictions


class Named(NamedTuple):
    """A taxon that is named for an image: label at a rank, with its probability."""

    rank: str
    label: int
    probability: float


def classifier_of(run: Run) -> str:
    """The program with its version, and the network."""
    source = (run.record.get("imported") or {}).get("source") or {}
    where = run.path
    name = source.get("name") or f"{where.parent.name}/{where.name}"
    return f"hiercam_keras {hiercam_keras.__version__}: {name}"


def rank_of(settings: Settings, network: Network, known: Collection[str]) -> str:
    """The rank of the named taxa: that of --rank if it is known, else the finest."""
    if settings.chosen_rank and settings.rank[0] in known:
        return settings.rank[0]
    return network.finest


def unnamed(count: int) -> str:
    """For the summary of a file: how many answers name no taxon; "" for none."""
    return f" ({count} of them without a name, unknown)" if count else ""


def named(
    settings: Settings,
    run: Run,
    config: Any,
    network: Network,
    found: Predictions,
    top_k: int = 1,
) -> tuple[str, list[list[Named]]]:
    """The taxa that a file names for each image.

    Returns:
      The rank in words, and for each image its likeliest taxa there, the best first. Of
      a run with a rule (see `belief.rule_of`) it is the believed taxon alone, or none
      where no name is believed.
    """
    rule = belief.rule_of(run, config.believe)
    given = None if rule is None else belief.answers(rule, network, found)
    if given is not None:
        paths = given.paths
        cells = zip(paths.taxa, paths.probabilities, given.depth, strict=True)
        return f"the believed rank ({rule.source})", [
            [Named(paths.ranks[depth], int(taxa[depth]), float(shares[depth]))]
            if depth >= 0
            else []
            for taxa, shares, depth in cells
        ]
    scores = network.scores(found.logits)
    rank = rank_of(settings, network, scores)
    probabilities = network.probabilities(rank, scores[rank])
    order = np.argsort(-scores[rank], axis=-1, kind="stable")[:, :top_k]
    return rank, [
        [Named(rank, int(label), float(row[label])) for label in best]
        for row, best in zip(probabilities, order, strict=True)
    ]
