"""What the figure for one photo shows: answers by rank, where belief ends, scales."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class RankAnswer:
    """The prediction at one rank, with its maps.

    Attributes:
      rank: name of the rank.
      name: display name of the predicted taxon.
      probability: of the taxon, in [0, 1].
      others: (name, probability) of the next taxa, by descending probability.
      heatmap: float (h, w) in [0, 1] of the taxon's own (marginal) score.
      degenerate: there is no heatmap.
      step: float (h, w) in [0, 1] of the step from the parent taxon, or None.
      step_degenerate: there is no heatmap of the step.
      step_note: shown in place of a step that is None (`schema.ONLY_CHILD`).
      step_name: display name of the taxon of the step; "" for `name`.
      parent: display name of its taxon at the rank of the previous column, where that
        is not the previous column's prediction; "" otherwise.
      true_name: display name of the true taxon, None if unknown.
      remark, step_remark: on the two maps, "" for none (weak, nearly constant).
      common_names: of the taxa of this rank that are named here, by display name.
    """

    rank: str
    name: str
    probability: float
    others: tuple[tuple[str, float], ...]
    heatmap: np.ndarray
    degenerate: bool = False
    step: np.ndarray | None = None
    step_degenerate: bool = False
    step_note: str = ""
    step_name: str = ""
    parent: str = ""
    true_name: str | None = None
    remark: str = ""
    step_remark: str = ""
    common_names: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def common(self, name: str) -> str:
        """Common name of a taxon of this rank; "" if it has none."""
        return self.common_names.get(name, "")

    def titled(self, name: str) -> str:
        """Display name with the common name in brackets."""
        common = self.common(name)
        return f"{name} ({common})" if common else name

    @property
    def nested(self) -> bool:
        """Whether the taxon belongs to that of the previous column."""
        return not self.parent


def disagreement(ranks: Sequence[RankAnswer]) -> str:
    """What is predicted of two ranks that contradict each other; "" for one path.

    Args:
      ranks: coarse to fine.
    """
    parts = [
        f"the most probable {fine.rank}, {fine.name}, is not of the most probable "
        f"{coarse.rank}, {coarse.name}, but of {fine.parent}"
        for coarse, fine in zip(ranks, ranks[1:], strict=False)
        if not fine.nested
    ]
    if not parts:
        return ""
    return (
        # A placeholder such as "Corvidae sp." has the period.
        f"The ranks disagree: {'; '.join(parts).removesuffix('.')}. Each rank is asked "
        "by itself, and a taxon may be the most probable one because several below it "
        "are probable."
    )


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The predicted taxon against the second most probable, at the finest rank.

    Attributes:
      name: display name of the runner-up.
      probability: of the runner-up, in [0, 1].
      heatmap: float (h, w) in [0, 1]: evidence for the first against the second.
      degenerate: there is no heatmap.
      remark: on the map, "" for none.
    """

    name: str
    probability: float
    heatmap: np.ndarray
    degenerate: bool = False
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Child:
    """A taxon that is left where belief ends, and what speaks for it.

    Attributes:
      name: display name.
      probability: in [0, 1].
      heatmap: float (h, w) in [0, 1]: evidence for it against the other child, both on
        one scale.
      degenerate: there is no heatmap.
    """

    name: str
    probability: float
    heatmap: np.ndarray
    degenerate: bool = False


@dataclasses.dataclass(frozen=True)
class Believed:
    """How far down the answer is believed, and why it stops there.

    Attributes:
      name: of the believed taxon, "Accipiter sp." above the finest rank.
      note: its probability, and where belief ends.
      children: the two nearest below it, or none.
      right: whether the name is right; None if that is not known.
      common: common name of the believed taxon; "" if it has none.
    """

    name: str
    note: str
    children: tuple[Child, ...] = ()
    right: bool | None = None
    common: str = ""

    @property
    def question(self) -> str:
        """`nisus or gentilis? see the maps`, as far as there are two children."""
        if len(self.children) < 2:
            return ""
        names = " or ".join(child.name for child in self.children)
        return f"{names}? See the maps"


@dataclasses.dataclass(frozen=True)
class RowScales:
    """The value of the hottest color of each of the two rows; None where each map has
    a scale of its own."""

    own: float | None = None
    steps: float | None = None

    @property
    def note(self) -> str:
        """Which colors can be compared."""
        pale = "The surer a step, the paler it is."
        if self.own is None and self.steps is None:
            return "Each map has a scale of its own: compare places, not amounts."
        if self.steps is None:
            return (
                "The upper row is on one scale, that of its bar; each other map has "
                "its own."
            )
        if self.own is None:
            return (
                "The lower row is on one scale, that of its bar; each other map has "
                f"its own. {pale}"
            )
        return (
            "Each row is on one scale, that of its bar; the two rows do not compare. "
            f"{pale}"
        )
