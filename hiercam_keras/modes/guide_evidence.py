"""The evidence of the field guide: step maps of every image, and their measures.

For each image and each rank: the step map of its true taxon (evidence for this taxon
among its siblings), the window with the most energy, the probability of the taxon
within its parent, and the distribution of the energy over the object. The steps of an
image end at the finest rank at which the network knows its taxon.
"""

from dataclasses import dataclass, field

import numpy as np

from hiercam_keras.cam import store
from hiercam_keras.data.records import Record
from hiercam_keras.evaluation.measures import MEASURES, Maps
from hiercam_keras.evaluation.question import TRUE
from hiercam_keras.evaluation.table import Table
from hiercam_keras.evaluation.tabulate import stored, tabulate
from hiercam_keras.metrics import patches
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.make_maps import known_records, make_steps
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy.scores import marginal_probabilities, softmax
from hiercam_keras.taxonomy.tree import Taxonomy

_NO_PARENT = -2  # in place of a code of `Taxonomy.parent_codes`


@dataclass(frozen=True)
class Evidence:
    """Step maps and measures of N images, for the steps into R ranks.

    Attributes:
      records: of the N images.
      ranks: the R ranks, coarse to fine.
      taxonomy: of the model.
      maps: the store of the step maps.
      within: (N, labels) by rank: probability of each taxon within the true parent; 0
        for taxa with another parent, and for images with an unknown taxon.
      parts: names of the measured parts.
      table: measures by step, named by its rank: "window" (5), which is x0, y0, x1, y1
        in 0..1 of the model's input and the share of energy inside; "off_object", 1 if
        the hottest cell is off the object; "energy_on_object"; and the share of energy
        on each part.
      rival: (N,) by rank: largest probability within the true parent of a child of
        another rank, as of a subfamily next to a genus that is in none; 0 without.
    """

    records: list[Record]
    ranks: tuple[str, ...]
    taxonomy: Taxonomy
    maps: store.Reader
    within: dict[str, np.ndarray]
    parts: tuple[str, ...]
    table: Table
    rival: dict[str, np.ndarray] = field(default_factory=dict)

    def labels(self, rank: str) -> np.ndarray:
        """(N,) true labels; -1 for images without a known taxon at the rank."""
        return self.table.of("true", rank)

    def blank(self, rank: str) -> np.ndarray:
        """bool (N,): the map is degenerate, or there is no step: the taxon is unknown
        or has no siblings."""
        return self.table.of("degenerate", rank) | self.table.of("trivial", rank)

    def of(self, name: str, rank: str) -> np.ndarray:
        """(N,): a measure of the step maps into a rank; NaN for blank maps."""
        return np.where(self.blank(rank), np.nan, self.table.of(name, rank))

    def sure(self, rank: str) -> np.ndarray:
        """(N,): probability of the true taxon within its parent; NaN if unknown."""
        labels = self.labels(rank)
        chances = self.within[rank][np.arange(len(labels)), labels]
        return np.where(labels < 0, np.nan, chances)

    def chosen(self, rank: str) -> np.ndarray:
        """bool (N,): the true taxon is known and has siblings."""
        labels = self.labels(rank)
        alone = [
            self.taxonomy.is_only_child(rank, label)
            for label in range(self.taxonomy.num_labels(rank))
        ]
        return (labels >= 0) & ~np.array(alone)[labels]

    def right(self, rank: str) -> np.ndarray:
        """bool (N,): the true taxon is the most probable among its siblings; False if
        unknown."""
        best = self.within[rank].argmax(1) == self.labels(rank)
        return best & (self.within[rank].max(1) >= self.rival.get(rank, 0.0))


def collect(
    network: Network, data: RunData, split: str, ranks: tuple[str, ...], patch: float
) -> Evidence:
    """Computes missing step maps and measures all of them.

    Images of which the network knows no taxon at any rank are left out.

    Args:
      network: of the run.
      data: the run's images.
      split: of the images to use.
      ranks: that the steps lead to, coarse to fine.
      patch: side of the window as a fraction of the image side.

    Raises:
      UserError: the network knows no taxon of any image.
    """
    finest = network.finest
    records = data.records(split)
    data.check_known(split, ranks)
    records = known_records(data, records, *ranks)
    reader = make_steps(network, data, split, records, ranks, TRUE)
    with data.loader(split) as loader:
        said = network.predict(loader, "answers")
    place = {example_id: i for i, example_id in enumerate(said.example_ids)}
    kept = [r for r in records if r.example_id in reader and r.example_id in place]
    rows = [place[record.example_id] for record in kept]
    chances = softmax(said.logits[finest][rows].astype(np.float64))
    parts = dict((data.source.evidence or {}).values())
    table = tabulate(
        stored(
            {rank: (reader, k) for k, rank in enumerate(ranks)},
            kept,
            bool(parts),
            "evidence",
        ),
        data.truth,
        {rank: rank for rank in ranks},
        parts,
        {
            "window": lambda maps: _window(maps, patch),
            "off_object": _off_object,
            "energy_on_object": MEASURES["energy_on_object"].compute,
        },
    )
    within = {
        rank: _within(chances, table.of("true", rank), data.taxonomy, finest, rank)
        for rank in ranks
    }
    return Evidence(
        records=kept,
        ranks=ranks,
        taxonomy=data.taxonomy,
        maps=reader,
        within={rank: own for rank, (own, _) in within.items()},
        rival={rank: rival for rank, (_, rival) in within.items()},
        parts=tuple(part for part in parts if np.isfinite(table.values[part]).any()),
        table=table,
    )


def _window(maps: Maps, patch: float) -> np.ndarray:
    """(n, 5): the window with the most energy, and its share of the energy."""
    boxes, held = patches.best_windows(maps.energy, patch)
    return np.concatenate([boxes, held[:, None]], axis=1)


def _off_object(maps: Maps) -> np.ndarray:
    """1 if the cell with the most energy is off the object, else 0; NaN if unknown."""
    objects = maps.regions.objects.reshape(len(maps.cams), -1)
    hottest = maps.energy.reshape(len(objects), -1).argmax(-1)
    hit = np.take_along_axis(objects, hottest[:, None], -1)[:, 0]
    return np.where(np.isfinite(hit), hit < 0.5, np.nan)


def _within(
    chances: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, finest: str, rank: str
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, labels) at a rank, normalized over the children of the true
    parent; 0 for images with the label -1. And the largest (N,) of a child of another
    rank."""
    own = taxonomy.parent_codes(rank)
    of_image = np.where(labels < 0, _NO_PARENT, own[labels])
    mass = marginal_probabilities(chances, taxonomy, finest, rank)
    mass = np.where(own[None] == of_image[:, None], mass, 0.0)
    total, rival = mass.sum(1), np.zeros(len(mass))
    for other in taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]:
        codes = taxonomy.parent_codes(other)
        if other == rank or not np.isin(own, codes).any():
            continue
        others = marginal_probabilities(chances, taxonomy, finest, other)
        others = np.where(codes[None] == of_image[:, None], others, 0.0)
        total, rival = total + others.sum(1), np.maximum(rival, others.max(1))
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    within = np.divide(
        mass, total[:, None], out=np.zeros_like(mass), where=total[:, None] > 0
    )
    return within, rival * scale
