"""Tables of --mode=localize: measures with intervals, by taxon, by image, and boxes."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import file_names, tables, workdir
from hiercam_keras.evaluation.ground_truth import Marked
from hiercam_keras.evaluation.localization import Scored
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.localization import (
    IOU_THRESHOLDS,
    box_accuracy,
    mean_by_group,
    pxap_of,
)
from hiercam_keras.metrics.localization_accumulator import Tally
from hiercam_keras.taxonomy.tree import Taxonomy

HEADER = (
    "measure",
    "threshold",
    "value",
    "low",
    "high",
    "center_gaussian",
    "chance",
    "images",
)
IOU = 0.5  # threshold of a correct box in MaxBoxAcc
SHARES = ("energy_in_box", "box_area", "energy_in_mask", "mask_area")


def figures(
    scored: Scored, chosen: Scored | None, resamples: int, seed: int
) -> list[list[Any]]:
    """Rows of HEADER, with shares in 0..1 and intervals over resampled taxa.

    Args:
      scored: of the reported split.
      chosen: of the maps with boxes used to select thresholds; None if there are none.
      resamples, seed: of the resampling.
    """
    tally, control = scored.tally, scored.control
    rows: list[list[Any]] = []
    options = {"draws": resamples, "seed": seed}
    if tally.has_boxes:
        for version in (1, 2):
            name = "MaxBoxAcc" if version == 1 else "MaxBoxAccV2"
            for source, rule in ((scored, "oracle"), (chosen, "val")):
                if source is None:
                    continue
                picks = _thresholds(source.tally, version)
                given = [picks, _thresholds(source.control, version)]
                if rule == "oracle":
                    given = [None, None]
                found = _accuracy(tally.boxes, given[0], version, options)
                other, _, _ = _accuracy(control.boxes, given[1], version, None)
                shown = " ".join(f"{pick:.3f}" for pick in picks)
                count = int(tally.boxes.images.sum())
                row = [f"{name} ({rule} threshold)", shown, *found, other, None, count]
                rows.append(row)
    for kind, name in (("mask", "PxAP"), ("box", "BoxPxAP")):
        row = _pxap(tally, control, kind, options)
        if row:
            rows.append([name, "", *row])
    groups = tally.column("group")
    means = [("pointing game", "pointing", None)]
    means += [
        ("energy in the box", "energy_in_box", "box_area"),
        ("energy in the mask", "energy_in_mask", "mask_area"),
    ]
    for name, field, chance in means:
        values = tally.column(field)
        known = np.isfinite(values)
        if not known.any():
            continue
        mean = resampling.share if field == "pointing" else resampling.mean
        found = mean(values, groups, **options)
        other = float(np.nanmean(control.column(field)))
        level = float(np.nanmean(tally.column(chance))) if chance else None
        rows.append(
            [name, "", found.value, found.low, found.high, other, level, found.n]
        )
    by_class = mean_by_group(tally.column("pointing"), groups)
    other = mean_by_group(control.column("pointing"), groups)
    row = ["pointing game, mean of taxa", "", by_class, None, None, other, None]
    rows.append([*row, len(groups)])
    return rows


def write(
    folder: Path,
    rows: list[list[Any]],
    scored: Scored,
    marked: Mapping[str, Marked],
    taxonomy: Taxonomy,
    threshold: float,
    info: Mapping[str, Any],
) -> None:
    """Writes all tables of a localization.

    The files are localization.csv, localization.json, taxa_<rank>.csv, images.csv,
    boxes.csv and curve.csv.
    """
    tables.write_csv(folder / "localization.csv", HEADER, rows)
    about = {
        **info,
        "images": len(scored.example_ids),
        "without_map": scored.without_map,
        "maps_without_truth": scored.without_truth,
        "degenerate": scored.degenerate,
        "figures": [
            tables.json_row(dict(zip(HEADER, row, strict=True))) for row in rows
        ],
    }
    workdir.write_json(folder / "localization.json", about)
    for rank in taxonomy.ranks:
        if taxonomy.num_labels(rank) > 1 or rank == taxonomy.finest:
            header, body = taxon_rows(scored.tally, taxonomy, rank, threshold)
            name = file_names.file_name(f"taxa_{rank}", ".csv")
            tables.write_csv(folder / name, header, body)
    names = taxonomy.names(taxonomy.finest)
    header = ("example_id", "taxon", "iou", "pointing", *SHARES)
    body = [
        [
            one,
            names[row.group],
            row.iou,
            row.pointing,
            *(getattr(row, f) for f in SHARES),
        ]
        for one, row in zip(scored.example_ids, scored.tally.rows, strict=True)
    ]
    tables.write_csv(folder / "images.csv", header, body)
    header = ("example_id", "x0", "y0", "x1", "y1", "iou")
    body = [
        [one, *(round(float(side), 2) for side in box), row.iou]
        for one, box, row in zip(
            scored.example_ids, scored.boxes, scored.tally.rows, strict=True
        )
    ]
    tables.write_csv(folder / "boxes.csv", header, body)
    curves = curves_of(scored)
    if curves:
        cells = zip(scored.tally.thresholds, *curves.values(), strict=True)
        tables.write_csv(folder / "curve.csv", ("threshold", *curves), list(cells))


def curves_of(scored: Scored) -> dict[str, np.ndarray]:
    """Share of images with a correct box of the largest region, at each threshold."""
    if not scored.tally.has_boxes:
        return {}
    return {
        f"{who} IoU {iou}": tally.boxes.curve(iou)
        for who, tally in (("maps", scored.tally), ("center_gaussian", scored.control))
        for iou in IOU_THRESHOLDS
    }


def taxon_rows(
    tally: Tally, taxonomy: Taxonomy, rank: str, threshold: float
) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Rows for the taxa of a rank that have images, with accuracy at one threshold."""
    parents = taxonomy.parents(taxonomy.finest, rank)
    groups = parents[tally.column("group").astype(int)]
    place = tally.boxes.nearest(threshold)
    count = taxonomy.num_labels(rank)
    has = parents >= 0  # others skip the rank
    images = np.bincount(parents[has], tally.boxes.images[has], count)
    hits = np.bincount(
        parents[has],
        tally.boxes.largest[has, IOU_THRESHOLDS.index(IOU), place],
        count,
    )
    known_pixels = tally.pixels["mask"].columns()
    pixels = np.zeros((count, known_pixels.shape[1]))
    np.add.at(pixels, parents[has], known_pixels[has])
    px = pxap_of(pixels)
    columns = {name: tally.column(name) for name in ("pointing", *SHARES)}
    known = {"images_with_box": "box_area", "images_with_mask": "mask_area"}
    header = ("taxon", "images", "max_box_acc", "px_ap", *columns, *known)
    rows = []
    for label, name in enumerate(taxonomy.names(rank)):
        own = groups == label
        if not own.any():
            continue
        right = float(hits[label] / images[label]) if images[label] else None
        means = [_mean(values[own]) for values in columns.values()]
        counts = [int(np.isfinite(columns[name][own]).sum()) for name in known.values()]
        rows.append([name, int(own.sum()), right, float(px[label]), *means, *counts])
    return header, rows


