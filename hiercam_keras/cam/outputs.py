"""Reads a model's outputs, of any structure, as one (B, C) array of logits.

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
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras import wording
from hiercam_keras.cam.label_columns import LabelColumns
from hiercam_keras.cam.score_space import LABEL, SIGMOID, SOFTMAX, Head, ScoreSpace
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import allowed, label_table
from hiercam_keras.taxonomy.allowed import Restriction
from hiercam_keras.taxonomy.labels import Labels

_FLAG = "--config.model.activation"  # of --mode=import

if TYPE_CHECKING:
    from hiercam_keras.cam.end_activation import EndActivation

ACTIVATIONS = ("auto", SOFTMAX, SIGMOID)


@dataclasses.dataclass(frozen=True)
class _Reading:
    """Conversion of one output to the logits of its head.

    Attributes:
      path: keys of the output in the model's output structure.
      head: the head.
      end: the final activation, if its input is read instead of the output.
      undo: whether the outputs are probabilities of the head's activation, to convert
        to logits (softmax: logarithms).
      columns: map from these logits to labels.
    """

    path: tuple
    head: Head
    end: EndActivation | None
    undo: bool
    columns: LabelColumns

    def logits(self, output: jax.Array) -> jax.Array:
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


class Outputs:
    """Reader of the outputs of one model; see `Explainer` for the arguments.

    Attributes:
      space: the score space; None before `prepare`.
      ends: final activations with inputs that are read instead of outputs.
      labels: labels of the outputs; None if they are in the order of the taxonomy.
    """

    def __init__(
        self,
        taxonomy: Any = None,
        rank: str | None = None,
        output: str | int | None = None,
        probabilities: bool | None = None,
        activation: str | Mapping[str, str] = "auto",
        names: Any = None,
        labels: Any = None,
        order: Any = None,
        allowed_taxa: Any = None,
    ):
        asked = activation.values() if isinstance(activation, Mapping) else [activation]
        for one in asked:
            if one not in ACTIVATIONS:
                raise UserError(
                    f"activation is one of {', '.join(ACTIVATIONS)}, or a dict of them "
                    f"by rank; found {one!r}"
                )
        self.labels: Labels | None = _labels(labels, order, taxonomy, rank, names)
        self._taxonomy = self.labels.taxonomy if self.labels else taxonomy
        self._allowed: Restriction | None = None
        if allowed_taxa is not None:
            if self._taxonomy is None:
                raise UserError(
                    "allowed_taxa= needs to know the taxa of the outputs: give "
                    "taxonomy= or labels="
                )
            if not isinstance(allowed_taxa, Restriction):
                allowed_taxa = allowed.read(allowed_taxa).of(self._taxonomy)
            self._allowed = allowed_taxa
        self._rank = rank
        self._output = output
        self._probabilities = probabilities
        self._activation = activation
        self._names = names
        self._readings: dict[str, _Reading] = {}
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
            hidden = self._probabilities is False
            ended[name] = None if hidden else _at(ends, path)
        readings = {
            name: self._reading(name, path, width, ended)
            for name, (path, width) in shapes.items()
        }
        if isinstance(self._activation, Mapping):
            for rank in self._activation.keys() - readings.keys():
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
        self.space = ScoreSpace(heads, taxonomy, self._names)
        self._readings = readings
        self.ends = tuple(dict.fromkeys(filter(None, ended.values())))

    def _reading(
        self,
        rank: str,
        path: tuple,
        width: int,
        ends: Mapping[str, EndActivation | None],
    ) -> _Reading:
        """The reading of one output; `ends` are the final activations of all."""
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
        return _Reading(path, head, end, bool(self._probabilities), columns)

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
        if self._output is not None:
            try:
                outputs[self._output]
            except (KeyError, IndexError, TypeError):
                raise UserError(
                    f"the model has no output {self._output!r}; {_describe(outputs)}"
                ) from None
            return (self._output,)
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
            z = np.asarray(logits[:, start : start + size], np.float64)
            start += size
            text = self._doubt(reading, z, logits.dtype)
            found += [f"output {rank!r}: {text}"] if text else []
        return found

    def _doubt(self, reading: _Reading, z: np.ndarray, dtype: Any) -> str:
        columns = reading.columns
        alone = columns.alone[1:] if reading.head.one_logit else columns.alone
        if reading.end or not alone.size:
            return ""
        if reading.undo and reading.head.activation == SOFTMAX:
            if np.allclose(np.exp(z).sum(-1), 1, atol=1e-2):
                return ""
            return (
                "the outputs were taken for probabilities of a softmax, and do not add "
                "up to 1. For independent labels pass activation='sigmoid' "
                f"({_FLAG}=sigmoid); if they are logits, leave probabilities=True out"
            )
        z = z[:, alone]
        if reading.undo and z.max() > 0.01 - np.log(np.finfo(dtype).eps / 2):
            return (
                "the outputs were taken for probabilities of sigmoids, and some are "
                "above 1. If they are logits, leave probabilities=True out"
            )
        if self._probabilities is not None or not ((z >= 0) & (z <= 1)).all():
            return ""
        total = z.sum(-1)
        some = z.shape[1] < len(columns)  # of all outputs
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


def _advised(ends: Mapping[str, EndActivation | None], asked: str) -> str:
    """The value of `activation=` that matches the final activations, for messages.

    An output without a known final activation keeps the value `asked`.
    """
    kinds = {rank: end.kind if end else asked for rank, end in ends.items()}
    if len(set(kinds.values())) == 1:
        return repr(next(iter(kinds.values())))
    return repr({rank: SIGMOID for rank, kind in kinds.items() if kind == SIGMOID})


def _labels(
    labels: Any, order: Any, taxonomy: Any, rank: str | None, names: Any
) -> Labels | None:
    """Labels from the arguments of the caller; None if there are none.

    Raises UserError for contradictory arguments.
    """
    if labels is None and order is None:
        return None
    if labels is not None and order is not None:
        raise UserError("labels= and order= both say what the outputs mean: give one")
    if names is not None:
        raise UserError(
            "names= is for outputs without labels= or order=: leave it out, as these "
            "name the outputs"
        )
    if order is not None:
        return label_table.from_order(order, taxonomy, rank)
    return label_table.as_labels(labels, taxonomy, rank)


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
