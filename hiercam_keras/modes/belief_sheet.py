"""Where belief in the answer for one photo ends, and the maps of what is left."""

from typing import Any, NamedTuple

import numpy as np

from hiercam_keras.cam import map_scale, targets
from hiercam_keras.cam.base_explainer import BaseExplainer
from hiercam_keras.metrics import belief
from hiercam_keras.modes import belief as rules
from hiercam_keras.report.photo_figure import Believed, Child
from hiercam_keras.report.style import percent
from hiercam_keras.runs.truth import Truth
from hiercam_keras.taxonomy.common_names import titled
from hiercam_keras.taxonomy.lineage import unnamed_below
from hiercam_keras.taxonomy.tree import Taxonomy


class Sheet(NamedTuple):
    """The believed name with its probability, and what the figure shows of it."""

    name: str
    probability: float
    shown: Believed


def sheet(
    explain: BaseExplainer,
    image: np.ndarray,
    result: Any,
    method: str,
    rule: rules.Rule,
    record: Any,
    truth: Taxonomy | Truth,
) -> Sheet:
    """Judges the answer for one photo, and explains the step at which belief ends.

    Args:
      explain: of the model.
      image: uint8 (S, S, 3), the model's input.
      result: an explanation of the image, for its probabilities.
      method: a CAM method.
      rule: of the run.
      record: of the photo.
      truth: gives the true labels, see `RunData.truth`.
    """
    taxonomy, finest = explain.space.taxonomy, explain.space.finest
    shares = np.asarray(result.rank_probabilities(finest), np.float64)
    given = rules.judged(rule, shares, taxonomy, finest)
    ranks, depth = given.paths.ranks, int(given.depth[0])
    name, common, probability, right = "No name is believed", "", 1.0, None
    note = "not even the coarsest rank is sure enough"
    if depth != belief.ROOT:
        rank, label = ranks[depth], int(given.paths.taxa[0, depth])
        name, common = taxonomy.names(rank)[label], taxonomy.common_name(rank, label)
        probability = float(given.paths.probabilities[0, depth])
        note = f"{percent(probability)}, believed down to the {rank}"
        if depth + 1 < len(ranks):
            name = unnamed_below(name)
        true = rules.true_labels([record], truth, (rank,))[rank][0]
        right = None if true == belief.UNLABELLED else bool(true == label)
    fork = rules.fork(given, 0, taxonomy)
    children: tuple[Child, ...] = ()
    if fork is not None:
        children = _children(explain, image, method, *fork)
    shown = Believed(name, note, children, right, common)
    return Sheet(titled(name, common), probability, shown)


def _children(
    explain: BaseExplainer,
    image: np.ndarray,
    method: str,
    rank: str,
    pair: list[tuple[int, float]],
) -> tuple[Child, ...]:
    """What speaks for each of two taxa against the other, on one scale."""
    (first, _), (second, _) = pair
    asked = [
        targets.contrast(rank, own, against=other)
        for own, other in ((first, second), (second, first))
    ]
    found = explain(image[None], asked, method)
    shown = map_scale.show_row(found.cams[0], image.shape[0], map_scale.ROW)
    names = explain.space.taxonomy.names(rank)
    return tuple(
        Child(names[label], share, shown.heat[k], bool(found.degenerate[0, k]))
        for k, (label, share) in enumerate(pair)
    )
