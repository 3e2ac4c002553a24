"""What determines the programs of a run, as a value for another process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Recipe:
    """What determines the programs of a run; can be pickled.

    Attributes:
      config: of the run, as a dict.
      num_labels: by rank, one for each head, coarse to fine.
      taxonomy: of the labels.
      parents: of hierarchical losses, see `training.compiling.compile_model`.
      spaces: labels by rank if some images are of coarser ranks; None otherwise.
      steps: batches of an epoch, of the learning rate's schedule.
      asked: target of the maps, see `cam.targets`.
      has_weights: whether the losses of images have weights.
    """

    config: Mapping[str, Any]
    num_labels: Mapping[str, int]
    taxonomy: Any
    parents: Mapping[str, np.ndarray]
    spaces: Mapping[str, Any] | None = None
    steps: int = 100
    asked: Any = None
    has_weights: bool = False
