"""Tables of --mode=localize: measures with intervals, by taxon, by image, and boxes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import file_names, tables, workdir
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.localization import IOU_THRESHOLDS, mean_by_group
from hiercam_keras.metrics.localization_accumulator import Tally, pxap_of
from hiercam_keras.modes.localize_scoring import Scored
from hiercam_keras.modes.localize_truth import Marked
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
            for source, rule in ((tally, "oracle"), (chosen, "val")):
                if source is None:
                    continue
                picks = _thresholds(source.tally if rule == "val" else tally, version)
                other = chosen.control if rule == "val" else control
                value, low, high = _accuracy(tally, picks, version, rule, options)
                beside = _accuracy(
                    control, _thresholds(other, version), version, rule, None
                )[0]
                shown = " ".join(f"{pick:.3f}" for pick in picks)
                count = int(tally.boxes.images.sum())
                row = [f"{name} ({rule} threshold)", shown, value, low, high]
                rows.append([*row, beside, None, count])
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
        beside = float(np.nanmean(control.column(field)))
        level = float(np.nanmean(tally.column(chance))) if chance else None
        rows.append(
            [name, "", found.value, found.low, found.high, beside, level, found.n]
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
    place = int(np.abs(tally.thresholds - threshold).argmin())
    count = taxonomy.num_labels(rank)
    images = np.bincount(parents, tally.boxes.images, count)
    hits = np.bincount(
        parents, tally.boxes.largest[:, IOU_THRESHOLDS.index(IOU), place], count
    )
    pixels = np.zeros((2, count, tally.mask_pixels.shape[-1]))
    for row in range(2):
        np.add.at(pixels[row], parents, tally.mask_pixels[row])
    px = pxap_of(*pixels)
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


def _accuracy(tally, picks, version, rule, options):
    """Value and interval of MaxBoxAcc or V2 at thresholds, or at the best ones."""
    ious = (IOU,) if version == 1 else IOU_THRESHOLDS
    counts = tally.boxes.largest if version == 1 else tally.boxes.best
    kept = tally.boxes.images > 0
    images = tally.boxes.images[kept]
    hits = np.stack([counts[kept, IOU_THRESHOLDS.index(iou)] for iou in ious], 1)
    places = [int(np.abs(tally.thresholds - pick).argmin()) for pick in picks]
    table = np.concatenate([images[:, None], hits.reshape(len(hits), -1)], axis=1)

    def figure(sums):
        share = sums[:, 1:].reshape(-1, *hits.shape[1:]) / sums[:, :1, None]
        if rule == "oracle":  # selected again on each resample, as on the sample
            return share.max(axis=2).mean(axis=1)
        at = [share[:, row, place] for row, place in enumerate(places)]
        return np.mean(at, axis=0)

    if options is None:
        return float(figure(table.sum(0)[None])[0]), None, None
    taxa = np.arange(len(table))
    found = resampling.of_sums(table, taxa, figure, weights=images, **options)
    return found.value, found.low, found.high


def _pxap(tally, control, kind, options):
    """Value, interval, control, prevalence and images; None without such truth."""
    counts, other = tally.pixels(kind), control.pixels(kind)
    if not counts.inside.sum():
        return None
    table = tally.mask_pixels if kind == "mask" else tally.box_pixels
    kept = table.sum(axis=(0, 2)) > 0
    inside, outside = table[:, kept]
    found = resampling.of_sums(
        np.concatenate([inside, outside], axis=1),
        np.arange(kept.sum()),
        lambda sums: pxap_of(*np.split(sums, 2, axis=1)),
        weights=inside.sum(axis=1),
        **options,
    )
    images = int(np.isfinite(tally.column(f"energy_in_{kind}")).sum())
    return [
        counts.pxap(),
        found.low,
        found.high,
        other.pxap(),
        counts.prevalence(),
        images,
    ]


def _mean(values):
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None
