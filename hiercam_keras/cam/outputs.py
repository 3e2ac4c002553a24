"""cam room: a model's outputs, of whatever structure, as one (B, C) array of logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hiercam_keras.cam.score_space import LABEL, ScoreSpace
from hiercam_keras.errors import UserError


class Outputs:
    """How the outputs of one model are read; see `Explainer` for the arguments."""

    def __init__(self, taxonomy, rank, output, probabilities: bool):
        self._taxonomy = taxonomy
        self._rank = rank
        self._output = output
        self.probabilities = probabilities
        self.space: ScoreSpace | None = None

    def prepare(self, outputs: Any) -> None:
        """Learns the heads from the shapes of the outputs."""
        picked = self._pick(outputs)
        heads = picked if isinstance(picked, Mapping) else {None: picked}
        sizes = {}
        for rank, array in heads.items():
            if len(array.shape) != 2:
                raise UserError(
                    f"the output {rank or ''} has shape {('batch', *array.shape[1:])}; "
                    "expected logits (batch, labels)"
                )
            name = self._rank_of(array.shape[1]) if rank is None else rank
            sizes[name] = array.shape[1]
        self._keyed = isinstance(picked, Mapping)
        self.space = ScoreSpace(sizes, self._taxonomy)

    def _pick(self, outputs):
        if self._output is not None:
            try:
                return outputs[self._output]
            except (KeyError, IndexError, TypeError):
                raise UserError(
                    f"the model has no output {self._output!r}; {_describe(outputs)}"
                ) from None
        if isinstance(outputs, Mapping) or hasattr(outputs, "shape"):
            return outputs
        if len(outputs) == 1:
            return outputs[0]
        raise UserError(
            f"the model has several outputs; say which with output=: "
            f"{_describe(outputs)}"
        )

    def _rank_of(self, size: int) -> str:
        if self._taxonomy is None:
            return self._rank or LABEL
        if self._rank is not None:
            return self._rank
        ranks = self._taxonomy.ranks
        fits = [r for r in ranks if self._taxonomy.num_labels(r) == size]
        if not fits:
            counts = ", ".join(f"{r} {self._taxonomy.num_labels(r)}" for r in ranks)
            raise UserError(
                f"the model has {size} logits, and no rank of the taxonomy has as many "
                f"taxa: {counts}. Is it the taxonomy it was trained with?"
            )
        return fits[-1]

    def logits(self, outputs: Any) -> jax.Array:
        """(B, C), float32 or wider: all heads side by side, in the space's order."""
        picked = self._pick(outputs)
        heads = [picked[r] for r in self.space.heads] if self._keyed else [picked]
        wide = [z.astype(jnp.promote_types(z.dtype, jnp.float32)) for z in heads]
        if self.probabilities:
            # log p equals the logits up to a constant for each image.
            wide = [jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)) for p in wide]
        return jnp.concatenate(wide, axis=1)


def _describe(outputs) -> str:
    if isinstance(outputs, Mapping):
        return f"it has {', '.join(map(repr, outputs))}"
    if hasattr(outputs, "shape"):
        return "it has one"
    return f"it has {len(outputs)}, 0 to {len(outputs) - 1}"
