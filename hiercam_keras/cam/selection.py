"""Resolves targets by the logits, on the device.

The predicted taxon and the runner-up are known only after the forward pass. Resolving
them inside the jitted function avoids a transfer to the host. Targets are integers, so
no target requires a recompilation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras.cam import targets as t
from hiercam_keras.cam.score_space import ScoreSpace


class Selected(NamedTuple):
    """Resolved targets of a batch; scores are logsumexp(row) - logsumexp(rival).

    Attributes:
      row: int32 (B, K).
      rival: int32 (B, K), -1 for none.
      without: bool (B, K), whether the rival excludes the columns of the row
      (siblings).
      trivial: bool (B, K): a step into an only child, or a contrast without an
      opponent.
      nearest: bool (B, K, M), rows with a mean score that replaces the rival's, if
        there are any; None if no target uses this.
      strength: (B, K), factor of the opposing score; None for 1.
    """

    row: jax.Array
    rival: jax.Array
    without: jax.Array
    trivial: jax.Array
    nearest: jax.Array | None = None
    strength: jax.Array | None = None


class Scored(NamedTuple):
    """Scores of resolved targets.

    Attributes:
      scores: (B, K).
      probabilities: (B, K), of the rows under their heads.
      cotangents: (B, K, C), d scores / d logits.
    """

    scores: jax.Array
    probabilities: jax.Array
    cotangents: jax.Array


def row_scores(space: ScoreSpace, logits: jax.Array) -> jax.Array:
    """Numerically stable logsumexp of every row: (B, C) -> (B, M)."""
    parts = []
    for group in space.groups:
        z = logits[:, group.column : group.column + len(group.owner)].T  # (C_g, B)
        has = group.owner >= 0
        if has.all() and group.size == len(group.owner):  # each column is its own row
            parts.append(z.T)
            continue
        owner = group.owner[has]
        z = z if has.all() else z[np.flatnonzero(has)]
        top = jax.ops.segment_max(z, owner, group.size)
        # -inf minus itself is NaN: no species of the taxon has an output.
        top = jnp.where(jnp.isneginf(top), 0.0, top)
        total = jax.ops.segment_sum(jnp.exp(z - top[owner]), owner, group.size)
        parts.append((top + jnp.log(total)).T)
    return jnp.concatenate(parts, axis=1)


def select(space: ScoreSpace, codes: t.Codes, logits: jax.Array) -> Selected:
    """Resolves target codes (B, K) by the logits (B, C)."""
    scores = row_scores(space, logits)  # (B, M)
    group_of = jnp.asarray(space.group_of)
    in_group = codes.group[..., None] == group_of  # (B, K, M)
    row = _best(scores, in_group)
    leaves = _leaves(space, logits)  # (B,)
    lineage = jnp.asarray(space.ancestors)[leaves]  # (B, R)
    # Group 0 is the root; the groups of the ranks follow, coarse to fine.
    depth = jnp.clip(codes.group - 1, 0, lineage.shape[1] - 1)
    ancestor = jnp.take_along_axis(lineage, depth, axis=1)
    row = jnp.where(codes.pick == t.ANCESTOR, ancestor, row)
    row = jnp.where(codes.pick == t.GIVEN, codes.row, row)

    others = in_group & (jnp.arange(space.num_rows) != row[..., None])
    parent = jnp.asarray(space.parent)[row]
    rival = jnp.full_like(row, -1)
    for against, choice in (
        (t.PARENT, parent),
        (t.SIBLINGS, parent),
        (t.RUNNER_UP, _best(scores, others)),
        (t.ROOT_ROW, jnp.zeros_like(row)),
        (t.GIVEN_ROW, codes.other),
    ):
        rival = jnp.where(codes.against == against, choice, rival)
    alone = jnp.asarray(space.only_child)[row]
    trivial = alone & ((codes.against == t.PARENT) | (codes.against == t.SIBLINGS))
    trivial |= (codes.against == t.RUNNER_UP) & ~others.any(-1)
    trivial |= row == rival
    nearest = None if codes.count is None else _nearest(scores, others, codes.count)
    siblings = codes.against == t.SIBLINGS
    return Selected(row, rival, siblings, trivial, nearest, codes.strength)


def _best(scores, allowed):
    return jnp.where(allowed, scores[:, None, :], -jnp.inf).argmax(-1)


def _nearest(scores, allowed, count):
    """bool (B, K, M): the `count` (B, K) allowed rows with the largest scores."""
    allowed &= ~jnp.isneginf(scores)[:, None, :]  # labels without a column
    kept = jnp.where(allowed, scores[:, None, :], -jnp.inf)
    place = jnp.argsort(jnp.argsort(kept, axis=-1, descending=True), axis=-1)
    return allowed & (place < count[..., None])


def _leaves(space, logits):
    finest = space.groups[0]
    columns = slice(finest.column, finest.column + len(finest.owner))
    return logits[:, columns].argmax(-1)


def score(space: ScoreSpace, selected: Selected, logits: jax.Array) -> Scored:
    """Scores of resolved targets and their gradients with respect to the logits.

    The gradient of logsumexp over a set is the softmax within it, so it is given in
    closed form: d score / d z_c = P(c | row) - P(c | rival). For nearest rows n, the
    mean of P(c | n) replaces P(c | rival).
    """
    owner, group_of = jnp.asarray(space.owner), jnp.asarray(space.group_of)
    z = logits[:, None, :]  # (B, 1, C)
    mine = owner[group_of[selected.row]] == selected.row[..., None]  # (B, K, C)
    theirs = owner[group_of[selected.rival]] == selected.rival[..., None]
    # -1 means no rival, but in `owner` a column of another head.
    theirs &= selected.rival[..., None] >= 0
    theirs &= ~(mine & selected.without[..., None])
    same_head = head_columns(space)[group_of[selected.row]]  # (B, K, C)
    asked = ~selected.trivial
    mine_sum, mine_share = masked_logsumexp(z, mine)
    theirs_sum, theirs_share = masked_logsumexp(z, theirs & asked[..., None])
    if selected.nearest is not None:
        several = selected.nearest.any(-1)
        mean_sum, mean_share = _mean_of_rows(space, selected, logits)
        theirs_sum = jnp.where(several, mean_sum, theirs_sum)
        theirs_share = jnp.where(several[..., None], mean_share, theirs_share)
    if selected.strength is not None:
        theirs_sum = selected.strength * theirs_sum
        theirs_share = selected.strength[..., None] * theirs_share
    against = asked & (selected.rival >= 0)
    scores = jnp.where(against, mine_sum - theirs_sum, mine_sum)
    scores = jnp.where(asked, scores, 0.0)
    cotangents = jnp.where(asked[..., None], mine_share - theirs_share, 0.0)
    head_sum, _ = masked_logsumexp(z, same_head)
    probabilities = jnp.exp(mine_sum - head_sum)
    alone = independent(space)[selected.row]
    probabilities = jnp.where(alone, jax.nn.sigmoid(mine_sum), probabilities)
    return Scored(scores, probabilities, cotangents)


def _mean_of_rows(space, selected, logits):
    """Mean score (B, K) of the nearest rows, and its gradient (B, K, C).

    d s_n / d z_c = exp(z_c - s_n) for c below n; each column is below exactly one row.
    """
    scores = row_scores(space, logits)[:, None, :]  # (B, 1, M)
    weights = selected.nearest / jnp.maximum(selected.nearest.sum(-1, keepdims=True), 1)
    mean = jnp.where(selected.nearest, weights * scores, 0.0).sum(-1)
    owner = jnp.asarray(space.owner)[jnp.asarray(space.group_of)[selected.row]]
    # Columns of another head, with owner -1, have weight 0.
    weight = jnp.take_along_axis(weights, jnp.maximum(owner, 0), axis=-1)
    weight = jnp.where(owner >= 0, weight, 0.0)  # (B, K, C)
    above = jnp.take_along_axis(
        jnp.broadcast_to(scores, weights.shape), jnp.maximum(owner, 0), axis=-1
    )
    share = jnp.exp(jnp.minimum(logits[:, None, :] - above, 0.0))
    return mean, jnp.where(weight > 0, weight * share, 0.0)


def independent(space: ScoreSpace) -> jax.Array:
    """bool (M,): whether a row is a label of an independent head."""
    groups = np.array([group.head.independent for group in space.groups])
    return jnp.asarray(groups[space.group_of])


def head_columns(space):
    """bool (G, C): the columns of the head that a group reads."""
    columns = np.zeros(space.owner.shape, bool)
    for index, group in enumerate(space.groups):
        columns[index, group.column : group.column + len(group.owner)] = True
    return jnp.asarray(columns)


def masked_logsumexp(z, mask):
    """logsumexp over a set of columns, and the softmax within the set.

    Args:
      z: logits (..., C).
      mask: bool, broadcastable with z: the set.

    Returns:
      (...,) and (..., C). The logsumexp is 0 for an empty set, -inf if all logits are
      -inf, and NaN if one is NaN.
    """
    top = jnp.max(jnp.where(mask, z, -jnp.inf), axis=-1, keepdims=True)
    top = jnp.where(top == -jnp.inf, 0.0, top)
    weights = jnp.where(mask, jnp.exp(jnp.minimum(z - top, 0.0)), 0.0)
    total = weights.sum(-1, keepdims=True)
    found = jnp.where(mask.any(-1, keepdims=True), top + jnp.log(total), 0.0)
    return found[..., 0], weights / jnp.where(total == 0, 1.0, total)
