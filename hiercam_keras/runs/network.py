"""The network of a run: what every mode asks, and how it is asked.

Modes get it from `load` and never read a model file themselves, so that they need not
know where the weights are from.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.cam import Explainer
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, imported, stateless, xla_layers
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy.allowed import Restriction
from hiercam_keras.taxonomy.labels import Labels
from hiercam_keras.taxonomy.scores import rank_scores, softmax
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training import forward
from hiercam_keras.training.predict import Predictions, predict_logits

_KEPT = 2  # explainers of a network: with their programs they take some 10 MB each


@dataclass(frozen=True)
class Network:
    """A model with what its outputs mean.

    Attributes:
      model: a `keras.Model` of images (B, S, S, 3), RGB in 0 .. 255.
      taxonomy: of its labels.
      ranks: of its heads.
      layer: name or path of the layer that a CAM explains by default.
      batch_size: images that are explained at once.
      labels: of a network from elsewhere; None for a model that gives logits in the
        order of the taxonomy.
      activation, output: see `Explainer`.
      given_probabilities: the outputs are probabilities, of an activation that is not
        found in the network.
      restriction: to allowed taxa, of which `taxonomy` is; None for all taxa.
      whole: the network without a restriction; None if there is none.
      precision: of products of float32 factors, see `Explainer`.
    """

    model: Any
    taxonomy: Taxonomy
    ranks: tuple[str, ...]
    layer: str
    batch_size: int
    labels: Labels | None = None
    activation: str = "auto"
    output: str | int | None = None
    given_probabilities: bool = False
    restriction: Restriction | None = None
    whole: "Network | None" = None
    precision: str = "auto"

    @property
    def finest(self) -> str:
        """The finest rank that the model has a head for."""
        return max(self.ranks, key=self.taxonomy.ranks.index)

    def explainer(
        self, layers: str | Sequence[str] = "", method: str = "gradcam"
    ) -> Explainer:
        """What explains the model by a method, at its own layer or at those named.

        The last ones are kept with their compiled programs, and copies of them are
        given as long as they are current.
        """
        asked = (layers if isinstance(layers, str) else tuple(layers)), method
        kept = self._explainers
        explain = kept.pop(asked, None)
        if explain is None or not explain.is_current():
            explain = self._new_explainer(*asked)
        kept[asked] = explain
        if len(kept) > _KEPT:
            del kept[next(iter(kept))]
        return copy.copy(explain)  # a caller may set attributes

    @functools.cached_property
    def _explainers(self) -> dict[tuple, Explainer]:
        """The explainers that are kept, by layers and method, the last one last."""
        return {}

    def _new_explainer(self, layers: str | tuple[str, ...], method: str) -> Explainer:
        explain = Explainer(
            self.model,
            layers or self.layer or None,
            method=method,
            batch_size=self.batch_size,
            precision=self.precision,
            **self._asked,
        )
        if self.labels is None and self.restriction is None:
            about = self.taxonomy.to_json(), self._asked["rank"]
            explain.keep_traces(about)
        return explain

    def scorer(self) -> Scorer:
        """What asks the model about changed pictures."""
        return Scorer(self.model, precision=self.precision, **self._asked)

    def predict(
        self, loader: Any, desc: str = "", check: Callable[[], None] | None = None
    ) -> Predictions:
        """The model's logits for every image of a loader, see `predict_logits`.

        Those of taxa that are not allowed are left out; their probability is `masked`.
        """
        if self.whole is not None:
            return self._narrowed(self.whole.predict(loader, desc, check))
        return predict_logits(
            self.model, loader, self.ranks, desc, check, self._forward
        )

    def _narrowed(self, found: Predictions) -> Predictions:
        """Predictions of the whole network, for the allowed taxa alone."""
        kept = {rank: self.restriction.labels(rank) >= 0 for rank in found.logits}
        masked = None
        if self.finest not in self.independent:
            shares = softmax(found.logits[self.finest].astype(np.float64))
            masked = shares[:, ~kept[self.finest]].sum(1)
        logits = {rank: found.logits[rank][:, kept[rank]] for rank in self.ranks}
        return found._replace(logits=logits, masked=masked)

    def answers(self, rank: str) -> bool:
        """Whether the network can be asked for a rank."""
        known = self.taxonomy.ranks
        if rank in self.ranks:
            return True
        if rank not in known or self.finest in self.independent:
            return False
        return known.index(rank) <= known.index(self.finest)

    def scores(self, logits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Scores at every rank that the model answers for, see `rank_scores`.

        Independent labels (sigmoids) have no sums, so no coarser rank is read off them.
        """
        if self.finest not in self.independent:
            return rank_scores(logits, self.taxonomy)
        return {rank: logits[rank] for rank in self.taxonomy.ranks if rank in logits}

    def probabilities(self, rank: str, scores: np.ndarray) -> np.ndarray:
        """Of every label of a rank, from its scores (N, labels).

        They add up to 1, or to less at a rank without a head that not all taxa have.
        """
        if rank not in self.independent:
            if rank not in self.ranks and self.taxonomy.has_gaps(self.finest, rank):
                return np.exp(scores)
            return softmax(scores)
        return (0.5 * (1 + np.tanh(0.5 * scores.astype(np.float64)))).astype(np.float32)

    @functools.cached_property
    def independent(self) -> frozenset[str]:
        """Ranks of heads whose labels are sigmoids, each true or not."""
        if self.labels is None:
            return frozenset()
        heads = self._reader.space.head_of
        return frozenset(rank for rank, head in heads.items() if head.independent)

    @property
    def _forward(self) -> forward.Forward:
        """Reads logits as they come, or of another order, or before a softmax."""
        if self.labels is None:
            return forward.forward_function(self.model, self.precision)
        order = stateless.order(*stateless.variables(self.model))
        if order not in self._compiled:
            self._compiled[order] = forward.compiled(self._reader.logits)
        return self._compiled[order]

    @functools.cached_property
    def _compiled(self) -> dict[tuple, forward.Forward]:
        """Passes by the order of the variables."""
        return {}

    @functools.cached_property
    def _reader(self) -> Scorer:
        return self.scorer()

    @property
    def _asked(self) -> dict[str, Any]:
        allowed = self.restriction
        if self.labels is None:
            # The only head's output has no name.
            rank = self.ranks[0] if len(self.ranks) == 1 else None
            return {
                "taxonomy": allowed.whole if allowed else self.taxonomy,
                "rank": rank,
                "probabilities": False,
                "allowed_taxa": allowed,
            }
        return {
            "allowed_taxa": allowed,
            "labels": self.labels,
            "activation": self.activation,
            "output": self.output,
            "probabilities": self.given_probabilities or None,
        }


