"""The evidence of the field guide: step maps of every picture, and what they measure.

For each picture and each rank: the step map into its true taxon (the choice of that
taxon among its siblings), the window with the most energy, the probability of the taxon
within its parent, and where on the object the energy is.
"""

from dataclasses import dataclass

import numpy as np

from hiercam_keras.cam import store, targets
from hiercam_keras.data.records import Record
from hiercam_keras.evaluation.measures import MEASURES, Maps
from hiercam_keras.evaluation.table import Table
from hiercam_keras.evaluation.tabulate import stored, tabulate
from hiercam_keras.metrics import patches
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.make_maps import known_records, store_maps
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy.scores import marginal_probabilities, softmax
from hiercam_keras.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class Evidence:
    """Of N pictures and the steps into R ranks.

    Attributes:
      records: N.
      ranks: R, coarse to fine.
      taxonomy: of the model.
      maps: the store of the step maps.
      within: rank -> (N, labels), probability of each taxon within the true parent;
        0 for those that are no siblings.
      parts: names of the parts that are measured.
      table: a question a step, named by its rank. Values: "window" (5), x0, y0, x1, y1
        in 0 .. 1 of the model's input and the share of the energy inside, "off_object",
        1 where the hottest point is off the object, "energy_on_object", and the share
        of the energy on each part.
    """

    records: list[Record]
    ranks: tuple[str, ...]
    taxonomy: Taxonomy
    maps: store.Reader
    within: dict[str, np.ndarray]
    parts: tuple[str, ...]
    table: Table

    def labels(self, rank: str) -> np.ndarray:
        """(N,) true labels."""
        return self.table.of("true", rank)

    def blank(self, rank: str) -> np.ndarray:
        """bool (N,): the map is degenerate, or there was nothing to choose."""
        return self.table.of("degenerate", rank) | self.table.of("trivial", rank)

    def of(self, name: str, rank: str) -> np.ndarray:
        """(N,) a measure of the step maps into a rank, NaN where they are blank."""
        return np.where(self.blank(rank), np.nan, self.table.of(name, rank))

    def sure(self, rank: str) -> np.ndarray:
        """(N,) probability of the true taxon within its parent."""
        every = np.arange(len(self.records))
        return self.within[rank][every, self.labels(rank)]

    def chosen(self, rank: str) -> np.ndarray:
        """bool (N,): the true taxon has siblings that it could be taken for."""
        alone = [
            self.taxonomy.is_only_child(rank, label)
            for label in range(self.taxonomy.num_labels(rank))
        ]
        return ~np.array(alone)[self.labels(rank)]

    def right(self, rank: str) -> np.ndarray:
        """bool (N,): the true taxon is the most probable among its siblings."""
        return self.within[rank].argmax(1) == self.labels(rank)


def collect(
    network: Network, data: RunData, split: str, ranks: tuple[str, ...], patch: float
) -> Evidence:
    """Makes the step maps that are missing and measures all of them.

    Args:
      network: the run's.
      data: the run's images.
      split: whose pictures are used.
      ranks: into which the steps lead.
      patch: side of the window over that of the picture.
    """
    finest = network.finest
    records = data.records(split)
    for rank in ranks:
        records = known_records(data, records, rank)
    folder, _ = store_maps(
        network,
        data,
        split,
        records,
        targets.path(ranks=ranks),
        "path:true:" + "+".join(ranks) + ":steps",
        lambda batch: targets.path(batch.labels[finest], ranks),
    )
    reader = store.open(folder)
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
    return Evidence(
        records=kept,
        ranks=ranks,
        taxonomy=data.taxonomy,
        maps=reader,
        within={
            rank: _within(chances, table.of("true", rank), data.taxonomy, finest, rank)
            for rank in ranks
        },
        parts=tuple(part for part in parts if np.isfinite(table.values[part]).any()),
        table=table,
    )


def _window(maps: Maps, patch: float) -> np.ndarray:
    """(n, 5): the window with the most energy, and its share of the energy."""
    boxes, held = patches.best_windows(maps.energy, patch)
    return np.concatenate([boxes, held[:, None]], axis=1)


def _off_object(maps: Maps) -> np.ndarray:
    """1 where the cell with the most energy is off the object, NaN if unknown."""
    objects = maps.regions.objects.reshape(len(maps.cams), -1)
    hottest = maps.energy.reshape(len(objects), -1).argmax(-1)
    hit = np.take_along_axis(objects, hottest[:, None], -1)[:, 0]
    return np.where(np.isfinite(hit), hit < 0.5, np.nan)


def _within(
    chances: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, finest: str, rank: str
) -> np.ndarray:
    """Probabilities at a rank, of the taxa below the true parent alone: (N, labels)."""
    mass = marginal_probabilities(chances, taxonomy, finest, rank)
    depth = taxonomy.ranks.index(rank)
    if depth:
        above = taxonomy.parents(rank, taxonomy.ranks[depth - 1])
        mass = np.where(above[None] == above[labels][:, None], mass, 0.0)
    total = mass.sum(1, keepdims=True)
    return np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
