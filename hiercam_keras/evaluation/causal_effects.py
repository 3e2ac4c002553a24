"""How much each score of a network changes when a part of a picture is exchanged.

A score is that of a taxon which the picture was asked for, in one of five ways:

- "label": the logit of the rank's own head, or the marginal where there is none;
- "marginal": s_n, the logsumexp of the finest head's logits below the taxon;
- "step": log P(taxon | its parent) = s_n - s_parent;
- "log_odds": of the taxon among the children of its parent, s_n minus the logsumexp of
  the other children;
- "contrast": s_n - s_m, the plain difference to the runner-up m of the picture with
  nothing exchanged.

Log-odds are an increasing function of the step, so that both rank the parts of a
picture alike, and their maps have the same energy for every method that is linear in
the gradient. NumPy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special

from hiercam_keras.cam.score_space import ScoreSpace

SCORES = ("label", "marginal", "step", "log_odds", "contrast")


@dataclass(frozen=True)
class Effects:
    """Scores of N pictures minus those with one part exchanged.

    Attributes:
      example_ids, groups: (N,) text, of the pictures; the groups are their species.
      ranks: R names, coarse to fine.
      parts: P names.
      hows: H names, how a part was exchanged.
      falls: score -> float64 (N, R, P, H): above 0 where the part speaks for the taxon;
        NaN where there is no such exchange, or the taxon has no siblings.
      turned: float64 (N, R, P, H), 1 where the exchange changes which child of the
        parent has the largest score, else 0.
    """

    example_ids: np.ndarray
    groups: np.ndarray
    ranks: tuple[str, ...]
    parts: tuple[str, ...]
    hows: tuple[str, ...]
    falls: dict[str, np.ndarray]
    turned: np.ndarray

    def of(self, score: str, rank: str, how: str) -> np.ndarray:
        """Falls of one score: (N, P)."""
        return self.falls[score][:, self.ranks.index(rank), :, self.hows.index(how)]


def scores_of(
    space: ScoreSpace,
    logits: np.ndarray,
    labels: Mapping[str, np.ndarray],
    rivals: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """All SCORES of the asked taxon at each rank: name -> float64 (N, R).

    Args:
      space: of the network, with exclusive labels.
      logits: (N, C), the heads one after another as in `Explanation.logits`.
      labels: rank -> label of the asked taxon (N,).
      rivals: rank -> label of the taxon that "contrast" takes off (N,).

    Returns:
      NaN where the taxon has no siblings: "step" and "log_odds".
    """
    logits = np.asarray(logits, np.float64)
    found = {name: [] for name in SCORES}
    for rank, asked in labels.items():
        own, marginal = (space.group(rank, score) for score in ("own", "marginal"))
        start = space.groups[marginal].start
        owner, row = space.owner[marginal], start + np.asarray(asked)
        above = space.parent[row]
        family = space.owner[space.group_of[above]] == above[:, None]
        # A column with a gap at the rank is of no child.
        others = family & (owner >= 0) & (owner != row[:, None])
        mine = _sum(logits, owner == row[:, None])
        own_row = space.groups[own].start + np.asarray(asked)
        rival = owner == start + np.asarray(rivals[rank])[:, None]
        alone = space.only_child[row]
        found["label"].append(_sum(logits, space.owner[own] == own_row[:, None]))
        found["marginal"].append(mine)
        found["step"].append(np.where(alone, np.nan, mine - _sum(logits, family)))
        odds = mine - np.where(alone, 0.0, _sum(logits, others))
        found["log_odds"].append(np.where(alone, np.nan, odds))
        found["contrast"].append(mine - _sum(logits, rival))
    return {name: np.stack(columns, 1) for name, columns in found.items()}


def runners_up(
    space: ScoreSpace, logits: np.ndarray, labels: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The taxon with the largest marginal, the asked one aside: rank -> labels (N,)."""
    found = {}
    for rank, asked in labels.items():
        scores = _marginals(space, logits, rank)
        scores[np.arange(len(scores)), asked] = -np.inf
        found[rank] = scores.argmax(1)
    return found


def chosen_children(
    space: ScoreSpace, logits: np.ndarray, labels: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The child with the largest marginal, among those of the asked taxon's parent:
    int (N, R), labels at each rank."""
    found = []
    for rank, asked in labels.items():
        group = space.groups[space.group(rank, "marginal")]
        parents = space.parent[group.start : group.start + group.size]
        siblings = parents[None] == parents[np.asarray(asked)][:, None]
        scores = _marginals(space, logits, rank)
        found.append(np.where(siblings, scores, -np.inf).argmax(1))
    return np.stack(found, 1)


def _marginals(space: ScoreSpace, logits: np.ndarray, rank: str) -> np.ndarray:
    """Marginals of every taxon of a rank: float64 (N, labels)."""
    group = space.group(rank, "marginal")
    rows = space.groups[group].start + np.arange(space.groups[group].size)
    mask = space.owner[group] == rows[:, None]
    logits = np.asarray(logits, np.float64)
    return np.stack([_sum(logits, np.broadcast_to(m, logits.shape)) for m in mask], 1)


def _sum(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """logsumexp over the columns of a mask (N, C); -inf where there are none."""
    kept = np.where(mask, logits, -np.inf)
    with np.errstate(divide="ignore"):
        return scipy.special.logsumexp(kept, axis=1)


def effects(
    space: ScoreSpace,
    example_ids: Sequence[str],
    groups: Sequence[str],
    labels: Mapping[str, np.ndarray],
    plain: np.ndarray,
    exchanged: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]],
) -> Effects:
    """Effects of exchanged parts from the logits of the pictures.

    Args:
      space: of the network.
      example_ids, groups: of the N pictures.
      labels: rank -> label of the asked taxon (N,), coarse to fine.
      plain: logits (N, C) of the pictures with nothing exchanged.
      exchanged: (part, how) -> rows (M,) of the pictures that have this exchange, and
        the logits (M, C) with it.
    """
    parts = tuple(dict.fromkeys(part for part, _ in exchanged))
    hows = tuple(dict.fromkeys(how for _, how in exchanged))
    rivals = runners_up(space, plain, labels)
    before = scores_of(space, plain, labels, rivals)
    chose = chosen_children(space, plain, labels)
    shape = (len(example_ids), len(labels), len(parts), len(hows))
    falls = {name: np.full(shape, np.nan) for name in SCORES}
    turned = np.full(shape, np.nan)
    for (part, how), (rows, logits) in exchanged.items():
        asked, others = (
            {rank: np.asarray(own)[rows] for rank, own in one.items()}
            for one in (labels, rivals)
        )
        place = (rows, slice(None), parts.index(part), hows.index(how))
        for name, after in scores_of(space, logits, asked, others).items():
            falls[name][place] = before[name][rows] - after
        turned[place] = chosen_children(space, logits, asked) != chose[rows]
    turned[np.isnan(falls["step"])] = np.nan
    return Effects(
        np.asarray(example_ids),
        np.asarray(groups),
        tuple(labels),
        parts,
        hows,
        falls,
        turned,
    )