def _thresholds(tally: Tally, version: int) -> tuple[float, ...]:
    if version == 1:
        return (tally.boxes.max_box_acc(IOU)[1],)
    return tally.boxes.max_box_acc_v2()[1]


def _accuracy(boxes, picks, version, options):
    """Value and interval of MaxBoxAcc or V2 at thresholds; None: at the best ones,
    which are selected again on each resample, as on the sample."""
    ious = (IOU,) if version == 1 else IOU_THRESHOLDS
    places = picks and [boxes.nearest(pick) for pick in picks]
    figure = functools.partial(box_accuracy, places=places, ious=len(ious))
    kept = boxes.images > 0
    table = boxes.columns(version == 2, ious)[kept]
    if options is None:
        return float(figure(table.sum(0)[None])[0]), None, None
    taxa, images = np.arange(len(table)), boxes.images[kept]
    found = resampling.of_sums(table, taxa, figure, weights=images, **options)
    return found.value, found.low, found.high


def _pxap(tally, control, kind, options):
    """Value, interval, control, prevalence and images; None without such truth."""
    counts = tally.pixels[kind]
    if not counts.inside.sum():
        return None
    kept = counts.columns().any(axis=1)
    found = resampling.of_sums(
        counts.columns()[kept],
        np.arange(kept.sum()),
        pxap_of,
        weights=counts.inside[kept].sum(axis=1),
        **options,
    )
    other = control.pixels[kind].pxap()
    images = int(np.isfinite(tally.column(f"energy_in_{kind}")).sum())
    span = found.low, found.high
    return [counts.pxap(), *span, other, counts.prevalence(), images]


def _mean(values):
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None
