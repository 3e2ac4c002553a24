"""A question that is put to a network about each picture of a split."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras.cam import targets
from hiercam_keras.cam.targets import Target
from hiercam_keras.errors import UserError

PREDICTED, TRUE = "predicted", "true"
LABEL = "label"
_KINDS = {
    LABEL: lambda rank, taxon, score: targets.label(taxon, rank, score),
    "log_probability": lambda rank, taxon, score: targets.log_probability(taxon, rank),
    "step": lambda rank, taxon, score: targets.step(rank, taxon),
    "contrast": lambda rank, taxon, score: targets.contrast(rank, taxon),
}
SCORES = ("own", "marginal")


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a network, and how the map that answers it is made.

    Attributes:
      rank: of the taxa that are asked for.
      kind: "label" (the score of a taxon), "log_probability", "step" (the taxon among
        its siblings) or "contrast" (against the runner-up); see `cam.targets`.
      target: the taxon: "predicted", "true" (each picture's own), a name or lineage
        path, or a label.
      score: "own" takes the rank's own head where there is one, "marginal" the finest
        head.
      method: of the map, a name in `cam.METHODS`; None is the run's.
      layer: that is explained; None is the run's.

    Raises:
      UserError: an unknown kind or score.
    """

    rank: str
    kind: str = LABEL
    target: str | int = PREDICTED
    score: str = "own"
    method: str | None = None
    layer: str | None = None

    def __post_init__(self):
        for name, known in (("kind", tuple(_KINDS)), ("score", SCORES)):
            if getattr(self, name) not in known:
                raise UserError(
                    f"the question about {self.rank!r} has {name}="
                    f"{getattr(self, name)!r}, expected one of {', '.join(known)}"
                )

    @property
    def name(self) -> str:
        """A short name, unlike that of any other question: the rank, and what is not
        the default, as "family", "step-family" or "family, hirescam"."""
        first = self.rank if self.kind == LABEL else f"{self.kind}-{self.rank}"
        first += "" if self.target == PREDICTED else f"={self.target}"
        first += "" if self.score == "own" else f"-{self.score}"
        return ", ".join(filter(None, (first, self.method, self.layer)))

    def asks(self, labels: Mapping[str, np.ndarray] | None = None) -> Target:
        """The question as a target of the CAM engine.

        Args:
          labels: rank -> true labels (B,) of a batch, for the target "true".
        """
        taxon: Any = self.target
        if taxon == PREDICTED:
            taxon = None
        elif taxon == TRUE:
            taxon = None if labels is None else labels[self.rank]
        return _KINDS[self.kind](self.rank, taxon, self.score)


def by_name(questions: Sequence[Question]) -> dict[str, Question]:
    """Questions by their names, in the order given.

    Raises:
      UserError: there is none, something else than a Question, or one is given twice.
    """
    if not questions:
        raise UserError("no question was asked: give at least one Question(rank)")
    for one in questions:
        if not isinstance(one, Question):
            raise UserError(f"expected Question objects, found {one!r}")
    found = {one.name: one for one in questions}
    if len(found) < len(questions):
        names = ", ".join(one.name for one in questions)
        raise UserError(f"a question is asked twice: {names}. Ask each once")
    return found
