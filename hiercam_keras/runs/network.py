"""The network of a run: what every mode asks, and how it is asked.

Modes get it from `load` and never read a model file themselves, so that they need not
know where the weights are from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hiercam_keras.cam import Explainer
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.models import files
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training.predict import Predictions, predict_logits


@dataclass(frozen=True)
class Network:
    """A model with what its outputs mean.

    Attributes:
      model: a `keras.Model` of images (B, S, S, 3), RGB in 0 .. 255.
      taxonomy: of its labels.
      ranks: of its heads.
      layer: name or path of the layer that a CAM explains by default.
      batch_size: images that are explained at once.
    """

    model: Any
    taxonomy: Taxonomy
    ranks: tuple[str, ...]
    layer: str
    batch_size: int

    @property
    def finest(self) -> str:
        """The finest rank that the model has a head for."""
        return max(self.ranks, key=self.taxonomy.ranks.index)

    def explainer(
        self, layers: str | Sequence[str] = "", method: str = "gradcam"
    ) -> Explainer:
        """What explains the model by a method, at its own layer or at those named."""
        return Explainer(
            self.model,
            layers or self.layer,
            taxonomy=self.taxonomy,
            rank=self._rank,
            method=method,
            batch_size=self.batch_size,
        )

    def scorer(self) -> Scorer:
        """What asks the model about changed pictures."""
        return Scorer(self.model, taxonomy=self.taxonomy, rank=self._rank)

    def predict(
        self, loader: Any, desc: str = "", check: Callable[[], None] | None = None
    ) -> Predictions:
        """The model's logits for every image of a loader, see `predict_logits`."""
        return predict_logits(self.model, loader, self.ranks, desc, check)

    @property
    def _rank(self) -> str | None:
        """Of the only head, whose output has no name."""
        return self.ranks[0] if len(self.ranks) == 1 else None


def load(run: Run, config: Any) -> Network:
    """Reads the network of a finished run.

    Args:
      run: the run.
      config: the run's, with what the command line changes of `model.fast_layers` and
        `cam.batch_size`.

    Raises:
      UserError: the model file is missing, damaged, or needs code that is not given.
    """
    model, metadata = files.load_model(run.model_path, config.model.fast_layers)
    return of_model(model, run, config, metadata["cam_layer"])


def of_model(model: Any, run: Run, config: Any, layer: str) -> Network:
    """The network of a run with another model in its place, of the same heads."""
    return Network(model, run.taxonomy(), run.ranks, layer, config.cam.batch_size)


def default_layer(run: Run) -> str:
    """The layer that a CAM of a run explains by default, without building the model."""
    return files.read_metadata(run.model_path)["cam_layer"]
