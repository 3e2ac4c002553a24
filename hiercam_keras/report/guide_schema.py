"""The contents of the field guide, as plain values."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Share(NamedTuple):
    """How many pictures have a property: `count` of `total`.

    Attributes:
      count, total: numbers of pictures; total is at least 1.
      low, high: Wilson interval (95 %) of count / total, 0 .. 1.
    """

    count: int
    total: int
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Patch:
    """The window of one picture with the most energy of a step map.

    Attributes:
      example_id: of the picture.
      name: display name of the picture's finest taxon.
      crop: uint8 (h, w, 3), the patch at the photograph's own resolution.
      picture: uint8 (H, W, 3), the part of the photograph that the model gets.
      heatmap: float (h, w) in [0, 1], of the step.
      box: x0, y0, x1, y1 of the patch in 0 .. 1 of `picture`.
      sure: probability of the taxon within its parent.
      credit: author and licence of the photograph, "" if unknown.
      remark: on the map, "" for none (weak among the patches of the taxon, nearly
        constant).
      common_name: of the picture's finest taxon; "" for none.
    """

    example_id: str
    name: str
    crop: np.ndarray
    picture: np.ndarray
    heatmap: np.ndarray
    box: tuple[float, float, float, float]
    sure: float
    credit: str = ""
    remark: str = ""
    common_name: str = ""

    @property
    def title(self) -> str:
        """The name with the common name in brackets."""
        return _titled(self.name, self.common_name)


@dataclasses.dataclass(frozen=True)
class Part:
    """Energy of a step map on one part.

    Attributes:
      name: of the part.
      lift: energy over area; 1 is chance.
      special: lift over the geometric mean of the lifts of all steps on this part.
      planted: whether the data set says that this part carries the trait.
    """

    name: str
    lift: float
    special: float
    planted: bool = False


@dataclasses.dataclass(frozen=True)
class Sibling:
    """A sibling of the taxon of a page.

    Attributes:
      key: of its own page, `TaxonPage.key`.
      name: display name.
      taken: mean probability of the sibling on pictures of the page's taxon.
      patches: of the sibling's own step.
      top: value of the hottest color of their maps; None if each has its own scale.
      count: number of pictures of the sibling.
      common_name: "" for none.
    """

    key: str
    name: str
    taken: float
    patches: tuple[Patch, ...]
    top: float | None = None
    count: int = 0
    common_name: str = ""

    @property
    def title(self) -> str:
        """The name with the common name in brackets."""
        return _titled(self.name, self.common_name)


@dataclasses.dataclass(frozen=True)
class TaxonPage:
    """One page of the guide.

    Attributes:
      key: names the page's file; rank and label, never a name from a folder.
      rank, name: of the taxon.
      path: (key, title) of the taxa above it that have a page, coarse to fine.
      parent: name of the parent taxon.
      lineage: all taxa down to this one.
      num_siblings: number of siblings; 0 for an only child.
      count: number of pictures of the taxon.
      sure: mean probability within its parent, 0 .. 1.
      right: pictures in which it is more probable than its siblings.
      off: pictures with the hottest point off the object; None where no object is
        known.
      on_object: mean share of the energy on the object, and of the picture that the
        object fills; None where no object is known.
      parts: of the step, the named one first; empty where no parts are known.
      patches: best first.
      siblings: nearest first.
      children: (key, title) of the taxa below it.
      top: value of the hottest color of the maps of `patches`; None where each has a
        scale of its own.
      common_name: of the taxon; "" for none.
      common_names: of all taxa of `lineage` that have one, which are searched.
    """

    key: str
    rank: str
    name: str
    path: tuple[tuple[str, str], ...]
    parent: str
    lineage: tuple[str, ...]
    num_siblings: int
    count: int
    sure: float
    right: Share
    off: Share | None
    on_object: tuple[float, float] | None
    parts: tuple[Part, ...]
    patches: tuple[Patch, ...]
    siblings: tuple[Sibling, ...]
    children: tuple[tuple[str, str], ...]
    top: float | None = None
    common_name: str = ""
    common_names: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name with the common name in brackets."""
        return _titled(self.name, self.common_name)


def _titled(name: str, common: str) -> str:
    return f"{name} ({common})" if common else name


@dataclasses.dataclass(frozen=True)
class Guide:
    """The contents of the index page.

    Attributes:
      title: of the guide.
      question: title line of the index.
      sentences: the findings, computed from this run.
      ranks: of its pages, coarse to fine.
      check: rows of a table on how often the planted part is named; empty where none is
        known. Cells: rank, part, named, taxa, share with interval, chance, and the
        share of the best constant answer.
      facts: small print, label -> text.
      noun: what the pictures show, as in "bird" (`config.data.noun`).
      remark: on every page of a taxon, as on pictures that the model learned from; ""
        for none.
    """

    title: str
    question: str
    sentences: tuple[str, ...]
    ranks: tuple[str, ...]
    check: tuple[tuple[str, ...], ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    noun: str = "object"
    remark: str = ""
