"""The contents of the sheets and of the compare page, as plain values.

Lineages are tuples of taxon names, coarse to fine; a model at rank family predicts a
lineage that ends at the family. Names come from folders, so nothing here trusts them.
Shares, probabilities and agreements are floats, not percentages.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Model:
    """One trained model, or one question asked of it: a column of sheets and page.

    Attributes:
      name: unique among the models of a page ("family", "species asked for family").
      rank: rank whose taxon the model names.
      num_classes: number of taxa at that rank.
      accuracy: on the test split, in [0, 1].
      accuracy_interval: (low, high) of its confidence interval, or None.
      chance: accuracy of always answering the commonest training class, or None; NaN
        if the training is unknown.
      heatmap_area: mean share of the picture that is hot, or None.
      energy_on_object: mean share of the energy on the object, or None without masks.
      object_area: mean share of the picture that the object fills: the chance level.
      shares: further rows of the summary table, label -> share in [0, 1].
      pictures: number of pictures that the accuracy is over, or None if unknown.
      pictures_with_object: number of pictures with a known object.
      maps: number of pictures that the heatmap area is a mean over, or None if unknown.
    """

    name: str
    rank: str
    num_classes: int
    accuracy: float
    accuracy_interval: tuple[float, float] | None = None
    chance: float | None = None
    heatmap_area: float | None = None
    energy_on_object: float | None = None
    object_area: float | None = None
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    pictures: int | None = None
    pictures_with_object: int | None = None
    maps: int | None = None


@dataclasses.dataclass(frozen=True)
class View:
    """Prediction and heatmap of one model for one picture.

    Attributes:
      model: `Model.name`.
      predicted: predicted lineage, down to the model's rank.
      predicted_name: display name of the prediction ("Accipiter nisus").
      probability: the model's probability of it, in [0, 1].
      correct: whether it is the true taxon at the model's rank; None where the model
        does not have the true one.
      heatmap: float (h, w) in [0, 1], any resolution, covering the whole image.
      degenerate: the map is zero or constant: there is no heatmap.
      energy_on_object: share of the energy on the object, or None without a mask.
      numbers: further numbers of this view, label -> number; sortable in the page.
      coherent: whether the map is coherent, or None if undecided.
      remark: on the answer or the map, "" for none ("believed: Accipiter sp., 94 %").
      known: number of the ranks of the true lineage, from the coarsest, at which the
        model has a name for the true taxon; None for all.
      common: common names of `predicted`, "" for none; () where none is known.
    """

    model: str
    predicted: tuple[str, ...]
    predicted_name: str
    probability: float
    correct: bool | None
    heatmap: np.ndarray
    degenerate: bool = False
    energy_on_object: float | None = None
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    coherent: bool | None = None
    remark: str = ""
    known: int | None = None
    common: tuple[str, ...] = ()

    @property
    def common_name(self) -> str:
        """Of the prediction; "" for none."""
        return self.common[-1] if self.common else ""


# Which colors of a page can be compared.
OWN_SCALES = (
    "The maps of two models, or of two heads, have no common unit: each has a scale of "
    "its own, from its smallest to its largest value."
)
STEPS_SHARE = (
    "The steps of one picture are on one scale: the same color is the same value. The "
    "surer a step, the smaller its values, and the paler it is."
)
STEPS_APART = (
    "So has each step: places can be compared, amounts cannot. A step that is weak "
    "among the others of the picture says so."
)

# Shown in place of the step into a taxon without siblings.
ONLY_CHILD = "only child in this taxonomy: no choice"


def no_rank(rank: str) -> str:
    """Shown in place of the step into a rank that the path skips."""
    return f"no {rank} on this path"


# Shown in place of the numbers of a degenerate map.
NO_HEATMAP = "no heatmap"


@dataclasses.dataclass(frozen=True)
class Step:
    """The step map of one taxon of the predicted lineage: evidence against siblings.

    Attributes:
      rank: of the taxon.
      name: its display name.
      probability: of the taxon given its parent, in [0, 1].
      correct: whether it is the true taxon; None as in `View`.
      heatmap: float (h, w) in [0, 1]; None for a taxon without siblings.
      degenerate: the map is zero or constant: there is no heatmap.
      numbers: further numbers, label -> number.
      remark: on the map, "" for none (weak among the steps, nearly constant).
      common_name: of the taxon; "" for none.
      note: shown in place of the map, where there is none.
    """

    rank: str
    name: str
    probability: float
    correct: bool | None
    heatmap: np.ndarray | None
    degenerate: bool = False
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    remark: str = ""
    common_name: str = ""
    note: str = ONLY_CHILD


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture with one view per model.

    Attributes:
      example_id: unique, as everywhere.
      image: uint8 (H, W, 3), the model's input picture (any size).
      true: the whole true lineage, coarse to fine.
      true_name: display name of the finest true taxon.
      views: in the order of the page's models.
      agreement: similarity of the maps (such as a mean correlation), or None.
      split: name of the picture's split.
      object_area: share of the picture that the object fills, or None without a mask.
      numbers: further numbers of this picture, label -> number; sortable in the page.
      steps: of the finest model, coarse to fine; empty if not computed.
      credit: author and licence of the picture.
      steps_top: value of the hottest color of the steps; None if each has its own.
      whole: uint8 (H, W, 3), the whole photograph with the place of a crop; None where
        the image is all of it.
      common: common names of `true`, "" for none; () where none is known.
    """

    example_id: str
    image: np.ndarray
    true: tuple[str, ...]
    true_name: str
    views: tuple[View, ...]
    agreement: float | None = None
    split: str = "test"
    object_area: float | None = None
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    credit: str = ""
    steps_top: float | None = None
    whole: np.ndarray | None = None
    common: tuple[str, ...] = ()

    @property
    def common_name(self) -> str:
        """Of the finest true taxon; "" for none."""
        return self.common[-1] if self.common else ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A selection of pictures: a tab of the page ("chosen by seed", "most agreeing").

    Attributes:
      title: of the tab.
      note: one sentence on how these pictures were chosen.
      example_ids: in the order in which they are shown.
    """

    title: str
    note: str
    example_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table below the summary. Cells: text, numbers or None."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple, ...]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A plot below the summary: PNG bytes, with `alt` text for screen readers."""

    title: str
    png: bytes
    alt: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Page:
    """Everything that `page.write_page` shows.

    Attributes:
      title: of the page.
      question: title line of the page.
      sentences: the findings, computed by the caller from this run's numbers.
      ranks: names of the ranks of the lineages, coarse to fine.
      models: columns, in the order in which they are shown.
      pictures: each once, even when several sections show it. They are consumed one
        at a time, so a generator keeps memory constant.
      sections: tabs.
      curves: name of a run -> columns of its log.csv, see `curves`.
      chances: name of a curve -> chance accuracy, drawn as a dotted line.
      agreement_name: title of `Picture.agreement` ("correlation of the heatmaps").
      tables, figures: further results, in order, below the learning curves.
      steps_of: name of the model whose steps the pictures have.
      hero: example_id of the picture at the top; None chooses one.
      facts: small print at the end, label -> text (data, seed, versions, command).
      noun: what the pictures show, as in "bird" (`config.data.noun`).
    """

    title: str
    question: str
    sentences: tuple[str, ...]
    ranks: tuple[str, ...]
    models: tuple[Model, ...]
    pictures: Iterable[Picture]
    sections: tuple[Section, ...]
    curves: Mapping[str, Mapping[str, Sequence[float]]] = dataclasses.field(
        default_factory=dict
    )
    chances: Mapping[str, float] = dataclasses.field(default_factory=dict)
    agreement_name: str = "agreement of the maps"
    tables: tuple[Table, ...] = ()
    steps_of: str = ""
    figures: tuple[Figure, ...] = ()
    hero: str | None = None
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    noun: str = "object"