def load(run: Run, config: Any) -> Network:
    """Reads the network of a finished run.

    Args:
      run: the run.
      config: the run's, with what the command line changes of `model.fast_layers`,
        `cam.batch_size` and `cam.precision`.

    Raises:
      UserError: the model file is missing, damaged, changed since it was imported, or
        needs code that is not given.
    """
    if run.imported:
        return _restricted(_load_imported(run, config), run)
    model, metadata = files.load_model(run.model_path, config.model.fast_layers)
    return of_model(model, run, config, metadata["cam_layer"])


def of_model(model: Any, run: Run, config: Any, layer: str) -> Network:
    """The network of a run with another model in its place, of the same heads."""
    tree, taxonomy = run.other_tree, run.whole_taxonomy()
    network = Network(
        model,
        taxonomy,
        run.ranks,
        layer,
        config.cam.batch_size,
        labels=None if tree is None else replace(tree.labels, taxonomy=taxonomy),
        precision=_precision(config),
    )
    return _restricted(network, run)


def _restricted(network: Network, run: Run) -> Network:
    """The network, for the run's allowed taxa."""
    if run.allowed_taxa is None:
        return network
    restriction = run.allowed_taxa.of(network.taxonomy, quiet=True)
    restriction.check(network.finest)
    ranks = tuple(
        rank
        for rank in network.ranks
        if rank == network.finest or restriction.taxonomy.num_labels(rank) > 1
    )
    return replace(
        network,
        taxonomy=restriction.taxonomy,
        ranks=ranks,
        restriction=restriction,
        whole=network,
    )


def default_layer(run: Run) -> str:
    """The layer that a CAM of a run explains by default, without building the model."""
    if run.imported:
        return run.record["imported"]["layer"]
    return files.read_metadata(run.model_path)["cam_layer"]


def from_elsewhere(
    model: Any, labels: Labels, size: int, layer: str, config: Any
) -> Network:
    """The network of a model that was made elsewhere.

    Args:
      model: as its file has it.
      labels: of its outputs.
      size: of its images, in pixels.
      layer: that a CAM explains; "" for the last convolutional activation.
      config: its `model` has preprocessing, activation, output and fast_layers.
    """
    options = config.model
    model = xla_layers.accelerate(model, options.fast_layers)
    output = options.output or None
    return Network(
        imported.prepared(model, options.preprocessing, size),
        labels.taxonomy,
        labels.ranks,
        layer,
        config.cam.batch_size,
        labels,
        options.activation,
        int(output) if output and output.isdigit() else output,
        precision=_precision(config),
    )


def _precision(config: Any) -> str:
    return config.cam.get("precision", "auto")  # runs of before have none


def _load_imported(run: Run, config: Any) -> Network:
    about = run.record["imported"]
    found = imported.digest(run.model_path)
    if found != about["sha256"]:
        raise UserError(
            f"{run.model_path} is not the file that was imported: its SHA-256 is "
            f"{found[:12]}..., expected {about['sha256'][:12]}.... Import the network "
            "again with --mode=import --overwrite."
        )
    path = run_folder.labels_path(run.path)
    labels = Labels.from_json(workdir.read_json(path), str(path))
    if run.other_tree is not None:
        labels = run.other_tree.labels
    labels = replace(labels, taxonomy=run.named(labels.taxonomy))
    model = imported.read(run.model_path, about["modules"])
    # The last activation is found again: names of layers in a class of the user's may
    # be other ones in each process.
    layer = about["layer_asked"] or ""
    network = from_elsewhere(model, labels, about["image_size"], layer, config)
    return replace(network, given_probabilities=about.get("probabilities", False))
