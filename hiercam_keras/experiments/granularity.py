"""--mode=granularity: localization against the rank that a model was trained at.

Cole et al. 2022 (On Label Granularity and Object Localization, arXiv:2207.10225): the
same images with coarser labels, MaxBoxAccV2 of the CAM of the predicted class, and a
variant with maps of twice the size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras.cam import Explainer, targets
from hiercam_keras.experiments import boxes, figures, looks, page, pieces, runs, views
from hiercam_keras.experiments.boxes import Found
from hiercam_keras.experiments.pieces import Piece
from hiercam_keras.experiments.tables import Table, told
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.models import backbones
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.settings import Settings
from hiercam_keras.run_folder import Run

INTRO = (
    "Does the rank of the labels change how well a model's maps find the animal? The "
    "protocol is that of Cole et al. 2022 (arXiv:2207.10225): the same images, models "
    "trained at each rank, and the boxes of their class activation maps for the "
    "predicted taxon. The sentences in bold are made from the intervals of their table."
)
# (rank, stride) -> counts of the val and of the evaluated split, by seed.
Counts = dict[tuple[str, int], list[tuple[Found | None, Found]]]


def run(settings: Settings) -> str:
    """Trains what is missing and writes GRANULARITY.md."""
    sweep = settings.config.sweep
    condition = next(iter(pieces.conditions(settings)))
    ranks = tuple(sweep.ranks) or _trainable(settings, condition)
    strides = tuple(sweep.strides) or _strides(settings.config.model.output_stride)
    wanted = pieces.every(settings, [(r,) for r in ranks], sweep.seeds, [condition])
    done = runs.train_missing(wanted, settings)
    counts: Counts = {}
    for piece, run_ in zip(wanted, done, strict=True):
        for stride in strides:
            found = _counted(piece, run_, settings, stride)
            counts.setdefault((piece.ranks[0], stride), []).append(found)
    data = views.opened(done[0], settings, wanted[0])
    ranks = sorted(ranks, key=data.taxonomy.ranks.index)
    table = sweep_table(counts, ranks, strides, data, settings.split)
    out = Path(settings.out or Path(settings.config.runs_dir) / settings.config.name)
    png = figures.granularity(table)
    figures.save(out / "granularity" / "granularity.png", png)
    images = int(counts[ranks[0], strides[0]][0][1].images.sum())
    about = page.about(settings, wanted, "python main.py --mode=granularity", images)
    page.write(out / "GRANULARITY.md", "Granularity sweep", INTRO, [table], about)
    return f"{table.title}: {table.answer}\npage: {out / 'GRANULARITY.md'}"


def _trainable(settings: Settings, condition: Any) -> tuple[str, ...]:
    """Ranks with two taxa or more in the images."""
    from hiercam_keras.modes.load import load_source
    from hiercam_keras.taxonomy.tree import Taxonomy

    piece = pieces.make_piece(settings, ("any",), 0, condition)
    source = load_source(piece.config, settings.data_dir)
    return Taxonomy(record.lineage for record in source.records).trainable_ranks()


def _strides(trained: int) -> tuple[int, ...]:
    """The baseline, and its high-resolution variant where there is one."""
    return (trained, trained // 2) if trained > 8 else (trained,)


def _counted(
    piece: Piece, run_: Run, settings: Settings, stride: int
) -> tuple[Found | None, Found]:
    """Counts of val, if there are such images, and of the evaluated split."""
    data = views.opened(run_, settings, piece)
    splits = [name for name in ("val", settings.split) if getattr(data.split, name)]
    splits = list(dict.fromkeys(splits))
    places = {}
    for split in splits:
        ids = getattr(data.split, split)
        view = [stride, data.config.cam.layer, data.config.cam.method, boxes.MAP_SIDE]
        digest = looks.identity(run_.model_path, ids, boxes=view)
        places[split] = run_.path / "looks" / f"boxes-{split}-s{stride}-{digest}.npz"
    missing = [split for split in splits if not places[split].exists()]
    if missing:
        logging.info("localizing with %s at stride %d", run_.path, stride)
        explain = Explainer(
            views.model_at(data, stride),
            data.config.cam.layer or backbones.cam_layer(data.config.model.backbone),
            taxonomy=data.taxonomy,
            rank=piece.ranks[0],
            batch_size=data.config.cam.batch_size,
        )
        asked, method = targets.predicted(), data.config.cam.method
        for split in missing:
            found = boxes.count(explain, asked, data, split, method)
            boxes.save(places[split], found)
    found = {split: boxes.load(path) for split, path in places.items()}
    return found.get("val"), found[settings.split]


def sweep_table(
    counts: Counts,
    ranks: Sequence[str],
    strides: Sequence[int],
    data: RunData,
    split: str,
) -> Table:
    """MaxBoxAccV2 and PxAP of each rank and map size."""
    rows = []
    by_rank = {}
    for rank in ranks:
        for stride in strides:
            several = counts[rank, stride]
            oracle = _estimate([test for _, test in several], boxes.max_box_acc_v2)
            by_rank[rank, stride] = oracle
            rows.append(
                (
                    rank,
                    data.taxonomy.num_labels(rank),
                    stride,
                    oracle,
                    _each([test for _, test in several]),
                    _chosen(several),
                    _pixels([test for _, test in several]),
                )
            )
    first, answers = strides[0], []
    finest = ranks[-1]
    for rank in ranks[:-1]:
        gap = _difference(counts[rank, first], counts[finest, first])
        answers.append(
            f"trained at {rank}, stride {first}: "
            + told(
                gap,
                f"better than trained at {finest}",
                f"worse than trained at {finest}",
                f"not told apart from {finest}",
            )
        )
    for stride in strides[1:]:
        for rank in ranks:
            gap = _difference(counts[rank, stride], counts[rank, first])
            answers.append(
                f"{rank}, stride {stride} against {first}: "
                + told(gap, "better", "worse", "not told apart")
            )
    box = boxes.whole_image_box(data, split)
    share = boxes.prevalence(counts[ranks[0], first][0][1])
    constant = f", a constant map {share:.3f} in PxAP" if share == share else ""
    return Table(
        name="granularity",
        title="Localization against training rank",
        claim="Models trained with coarser labels localize better than those trained "
        "with the finest ones (Cole et al. 2022), and larger maps localize better.",
        header=(
            "trained at",
            "taxa",
            "stride",
            "MaxBoxAccV2",
            "each seed",
            "thresholds from val",
            "PxAP",
        ),
        rows=rows,
        answer=". ".join(one[:1].upper() + one[1:] for one in answers) + ".",
        note=f"A box around the whole image scores {box:.3f} in MaxBoxAccV2{constant}. "
        "MaxBoxAccV2 takes the best thresholds on "
        "the evaluated images; the next column those of the validation split. The "
        "first stride is the training's, the others are the same weights without "
        "training again. Brackets: 95 % intervals, species and seeds resampled.",
        figure="granularity/granularity.png",
    )


def _stack(several: Sequence[Found], what: str) -> tuple[np.ndarray, ...]:
    """Columns, species and seed numbers of several seeds."""
    tables = [boxes.columns(one, what) for one in several]
    groups = [np.arange(len(one)) for one in tables]
    seeds = [np.full(len(one), number) for number, one in enumerate(tables)]
    return tuple(map(np.concatenate, (tables, groups, seeds)))


def _estimate(several: Sequence[Found], figure: Any) -> Estimate:
    table, groups, seeds = _stack(several, "boxes")
    return resampling.of_sums(table, groups, figure, seeds, resamples=1000)


def _each(several: Sequence[Found]) -> str:
    values = [
        boxes.max_box_acc_v2(boxes.columns(one, "boxes").sum(0, keepdims=True))[0]
        for one in several
    ]
    return ", ".join(f"{value:.3f}" for value in values)


def _chosen(several: Sequence[tuple[Found | None, Found]]) -> Estimate | None:
    """Accuracy at the thresholds that are best on val, pooled over the seeds."""
    if any(val is None for val, _ in several):
        return None
    total = sum(val.best for val, _ in several)
    chosen = total.sum(axis=0).argmax(axis=1)
    return _estimate([test for _, test in several], boxes.at_thresholds(chosen))


def _pixels(several: Sequence[Found]) -> Estimate | None:
    if not several[0].inside.size:
        return None
    table, groups, seeds = _stack(several, "pixels")
    return resampling.of_sums(table, groups, boxes.pxap, seeds, resamples=1000)


def _difference(first: Sequence[tuple], second: Sequence[tuple]) -> Estimate:
    """MaxBoxAccV2 of the first minus that of the second, on the same species."""
    one, groups, seeds = _stack([test for _, test in first], "boxes")
    two, _, _ = _stack([test for _, test in second], "boxes")
    half = one.shape[1]

    def figure(sums: np.ndarray) -> np.ndarray:
        return boxes.max_box_acc_v2(sums[:, :half]) - boxes.max_box_acc_v2(
            sums[:, half:]
        )

    table = np.concatenate([one, two], axis=1)
    return resampling.of_sums(table, groups, figure, seeds, resamples=1000)
