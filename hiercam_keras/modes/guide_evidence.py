"""What the steps of a model say of every picture: the evidence of the field guide.

For each picture and each rank: the step map into its true taxon (what tells that taxon
from its siblings), the window that the map points at most, how sure the model is of the
taxon within its parent, and where on the bird the energy lies.
"""

from dataclasses import dataclass

import numpy as np

from hiercam_keras.cam import heatmaps, store, targets
from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.maps import SIDE
from hiercam_keras.metrics import concentration, patches, planted
from hiercam_keras.metrics.maps import box_coverage
from hiercam_keras.modes import parts
from hiercam_keras.modes.export import store_maps
from hiercam_keras.modes.load import RunData
from hiercam_keras.progress import progress
from hiercam_keras.taxonomy.scores import marginal_probabilities, softmax
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training.predict import predict_logits

_CHUNK = 256  # pictures at a time


@dataclass(frozen=True)
class Evidence:
    """Of N pictures and R steps, coarse to fine; NaN where something is not known.

    Attributes:
      records: N.
      ranks: R, into which the steps lead.
      taxonomy: of the model.
      maps: the store of the step maps.
      labels: rank -> (N,) true labels.
      within: rank -> (N, labels), probability of each taxon within the true parent;
        0 for those that are no siblings.
      boxes: (R, N, 4), the window, x0, y0, x1, y1 in 0 .. 1 of the model's input.
      held: (R, N), share of the energy in the window.
      blank: bool (R, N), the map says nothing or there was no choice.
      off_object: (R, N), 1 where the map's hottest point is not on the bird.
      on_object, object_area: (R, N) share of the energy on the bird; (N,) of picture.
      part_energy: part -> (R, N).  part_area: part -> (N,).
    """

    records: list[Record]
    ranks: tuple[str, ...]
    taxonomy: Taxonomy
    maps: store.Reader
    labels: dict[str, np.ndarray]
    within: dict[str, np.ndarray]
    boxes: np.ndarray
    held: np.ndarray
    blank: np.ndarray
    off_object: np.ndarray
    on_object: np.ndarray
    object_area: np.ndarray
    part_energy: dict[str, np.ndarray]
    part_area: dict[str, np.ndarray]

    def sure(self, rank: str) -> np.ndarray:
        """(N,) probability of the true taxon within its parent."""
        every = np.arange(len(self.records))
        return self.within[rank][every, self.labels[rank]]

    def chosen(self, rank: str) -> np.ndarray:
        """bool (N,): the true taxon has siblings that it could be taken for."""
        alone = [
            self.taxonomy.is_only_child(rank, label)
            for label in range(self.taxonomy.num_labels(rank))
        ]
        return ~np.array(alone)[self.labels[rank]]

    def right(self, rank: str) -> np.ndarray:
        """bool (N,): the true taxon is the most probable among its siblings."""
        return self.within[rank].argmax(1) == self.labels[rank]


def collect(
    model, data: RunData, split: str, ranks: tuple[str, ...], patch: float
) -> Evidence:
    """Makes the step maps that are missing and reads all of them once.

    Args:
      model: the run's.
      data: the run's images.
      split: whose pictures are used.
      ranks: into which the steps lead.
      patch: side of the window over that of the picture.
    """
    finest = max(data.run.ranks, key=data.taxonomy.ranks.index)
    records = data.records(split)
    folder, _ = store_maps(
        model,
        data,
        split,
        records,
        targets.path(ranks=ranks),
        "path:true:" + "+".join(ranks) + ":steps",
        lambda batch: targets.path(batch.labels[finest], ranks),
    )
    reader = store.open(folder)
    with data.loader(split) as loader:
        said = predict_logits(model, loader, data.run.ranks, "answers")
    place = {example_id: i for i, example_id in enumerate(said.example_ids)}
    kept = [r for r in records if r.example_id in reader and r.example_id in place]
    rows = [place[record.example_id] for record in kept]
    chances = softmax(said.logits[finest][rows].astype(np.float64))
    labels = {rank: said.labels[rank][rows] for rank in ranks}
    measured = _measured(reader, kept, data, ranks, patch)
    return Evidence(
        records=kept,
        ranks=ranks,
        taxonomy=data.taxonomy,
        maps=reader,
        labels=labels,
        within={
            rank: _within(chances, labels[rank], data.taxonomy, finest, rank)
            for rank in ranks
        },
        **measured,
    )


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


def _measured(reader, records, data, ranks, patch) -> dict:
    evidence = data.source.evidence or {}
    names = {part: label for part, label in evidence.values()}
    chunks = [records[i : i + _CHUNK] for i in range(0, len(records), _CHUNK)]
    made = [
        _measure_chunk(reader, chunk, names, ranks, patch)
        for chunk in progress(chunks, len(records), "evidence", count=len)
    ]

    def joined(name: str, axis: int) -> np.ndarray:
        return np.concatenate([one[name] for one in made], axis)

    known = [part for part in names if all(part in one["part_energy"] for one in made)]
    return {
        "boxes": joined("boxes", 1),
        "held": joined("held", 1),
        "blank": joined("blank", 1),
        "off_object": joined("off_object", 1),
        "on_object": joined("on_object", 1),
        "object_area": joined("object_area", 0),
        "part_energy": {
            part: np.concatenate([one["part_energy"][part] for one in made], 1)
            for part in known
        },
        "part_area": {
            part: np.concatenate([one["part_area"][part] for one in made])
            for part in known
        },
    }


def _measure_chunk(reader, records, names, ranks, patch) -> dict:
    entries = [reader.get(record.example_id) for record in records]
    cams = np.stack([entry.cam for entry in entries], axis=1)  # (R, N, h, w)
    blank = np.stack([e.degenerate | e.trivial for e in entries], axis=1)
    energy = heatmaps.energy(cams, SIDE)
    boxes, held = patches.best_windows(energy, patch)
    rows = [entry.geometry for entry in entries]
    seen = objects(records, rows)
    off, on = np.full(blank.shape, np.nan), np.full(blank.shape, np.nan)
    area = np.full(len(records), np.nan)
    if seen is not None:
        area = seen.mean((1, 2))
        flat = energy.reshape(*energy.shape[:2], -1)
        hottest = flat.argmax(-1)
        hit = np.take_along_axis(
            seen.reshape(len(records), -1)[None], hottest[..., None], -1
        )[..., 0]
        off = np.where(blank, np.nan, hit < 0.5)
        on = np.where(blank, np.nan, concentration.energy_inside(energy, seen))
    labels = parts.label_maps(records, rows, "parts_path") if names else None
    part_energy, part_area = {}, {}
    if labels is not None:
        found = planted.part_shares(energy, labels, names)
        part_energy = {
            part: np.where(blank, np.nan, values)
            for part, values in found.energy.items()
        }
        part_area = found.area
    return {
        "boxes": boxes,
        "held": held,
        "blank": blank,
        "off_object": off,
        "on_object": on,
        "object_area": area,
        "part_energy": part_energy,
        "part_area": part_area,
    }


def objects(records, rows) -> np.ndarray | None:
    """Where the bird is, (N, SIDE, SIDE) in 0 .. 1: by masks, else by boxes."""
    masks = parts.label_maps(records, rows, "mask_path")
    if masks is not None:
        return (masks > 0).astype(float)
    if not all(record.boxes for record in records):
        return None
    found = []
    for record, row in zip(records, rows, strict=True):
        seen = geometry.Geometry.from_row(row)
        boxes = seen.to_input(np.array(record.boxes)) * SIDE / seen.size
        found.append(box_coverage(boxes, (SIDE, SIDE)).max(0))
    return np.stack(found)
