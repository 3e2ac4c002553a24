"""What the outputs of a network mean, as the caller says: one value of nine arguments.

`Explainer`, `FunctionExplainer` and `Scorer` take its fields as keyword arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hiercam_keras.cam.score_space import SIGMOID, SOFTMAX
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import allowed, given_labels
from hiercam_keras.taxonomy.allowed import Restriction
from hiercam_keras.taxonomy.labels import Labels

ACTIVATIONS = ("auto", SOFTMAX, SIGMOID)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Meaning:
    """What the outputs of a network mean; `Explainer` describes each field.

    Raises:
      UserError: an unknown activation.
    """

    taxonomy: Any = None
    names: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    labels: Any = None
    order: Sequence[int] | Mapping[str, Sequence[int]] | None = None
    allowed_taxa: Any = None
    rank: str | None = None
    output: str | int | None = None
    activation: str | Mapping[str, str] = "auto"
    probabilities: bool | None = None

    def __post_init__(self):
        asked = self.activation
        for one in asked.values() if isinstance(asked, Mapping) else [asked]:
            if one not in ACTIVATIONS:
                raise UserError(
                    f"activation is one of {', '.join(ACTIVATIONS)}, or a dict of them "
                    f"by rank; found {one!r}"
                )

    def read_labels(self) -> Labels | None:
        """Labels of the outputs; None if they are in the order of the taxonomy.

        Raises:
          UserError: contradictory arguments, or labels that cannot be read.
        """
        if self.labels is None and self.order is None:
            return None
        if self.labels is not None and self.order is not None:
            raise UserError(
                "labels= and order= both say what the outputs mean: give one"
            )
        if self.names is not None:
            raise UserError(
                "names= is for outputs without labels= or order=: leave it out, as "
                "these name the outputs"
            )
        if self.order is not None:
            return given_labels.from_order(self.order, self.taxonomy, self.rank)
        return given_labels.as_labels(self.labels, self.taxonomy, self.rank)

    def restriction(self, taxonomy: Any) -> Restriction | None:
        """The restriction to the allowed taxa; None where all are allowed.

        Args:
          taxonomy: of the outputs, None where it is not known.
        """
        asked = self.allowed_taxa
        if asked is None:
            return None
        if taxonomy is None:
            raise UserError(
                "allowed_taxa= needs to know the taxa of the outputs: give taxonomy= "
                "or labels="
            )
        if isinstance(asked, Restriction):
            return asked
        return allowed.read(asked).of(taxonomy)
