"""Reads a model's outputs, of any structure, as one (B, C) array of logits.

It finds the output of each head, and what each is: logits, or probabilities of a
softmax or sigmoids, see `reading`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras import wording
from hiercam_keras.cam.label_columns import LabelColumns
from hiercam_keras.cam.meaning import Meaning
from hiercam_keras.cam.reading import Reading
from hiercam_keras.cam.score_space import LABEL, SIGMOID, SOFTMAX, Head, ScoreSpace
from hiercam_keras.errors import UserError

if TYPE_CHECKING:
    from hiercam_keras.cam.end_activation import EndActivation


class Outputs:
    """Reader of the outputs of one model.

    Attributes:
      space: the score space; None before `prepare`.
      ends: final activations with inputs that are read instead of outputs.
      labels: labels of the outputs; None if they are in the order of the taxonomy.
    """

    def __init__(self, meaning: Meaning):
        self.labels = meaning.read_labels()
        self._asked = meaning
        self._taxonomy = self.labels.taxonomy if self.labels else meaning.taxonomy
        self._allowed = meaning.restriction(self._taxonomy)
        self._readings: dict[str, Reading] = {}
        self._whole: dict[str, LabelColumns] = {}  # where not all labels are allowed
        self.space: ScoreSpace | None = None
        self.ends: tuple[EndActivation, ...] = ()

    def prepare(self, outputs: Any, ends: Any, names: Any = None) -> None:
        """Determines the heads and the score space.

        Args:
          outputs: arrays or `jax.ShapeDtypeStruct`s of a batch, in the structure that
            the network returns.
          ends: in the same structure, the final activation of each output, or None.
          names: in the same structure, the name of the last layer of each output, which
            labels can refer to; None for a network without such names.

        Raises:
          UserError: an output does not have the shape (batch, labels), `activation=`
            contradicts the model, or labels name other outputs than the model has.
        """
        shapes, ended = {}, {}
        for rank, path in self._found(outputs, names).items():
            array = _at(outputs, path)
            if len(array.shape) != 2:
                raise UserError(
                    f"the output {rank or ''} has shape {('batch', *array.shape[1:])}; "
                    "expected logits (batch, labels)"
                )
            name = self._rank_of(max(array.shape[1], 2)) if rank is None else rank
            shapes[name] = path, array.shape[1]
            hidden = self._asked.probabilities is False
            ended[name] = None if hidden else _at(ends, path)
        readings = {
            name: self._reading(name, path, width, ended)
            for name, (path, width) in shapes.items()
        }
        if isinstance(self._asked.activation, Mapping):
            for rank in self._asked.activation.keys() - readings.keys():
                raise UserError(
                    f"activation= names the output {rank!r}; the model has "
                    f"{', '.join(map(repr, readings))}"
                )
        taxonomy = self._taxonomy
        if self._allowed is not None:
            taxonomy = self._allowed.taxonomy
            finest = max(readings, key=taxonomy.ranks.index)
            self._allowed.check(finest)
            # A coarser head with one allowed taxon has no choice.
            readings = {
                rank: reading
                for rank, reading in readings.items()
                if rank == finest or taxonomy.num_labels(rank) > 1
            }
            ended = {rank: ended[rank] for rank in readings}
        heads = {rank: reading.head for rank, reading in readings.items()}
        self.space = ScoreSpace(heads, taxonomy, self._asked.names)
        self._readings = readings
        self.ends = tuple(dict.fromkeys(filter(None, ended.values())))

    def _reading(
        self,
        rank: str,
        path: tuple,
        width: int,
        ends: Mapping[str, EndActivation | None],
    ) -> Reading:
        """The reading of one output; `ends` are the final activations of all."""
        end, asked = ends[rank], self._asked.activation
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
        one_logit = width == 1
        columns = self._columns(rank, 2 if one_logit else width, one_logit)
        activation = SIGMOID if one_logit else SOFTMAX if kind == "auto" else kind
        head = Head(columns.size, activation, one_logit)
        few = not head.independent and columns.num_present < 2
        if few and self._allowed is None:
            raise UserError(
                f"{self.labels.source}: all outputs at the rank {rank} but those of "
                "one label are left out, so its probability is always 1. Name the "
                "other taxa, or keep the outputs without a lineage as one "
                "(read_labels(path, other='keep'), --config.model.other=keep)"
            )
        given = self._asked.probabilities
        return Reading(path, head, end, bool(given), given is None, columns)

    def _columns(self, rank: str, width: int, one_logit: bool) -> LabelColumns:
        """The map from `width` columns of a head to its labels."""
        if self.labels is None:
            if self._allowed is None:
                return LabelColumns(np.arange(width), width)
            return self._allowed_columns(np.arange(width), rank)
        (given,) = [h.columns for h in self.labels.heads.values() if h.rank == rank]
        if len(given) != width:
            two = " (its one logit is two classes: the first has a row, too)"
            raise UserError(
                f"{self.labels.source} has {wording.count(len(given), 'row')} for the "
                f"rank {rank}, and the network has {wording.count(width, 'output')}"
                f"{two if one_logit else ''}. Every output has a row, in the network's "
                "order; a row without a lineage is an output that is left out, and the "
                "first line of a file names its columns"
            )
        if self._allowed is not None:
            return self._allowed_columns(given, rank)
        return LabelColumns(given, self.labels.taxonomy.num_labels(rank))

    def _allowed_columns(self, given: np.ndarray, rank: str) -> LabelColumns:
        """The map from columns to allowed labels; `given` are labels of all taxa."""
        new = self._allowed.labels(rank)
        if given.max() >= len(new):
            raise UserError(
                f"the model has {len(given)} outputs, and the taxonomy has "
                f"{wording.count(len(new), rank)}. Is it the taxonomy it was trained "
                "with?"
            )
        self._whole[rank] = LabelColumns(given, len(new))
        labels = np.where(given < 0, -1, new[np.maximum(given, 0)])
        return LabelColumns(labels, self._allowed.taxonomy.num_labels(rank))

    def _found(self, outputs: Any, names: Any) -> dict[str | None, tuple]:
        """Path of each output to read, for `_at`, by rank (None: unknown)."""
        labels, path = self.labels, self._path(outputs)
        picked = _at(outputs, path)
        keyed = isinstance(picked, Mapping)
        if labels is None:
            return {rank: (*path, rank) for rank in picked} if keyed else {None: path}
        if None not in labels.heads:
            last = None if names is None else _at(names, path)
            return {
                head.rank: (*path, *self._place(output, picked, last))
                for output, head in labels.heads.items()
            }
        if keyed and len(picked) > 1:
            raise UserError(
                f"{labels.source} is of one output, and the model has several: "
                f"{_describe(picked)}. Name the output of each row in a column output, "
                "or say which one is explained with output="
            )
        return {labels.heads[None].rank: (*path, *picked) if keyed else path}

    def _path(self, outputs: Any) -> tuple:
        """Path to the selected output, or to the structure with all heads."""
        if self._asked.output is not None:
            try:
                outputs[self._asked.output]
            except (KeyError, IndexError, TypeError):
                raise UserError(
                    f"the model has no output {self._asked.output!r}; "
                    f"{_describe(outputs)}"
                ) from None
            return (self._asked.output,)
        if not isinstance(outputs, (list, tuple)):
            return ()
        if len(outputs) == 1:
            return (0,)
        if self.labels is not None and None not in self.labels.heads:
            return ()
        raise UserError(
            f"the model has several outputs; say which with output=: "
            f"{_describe(outputs)}"
        )

    def _place(self, name: str, outputs: Any, names: Any) -> tuple:
        """Path to the output that labels name.

        `name` is a key of a dict, an index of a list, or the name of the last layer.
        """
        if not isinstance(outputs, (Mapping, list, tuple)):
            if len(self.labels.heads) == 1:
                return ()
            outputs, names = [outputs], names and [names]
        keyed = isinstance(outputs, Mapping)
        keys = list(outputs) if keyed else list(range(len(outputs)))
        last = {key: names and names[key] for key in keys}
        for known in ({str(key): key for key in keys}, {last[k]: k for k in keys}):
            if name in known:
                return (known[name],)
        layer = {
            key: f" ({last[key]})" if last[key] and not keyed else "" for key in keys
        }
        have = ", ".join(f"{str(key)!r}{layer[key]}" for key in keys)
        raise UserError(
            f"{self.labels.source} names the output {name!r}, and the model has "
            f"{have}. Correct the column output"
        )

    def _rank_of(self, size: int) -> str:
        if self._taxonomy is None:
            return self._asked.rank or LABEL
        if self._asked.rank is not None:
            return self._asked.rank
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
        """Logits (B, C), float32 or wider: all heads in the order of `space.heads`.

        Args:
          outputs: of a pass of the network.
          before: the inputs of `ends` in that pass.
        """
        return self.labelled(self.columns(outputs, before))

    def columns(
        self, outputs: Any, before: Sequence[jax.Array] = ()
    ) -> list[jax.Array]:
        """What is read of each head as it comes, (B, n), in the order of `space.heads`.

        Arguments as `logits`; `labelled` turns the result into logits.
        """
        found = []
        for rank in self.space.heads:
            reading = self._readings[rank]
            if reading.end:
                found.append(before[self.ends.index(reading.end)])
            else:
                found.append(_at(outputs, reading.path))
        return found

    def labelled(self, columns: Sequence[jax.Array]) -> jax.Array:
        """Logits (B, C), float32 or wider, of what `columns` gives."""
        readings = [self._readings[rank] for rank in self.space.heads]
        heads = [one.logits(z) for one, z in zip(readings, columns, strict=True)]
        return jnp.concatenate(heads, axis=1)

    @property
    def has_allowed(self) -> bool:
        """Whether some labels are not allowed, of a head with exclusive labels."""
        return self._allowed is not None and not self._head.independent

    def allowed(self, columns: Sequence[jax.Array]) -> jax.Array:
        """Probability (B,) of all allowed labels together, under the finest head.

        Args:
          columns: what `columns` gives; only where `has_allowed`.
        """
        rank = self.space.finest
        whole = self._whole[rank]
        head = dataclasses.replace(self._head, size=whole.size)
        reading = dataclasses.replace(self._readings[rank], head=head, columns=whole)
        shares = jax.nn.softmax(reading.logits(columns[-1]))
        kept = self._allowed.labels(rank) >= 0
        return shares @ kept.astype(shares.dtype)

    @property
    def _head(self) -> Head:
        return self.space.head_of[self.space.finest]

    def doubts(self, logits: np.ndarray) -> list[str]:
        """Warnings about outputs that do not look as they are read.

        Args:
          logits: (B, C) of some images.

        Returns:
          One text for each doubtful output.
        """
        found, start = [], 0
        for rank in self.space.heads:
            reading = self._readings[rank]
            size = reading.head.size
            text = reading.doubt(logits[:, start : start + size])
            start += size
            found += [f"output {rank!r}: {text}"] if text else []
        return found


def _advised(ends: Mapping[str, EndActivation | None], asked: str) -> str:
    """The value of `activation=` that matches the final activations, for messages.

    An output without a known final activation keeps the value `asked`.
    """
    kinds = {rank: end.kind if end else asked for rank, end in ends.items()}
    if len(set(kinds.values())) == 1:
        return repr(next(iter(kinds.values())))
    return repr({rank: SIGMOID for rank, kind in kinds.items() if kind == SIGMOID})


def _at(structure: Any, path: tuple) -> Any:
    for key in path:
        structure = structure[key]
    return structure


def _describe(outputs) -> str:
    if isinstance(outputs, Mapping):
        return f"it has {', '.join(map(repr, outputs))}"
    if isinstance(outputs, (list, tuple)):
        return f"it has {len(outputs)}, 0 to {len(outputs) - 1}"
    return "it has one"
