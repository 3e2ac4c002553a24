"""Log-odds of given taxa for modified images, for the faithfulness metrics.

The metrics evaluate thousands of images, so a call is one forward pass without
gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from hiercam_keras.cam import arrays, graph, keras_network, selection, targets
from hiercam_keras.cam.inputs import Inputs, known_specs
from hiercam_keras.cam.keras_network import KerasNetwork
from hiercam_keras.cam.meaning import Meaning
from hiercam_keras.cam.network import CHANNELS_FIRST, Network
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError
from hiercam_keras.models.layers import is_mixed
from hiercam_keras.precision import check, of_network, of_products


class Scorer:
    """Computes log-odds of taxa at any rank that the model can predict.

        scorer = Scorer(model, taxonomy=taxonomy)
        rows = scorer.rows(labels, "family")  # also for a species model
        log_odds = scorer(images, rows)  # (B,)

    Weights are read at every call.

    Args:
      model: as for `Explainer`, with known input shapes.
      image_input, precision: as for `Explainer`.
      meaning: taxonomy, names, labels, order, allowed_taxa, rank, output, activation,
        probabilities, as for `Explainer`.

    Raises:
      UserError: as for `Explainer`, and if the model's input shapes are unknown.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        image_input: str | int | None = None,
        precision: str = "auto",
        **meaning: Any,
    ):
        outputs = Outputs(Meaning(**meaning))
        recorded = graph.record(model, known_specs(model, 2))
        keras_network.prepare_outputs(outputs, recorded)
        inputs = Inputs(model, image_input)
        network = KerasNetwork(model, inputs, outputs)
        weights = functools.partial(graph.variables_of, model)
        products = of_network(precision, is_mixed(model))
        self._bind(network, weights, inputs.others, products)

    @classmethod
    def of_network(
        cls,
        network: Network,
        weights: Callable[[], Any],
        others: Callable,
        precision: str = "auto",
    ) -> Scorer:
        """Creates a scorer for the network of an explainer.

        Args:
          network: with prepared outputs.
          weights: returns the network's current weights.
          others: function from other inputs, as the user passes them, and the number of
            images to arrays.
          precision: as for `Explainer`.
        """
        scorer = cls.__new__(cls)
        scorer._bind(network, weights, others, precision)
        return scorer

    def _bind(self, network, weights, others, precision) -> None:
        check(precision)
        self._network, self._weights, self._others = network, weights, others
        self._precision = precision
        self._run = jax.jit(self._log_odds, static_argnums=0)

    @property
    def space(self) -> ScoreSpace:
        """The rows that can be scored."""
        return self._network.outputs.space

    def rows(
        self, labels: Any, rank: str | None = None, score: str = "own"
    ) -> np.ndarray:
        """Converts labels (B,) at a rank to rows int32 (B,) of the score space.

        Raises:
          UserError: the model has no scores for the rank, or no such label.
        """
        labels = targets.label_array(labels, self.space)
        if labels.ndim != 1:
            raise UserError(f"expected labels (batch,), found shape {labels.shape}")
        rows = [self.space.row(rank, int(label), score) for label in labels]
        return np.array(rows, np.int32)

    def __call__(self, images: Any, rows: Any, other_inputs: Any = None) -> jax.Array:
        """log P(taxon) - log P(not taxon) under its head: (B,), on the device.

        The probability is the logistic function of it. It is infinite if the head has
        no other taxon.

        Args:
          images: (B, H, W, C), channels last, uint8 or float, in the model's range.
          rows: int32 (B,), of `rows`.
          other_inputs: as for `Explainer.__call__`.
        """
        images = arrays.as_array(images, "images")
        others = self._others(other_inputs, len(images))
        order = self._network.order()
        return self._run(order, self._weights(), images, others, rows)

    def logits(self, trainable: list, state: list, images: Any) -> dict[str, jax.Array]:
        """Logits (B, labels) by rank of the head, for a model with a single input.

        A pure function of its arguments.

        Args:
          trainable, state: values of the model's variables, see `graph.variables_of`.
          images: (B, H, W, C), channels last.
        """
        found = self._read((trainable, state), images, ())
        sizes = [self.space.num_labels[rank] for rank in self.space.heads]
        parts = jnp.split(found, np.cumsum(sizes)[:-1], axis=1)
        return dict(zip(self.space.heads, parts, strict=True))

    def _log_odds(self, order, variables, images, others, rows):
        del order  # each has a compiled function of its own
        logits = self._read(variables, images, others)
        group = jnp.asarray(self.space.group_of)[rows]
        mine = jnp.asarray(self.space.owner)[group] == rows[:, None]  # (B, C)
        rest = selection.head_columns(self.space)[group] & ~mine
        odds = selection.masked_logsumexp(logits, mine)[0]
        against = odds - selection.masked_logsumexp(logits, rest)[0]
        against = jnp.where(rest.any(-1), against, jnp.inf)
        # For an independent label the logit equals the log-odds.
        return jnp.where(selection.independent(self.space)[rows], odds, against)

    def _read(self, variables, images, others):
        dtype = self._network.image_dtype
        if dtype is not None:
            if not keras.backend.is_float_dtype(dtype):
                images = jnp.clip(jnp.round(images.astype(jnp.float32)), 0, 255)
            images = images.astype(dtype)
        if self._network.image_layout == CHANNELS_FIRST:
            images = jnp.moveaxis(images, -1, 1)
        with of_products(self._precision):
            return self._network(variables, images, others)[0]
