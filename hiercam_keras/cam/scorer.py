"""cam room: how sure the model is of given taxa, for pictures that were changed.

What the faithfulness metrics ask, thousands of times: one forward pass, no gradients.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from hiercam_keras.cam import graph, selection
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.cam.score_space import ScoreSpace


class Scorer:
    """Log-odds of a taxon at any rank that the model can answer for.

        scorer = Scorer(model, taxonomy=taxonomy)
        rows = scorer.rows(labels, "family")  # of a species model, too
        log_odds = scorer(images, rows)  # (B,)

    Weights are read at every call.

    Args:
      model: as for `Explainer`, of pictures of a known shape.
      taxonomy, rank, output, probabilities: as for `Explainer`.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        taxonomy=None,
        rank: str | None = None,
        output: str | int | None = None,
        probabilities: bool = False,
    ):
        self.model = model
        self._first = graph.image_layout(model) == "channels_first"
        self._dtype = model.inputs[0].dtype
        self._outputs = Outputs(taxonomy, rank, output, probabilities)
        shape = (1, *model.inputs[0].shape[1:])
        spec = jax.ShapeDtypeStruct(shape, self._dtype)
        self._outputs.prepare(
            jax.eval_shape(
                lambda variables, images: graph.apply(model, variables, images),
                graph.variables_of(model),
                spec,
            )
        )
        self._run = jax.jit(self._log_odds)

    @property
    def space(self) -> ScoreSpace:
        """What the model can be asked."""
        return self._outputs.space

    def rows(
        self, labels: Any, rank: str | None = None, score: str = "own"
    ) -> np.ndarray:
        """Labels (B,) at a rank as rows (B,) of the score space.

        Raises:
          UserError: the model cannot answer for the rank, or has no such label.
        """
        return np.array(
            [self.space.row(rank, int(label), score) for label in labels], np.int32
        )

    def __call__(self, images: Any, rows: Any) -> jax.Array:
        """log P(taxon) - log P(not taxon) under its head, float32 (B,), on the device.

        The probability is its logistic function. Infinite where the head knows no
        other taxon.

        Args:
          images: (B, H, W, C) as the model takes them, uint8 or float, channels last.
          rows: int32 (B,).
        """
        return self._run(graph.variables_of(self.model), images, rows)

    def _log_odds(self, variables, images, rows):
        if not keras.backend.is_float_dtype(self._dtype):
            images = jnp.clip(jnp.round(images.astype(jnp.float32)), 0, 255)
        images = images.astype(self._dtype)
        if self._first:
            images = jnp.moveaxis(images, -1, 1)
        logits = self._outputs.logits(graph.apply(self.model, variables, images))
        owner = jnp.asarray(self.space.owner)[jnp.asarray(self.space.group_of)[rows]]
        mine = owner == rows[:, None]  # (B, C)
        others = (owner >= 0) & ~mine
        odds = selection.masked_logsumexp(logits, mine)[0]
        odds -= selection.masked_logsumexp(logits, others)[0]
        return jnp.where(others.any(-1), odds, jnp.inf)
