"""What is compared: one column for each question put to a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hiercam_keras.modes.load import RunData


@dataclass(frozen=True)
class Column:
    """One question put to one model.

    Attributes:
      name: unique among the columns.
      rank: that is asked for.
      method: the CAM method of its maps.
      depth: sorts finer ranks first.
      asked_of: the rank that the model was trained at, where it is not `rank`.
      data: the run with its images.
      maps: folder of its map store.
      faithfulness: example_id -> name -> value, of some of the pictures.
      has_steps: the labels exclude one another, so each is chosen among siblings.
      believed: rows of `belief.HEADER` by example_id, of a run with a rule; the words
        of a picture are `believed_in_words`.
      believed_in_words: example_id -> "Accipiter sp., 94 %".
    """

    name: str
    rank: str
    method: str
    depth: int
    asked_of: str | None
    data: RunData
    maps: Path
    faithfulness: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    has_steps: bool = True
    believed: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    believed_in_words: Mapping[str, str] = field(default_factory=dict)
