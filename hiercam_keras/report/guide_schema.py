"""What the field guide is filled with, as plain values."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Patch:
    """A place of one picture that a step map points at.

    Attributes:
      example_id: of the picture.
      name: display name of the picture's finest taxon.
      crop: uint8 (h, w, 3), the patch at the photograph's own resolution.
      picture: uint8 (H, W, 3), what the model saw of the photograph.
      heatmap: float (h, w) in [0, 1], of the step.
      box: x0, y0, x1, y1 of the patch in 0 .. 1 of `picture`.
      sure: probability of the taxon within its parent.
      credit: who made the photograph, "" if not known.
      remark: on the map, "" for none (weak among the patches of the taxon, nearly
        constant).
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


@dataclasses.dataclass(frozen=True)
class Part:
    """What a step has on one part of the bird.

    Attributes:
      name: of the part.
      lift: energy over area; 1 is chance.
      special: lift over the mean of the lifts of all steps on this part.
      planted: the part is known to carry the trait.
    """

    name: str
    lift: float
    special: float
    planted: bool = False


@dataclasses.dataclass(frozen=True)
class Sibling:
    """A sibling of the taxon that the page is about.

    Attributes:
      key: of its own page, `TaxonPage.key`.
      name: display name.
      taken: mean share of the probability that it takes from the page's taxon.
      patches: of its own step.
      top: value of the hottest color of their maps; None where each has its own scale.
    """

    key: str
    name: str
    taken: float
    patches: tuple[Patch, ...]
    top: float | None = None


@dataclasses.dataclass(frozen=True)
class TaxonPage:
    """One page of the guide.

    Attributes:
      key: names the page's file; rank and label, never a name from a folder.
      rank, name: of the taxon.
      path: (key, name) of the taxa above it that have a page, coarse to fine.
      parent: name of the taxon within which it is chosen.
      lineage: all taxa down to this one.
      num_siblings: taxa that it is chosen among; 0 for an only child.
      count: pictures of it.
      sure: mean probability within its parent.
      right: (share, low, high) of the pictures in which it beats its siblings.
      off: (share, low, high) of the pictures with the hottest point off the bird; None
        where the bird's place is not known.
      on_object: mean share of the energy on the bird, and of the picture that it fills.
      parts: of the step, the named one first; empty where no parts are known.
      patches: best first.
      siblings: nearest first.
      children: (key, name) of the taxa below it.
      top: value of the hottest color of the maps of `patches`; None where each has a
        scale of its own.
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
    right: tuple[float, float, float]
    off: tuple[float, float, float] | None
    on_object: tuple[float, float] | None
    parts: tuple[Part, ...]
    patches: tuple[Patch, ...]
    siblings: tuple[Sibling, ...]
    children: tuple[tuple[str, str], ...]
    top: float | None = None


@dataclasses.dataclass(frozen=True)
class Guide:
    """What the index says.

    Attributes:
      title: of the guide.
      question: what it tries to answer.
      sentences: what it found, computed from this run.
      ranks: of its pages, coarse to fine.
      check: rows of a table on how often the planted part is named; empty where nobody
        knows. Cells: rank, part, named, taxa, share with interval, chance, and what the
        best answer that is the same for all taxa has.
      facts: small print, label -> text.
    """

    title: str
    question: str
    sentences: tuple[str, ...]
    ranks: tuple[str, ...]
    check: tuple[tuple[str, ...], ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
