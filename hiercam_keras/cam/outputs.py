"""A model's outputs, of any structure, as one (B, C) array of logits.

An output is read in one of four ways:

* as it is, where it is logits;
* before the softmax or sigmoid that ends it, where `end_activation` finds that layer;
* by the logarithm of what came out of a softmax that is not found;
* by log p - log(1 - p) of what came out of a sigmoid that is not found.

The last two lose what float32 rounds off: scores of probabilities that are 0 or 1 to
seven digits are clipped, and their gradients are 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras.cam.score_space import LABEL, SIGMOID, SOFTMAX, Head, ScoreSpace
from hiercam_keras.errors import UserError

if TYPE_CHECKING:
    from hiercam_keras.cam.end_activation import EndActivation

ACTIVATIONS = ("auto", SOFTMAX, SIGMOID)


@dataclasses.dataclass(frozen=True)
class _Reading:
    """How one output becomes the logits of its head.

    end: the activation whose input is read in place of the output. undo: the outputs
    are probabilities of the head's activation, and their logits (softmax: logarithms)
    are taken.
    """

    head: Head
    end: EndActivation | None
    undo: bool

    def logits(self, output: jax.Array) -> jax.Array:
        z = output.astype(jnp.promote_types(output.dtype, jnp.float32))
        softmax = self.head.activation == SOFTMAX
        if self.undo and self.end:
            z = jax.nn.log_softmax(z) if softmax else z
        elif self.undo:
            info = jnp.finfo(z.dtype)
            p = jnp.maximum(z, info.tiny)
            z = jnp.log(p)
            if not softmax:
                z -= jnp.log1p(-jnp.minimum(p, 1 - info.eps / 2))
        if self.head.one_logit:
            z = jnp.concatenate([jnp.zeros_like(z), z], axis=1)
        return z


class Outputs:
    """How the outputs of one model are read; see `Explainer` for the arguments.

    Attributes:
      space: what can be asked, known after `prepare`.
      ends: the activations whose inputs are read in place of outputs.
    """

    def __init__(
        self,
        taxonomy: Any = None,
        rank: str | None = None,
        output: str | int | None = None,
        probabilities: bool | None = None,
        activation: str | Mapping[str, str] = "auto",
        names: Any = None,
    ):
        asked = activation.values() if isinstance(activation, Mapping) else [activation]
        for one in asked:
            if one not in ACTIVATIONS:
                raise UserError(
                    f"activation is one of {', '.join(ACTIVATIONS)}, or a dict of them "
                    f"by rank; found {one!r}"
                )
        self._taxonomy = taxonomy
        self._rank = rank
        self._output = output
        self._probabilities = probabilities
        self._activation = activation
        self._names = names
        self._readings: dict[str, _Reading] = {}
        self.space: ScoreSpace | None = None
        self.ends: tuple[EndActivation, ...] = ()

    def prepare(self, outputs: Any, ends: Any) -> None:
        """Finds the heads.

        Args:
          outputs: arrays or `jax.ShapeDtypeStruct`s of a batch, in the structure that
            the network returns.
          ends: in the same structure, the activation that ends each output, or None.

        Raises:
          UserError: outputs that are no logits (batch, labels), or an activation that
            contradicts the model's own.
        """
        picked, found = self._pick(outputs), self._pick(ends)
        self._keyed = isinstance(picked, Mapping)
        if not self._keyed:
            picked, found = {None: picked}, {None: found}
        widths, ends = {}, {}
        for rank, array in picked.items():
            if len(array.shape) != 2:
                raise UserError(
                    f"the output {rank or ''} has shape {('batch', *array.shape[1:])}; "
                    "expected logits (batch, labels)"
                )
            width = array.shape[1]
            name = self._rank_of(max(width, 2)) if rank is None else rank
            widths[name] = width
            hidden = self._probabilities is False
            ends[name] = None if hidden else found[rank]
        readings = {
            name: self._reading(name, width, ends) for name, width in widths.items()
        }
        if isinstance(self._activation, Mapping):
            for rank in self._activation.keys() - readings.keys():
                raise UserError(
                    f"activation= names the output {rank!r}; the model has "
                    f"{', '.join(map(repr, readings))}"
                )
        heads = {rank: reading.head for rank, reading in readings.items()}
        self.space = ScoreSpace(heads, self._taxonomy, self._names)
        self._readings = readings
        self.ends = tuple(dict.fromkeys(filter(None, ends.values())))

    def _reading(
        self,
        rank: str,
        width: int,
        ends: Mapping[str, EndActivation | None],
    ) -> _Reading:
        """Of one output; `ends` are those of all."""
        end, asked = ends[rank], self._activation
        if isinstance(asked, Mapping):
            asked = asked.get(rank, "auto")
        kind = end.kind if end else asked
        if width == 1 and kind == SOFTMAX:
            raise UserError(
                f"the output {rank!r} is a softmax of one logit, which is 1 for every "
                "image. One logit z of two classes is read as a sigmoid, P = "
                "sigmoid(z): leave activation= out, or end the network in a sigmoid"
            )
        if end and asked not in ("auto", end.kind):
            raise UserError(
                f"activation={asked!r}, but the output {rank!r} ends in a {end.kind} "
                f"(layer {end.call.path!r}): leave activation= out, or say "
                f"activation={_advised(ends, asked)}"
            )
        if kind == SIGMOID and asked == "auto" and width > 1:
            raise UserError(
                f"the output {rank!r} is {width} sigmoids (layer {end.call.path!r}). "
                "If each label is a question of its own (multi-label), say "
                f"activation={_advised(ends, asked)}. If the labels exclude one "
                "another, explain the network without its last activation"
            )
        if width == 1:
            head = Head(2, SIGMOID, one_logit=True)
        else:
            head = Head(width, SOFTMAX if kind == "auto" else kind)
        return _Reading(head, end, bool(self._probabilities))

    def _pick(self, outputs):
        if self._output is not None:
            try:
                return outputs[self._output]
            except (KeyError, IndexError, TypeError):
                raise UserError(
                    f"the model has no output {self._output!r}; {_describe(outputs)}"
                ) from None
        if not isinstance(outputs, (list, tuple)):
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

    def logits(self, outputs: Any, before: Sequence[jax.Array] = ()) -> jax.Array:
        """Logits (B, C), float32 or wider: all heads side by side, in the order of the
        space.

        Args:
          outputs: of a pass of the network.
          before: the inputs of `ends` in that pass.
        """
        picked = self._pick(outputs)
        heads = []
        for rank in self.space.heads:
            reading = self._readings[rank]
            output = picked[rank] if self._keyed else picked
            if reading.end:
                output = before[self.ends.index(reading.end)]
            heads.append(reading.logits(output))
        return jnp.concatenate(heads, axis=1)

    def doubts(self, logits: np.ndarray) -> list[str]:
        """What speaks against the reading, in words to warn a user with.

        Args:
          logits: (B, C) of some images.
        """
        found, start = [], 0
        for rank in self.space.heads:
            reading = self._readings[rank]
            size = reading.head.size
            z = np.asarray(logits[:, start : start + size], np.float64)
            start += size
            z = z[:, 1:] if reading.head.one_logit else z
            text = self._doubt(reading, z, logits.dtype)
            found += [f"output {rank!r}: {text}"] if text else []
        return found

    def _doubt(self, reading: _Reading, z: np.ndarray, dtype: Any) -> str:
        if reading.end:
            return ""
        if reading.undo and reading.head.activation == SOFTMAX:
            if np.allclose(np.exp(z).sum(-1), 1, atol=1e-2):
                return ""
            return (
                "the outputs were taken for probabilities of a softmax, and do not add "
                "up to 1. For independent labels pass activation='sigmoid'; if they "
                "are logits, leave probabilities=True out"
            )
        if reading.undo and z.max() > 0.01 - np.log(np.finfo(dtype).eps / 2):
            return (
                "the outputs were taken for probabilities of sigmoids, and some are "
                "above 1. If they are logits, leave probabilities=True out"
            )
        if self._probabilities is not None or not ((z >= 0) & (z <= 1)).all():
            return ""
        if z.shape[1] > 1 and np.allclose(z.sum(-1), 1, atol=1e-3):
            return (
                "the outputs look like probabilities (they sum to 1), and are taken "
                "for logits: pass probabilities=True to explain their logarithm, or "
                "probabilities=False if they are logits"
            )
        return (
            "the outputs look like those of sigmoids (all are within 0 and 1), and are "
            "taken for logits: pass probabilities=True, for several independent labels "
            "with activation='sigmoid', or probabilities=False if they are logits"
        )


def _advised(ends: Mapping[str, EndActivation | None], asked: str) -> str:
    """The `activation=` that fits what all outputs end in, where one was refused.

    An output that shows no end keeps what was asked of it.
    """
    kinds = {rank: end.kind if end else asked for rank, end in ends.items()}
    if len(set(kinds.values())) == 1:
        return repr(next(iter(kinds.values())))
    return repr({rank: SIGMOID for rank, kind in kinds.items() if kind == SIGMOID})


def _describe(outputs) -> str:
    if isinstance(outputs, Mapping):
        return f"it has {', '.join(map(repr, outputs))}"
    if isinstance(outputs, (list, tuple)):
        return f"it has {len(outputs)}, 0 to {len(outputs) - 1}"
    return "it has one"
