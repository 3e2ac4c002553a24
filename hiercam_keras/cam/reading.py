"""Converts one output of a network to the logits of its head.

An output is read in one of four ways:

* unchanged, if it is logits;
* as the input of its final softmax or sigmoid, if `end_activation` finds that layer;
* as the logarithm of the output of a softmax that is not found;
* as log p - log(1 - p) of the output of a sigmoid that is not found.

The last two lose precision in float32: scores of probabilities that round to 0 or 1 are
clipped, and their gradients are 0.

Logits are put in the order of the labels (`label_columns`) before any softmax.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras.cam.label_columns import LabelColumns
from hiercam_keras.cam.score_space import SOFTMAX, Head

if TYPE_CHECKING:
    from hiercam_keras.cam.end_activation import EndActivation

_FLAG = "--config.model.activation"  # of --mode=import


@dataclasses.dataclass(frozen=True)
class Reading:
    """Conversion of one output to the logits of its head.

    Attributes:
      path: keys of the output in the model's output structure.
      head: the head.
      end: the final activation, if its input is read instead of the output.
      undo: whether the outputs are probabilities of the head's activation, to convert
        to logits (softmax: logarithms).
      assumed: whether nobody said that the outputs are logits or probabilities.
      columns: map from these logits to labels.
    """

    path: tuple
    head: Head
    end: EndActivation | None
    undo: bool
    assumed: bool
    columns: LabelColumns

    def logits(self, output: jax.Array) -> jax.Array:
        """Logits (B, labels of the head) from the output, or from the input of `end`.

        Args:
          output: (B, n).
        """
        z = output.astype(jnp.promote_types(output.dtype, jnp.float32))
        softmax = self.head.activation == SOFTMAX
        if self.undo and not self.end:
            info = jnp.finfo(z.dtype)
            p = jnp.maximum(z, info.tiny)
            z = jnp.log(p)
            if not softmax:
                z -= jnp.log1p(-jnp.minimum(p, 1 - info.eps / 2))
        if self.head.one_logit:
            z = jnp.concatenate([jnp.zeros_like(z), z], axis=1)
        z = self.columns.gather(z, self.head.independent)
        if self.undo and softmax and (self.end or self.columns.left_out):
            z = jax.nn.log_softmax(z)
        return z

    def doubt(self, logits: np.ndarray) -> str:
        """A warning if the output does not look as it is read, else "".

        Args:
          logits: (B, labels of the head) of some images.
        """
        alone = self.columns.alone[1:] if self.head.one_logit else self.columns.alone
        if self.end or not alone.size:
            return ""
        z = np.asarray(logits, np.float64)
        if self.undo and self.head.activation == SOFTMAX:
            if np.allclose(np.exp(z).sum(-1), 1, atol=1e-2):
                return ""
            return (
                "the outputs were taken for probabilities of a softmax, and do not add "
                "up to 1. For independent labels pass activation='sigmoid' "
                f"({_FLAG}=sigmoid); if they are logits, leave probabilities=True out"
            )
        z = z[:, alone]
        if self.undo and z.max() > 0.01 - np.log(np.finfo(logits.dtype).eps / 2):
            return (
                "the outputs were taken for probabilities of sigmoids, and some are "
                "above 1. If they are logits, leave probabilities=True out"
            )
        if not self.assumed or not ((z >= 0) & (z <= 1)).all():
            return ""
        total = z.sum(-1)
        some = z.shape[1] < len(self.columns)  # of all outputs
        sums = (total < 1.001).all() if some else np.allclose(total, 1, atol=1e-3)
        if z.shape[1] > 1 and sums:
            less = " or less, as some outputs are left out" if some else ""
            return (
                f"the outputs look like probabilities (they sum to 1{less}), and are "
                f"taken for logits. If they are probabilities, import with {_FLAG}="
                "softmax, or in Python pass probabilities=True, to explain their "
                "logarithm (probabilities=False if they are logits)"
            )
        return (
            "the outputs look like those of sigmoids (all are within 0 and 1), and are "
            "taken for logits. If they are probabilities, end the network that you "
            "import with keras.layers.Activation('sigmoid') on its logits, or in "
            "Python pass probabilities=True, for several independent labels with "
            "activation='sigmoid' (probabilities=False if they are logits)"
        )
