"""--mode=localize: evaluates the localization of maps with boxes and masks.

Maps are computed for whole images, resized without a crop. The threshold that converts
a map to a box is selected on the validation split. The tables also have the result for
the best threshold on the reported split (an oracle). Each combination of rank, target
and layer has its own folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import runtime, tables, wording
from hiercam_keras.cam import heatmaps, profiles, store
from hiercam_keras.data import decode
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation import ground_truth
from hiercam_keras.evaluation.ground_truth import Marked
from hiercam_keras.evaluation.localization import Scored, score_store, whole
from hiercam_keras.modes import detected, localize_coco, localize_tables
from hiercam_keras.modes.load import RunData, config_of, find_runs, open_run
from hiercam_keras.modes.localize_question import folder_of, in_words, target_name
from hiercam_keras.modes.make_maps import make_maps, question_of
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import localization as figures
from hiercam_keras.runs import network as networks
from hiercam_keras.taxonomy.tree import Taxonomy

ORACLE = (
    "oracle: the threshold is the best one for the reported images themselves, so the "
    "value is an upper bound for new images"
)
CONTROL = (
    "center_gaussian: the same for a Gaussian in the middle of every image, which "
    "ignores the image"
)
# By where the threshold is from.
_MARKS = {"val": "chosen on val", "oracle": "oracle: best for these images"}


def run(settings: Settings) -> str:
    """Scores the maps of a run's split or of localize.maps; returns the report."""
    if settings.config.localize.maps:
        return _score_given(settings)
    (this,) = find_runs(settings, [settings.rank])
    detected.check_whole(config_of(settings, this))
    data = open_run(settings, this)
    options = data.config.localize
    question = question_of(settings.target, settings.target_rank, data)
    marked = ground_truth.of_run(data, settings.split)
    choosing = {}
    if settings.split != "val" and data.has_images("val"):
        choosing = ground_truth.of_run(data, "val", must=False)
    devices = settings.config.distribution.devices
    runtime.start(data.config.seed, data.config.model.dtype, devices)
    network = networks.load(data.run, data.config)
    maps = {
        split: make_maps(network, data, split, question, layout="localization")[0]
        for split in ([settings.split, "val"] if choosing else [settings.split])
    }
    folder = maps[settings.split]
    target = target_name(question, data)
    name = folder_of(question, target, network.finest)
    out = this.results / "localize" / settings.split / name
    info = {"run": str(this.path), "split": settings.split, "maps": str(folder)}
    info |= {"method": question.method, "rank": question.rank}
    info |= {"target": target, "score": data.config.cam.score}
    info |= {"layer": data.config.cam.layer, "seed": data.config.seed}
    return _report(
        Path(settings.out or out),
        (folder, marked),
        (maps["val"], choosing) if choosing else None,
        _taxonomy_of(data, marked, choosing),
        options,
        info,
        data.in_words(settings.split),
        data.taxonomy.names(question.rank),
    )


def _taxonomy_of(data: RunData, *marked: Mapping[str, Marked]) -> Taxonomy:
    """The taxonomy for groups: that of the data, or of the images for unknown taxa."""
    lineages = [one.lineage for several in marked for one in several.values()]
    if not data.may_lack_taxa and not any(one.is_partial for one in lineages):
        return data.taxonomy
    found = Taxonomy(map(whole, lineages))
    return found.with_common_names(data.source.common_names)


def _score_given(settings: Settings) -> str:
    """Scores the map store of localize.maps, without a run."""
    options = settings.config.localize
    if not options.metadata:
        raise UserError(
            "localize.maps needs localize.metadata: the folder with image_ids.txt, "
            "image_sizes.txt and localization.txt of those images."
        )
    marked, roles = ground_truth.of_metadata(options)
    taxonomy = Taxonomy(whole(one.lineage) for one in marked.values())
    choosing = None
    if options.val_maps:
        choosing = Path(options.val_maps), _of_role(marked, roles, "val")
    reported = _of_role(marked, roles, settings.split)
    folder = Path(options.maps)
    meta = store.open(folder).meta
    info = {"split": settings.split, "maps": str(folder), "seed": settings.config.seed}
    info |= {"method": meta["identity"].get("method", "unknown")}
    info |= {"target": ", ".join(meta["targets"][:1])}
    out = Path(settings.out or folder / "localize")
    among = f"the {settings.split} split"
    if len(reported) == len(marked):
        among = "all images"
    return _report(out, (folder, reported), choosing, taxonomy, options, info, among)


def _of_role(
    marked: Mapping[str, Marked], roles: Mapping[str, str | None], role: str
) -> dict[str, Marked]:
    """The images of a role (split); all images if the metadata has no roles."""
    if set(roles.values()) == {None}:
        return dict(marked)
    found = {name: one for name, one in marked.items() if roles[name] == role}
    if not found:
        there = sorted({str(roles[name]) for name in marked})
        raise UserError(
            f"the metadata have no boxes or masks for the split {role}, only for "
            f"{', '.join(there)}: use --split={there[0]}."
        )
    return found


def _report(
    out: Path,
    scored_maps: tuple[Path, Mapping[str, Marked]],
    choosing: tuple[Path, Mapping[str, Marked]] | None,
    taxonomy: Taxonomy,
    options: Any,
    info: Mapping[str, Any],
    among: str,
    names: Sequence[str] = (),
) -> str:
    """Scores the maps, writes all files to `out`, and returns the report.

    Args:
      out: folder.
      scored_maps: store of the maps, and the truth of their images by example id.
      choosing: the same of the images that choose the threshold, if any.
      taxonomy: of the groups.
      options: the config's `localize`.
      info: for localization.json.
      among: the images in words, as in "the test split".
      names: of the labels that the maps are of; empty if unknown.
    """
    chosen = _choosing(choosing, taxonomy, options)
    source = chosen or score_store(
        *scored_maps, taxonomy, options, name="find threshold"
    )
    threshold, rule = 0.0, "no boxes"
    if source.tally.has_boxes:
        threshold = source.tally.boxes.max_box_acc(localize_tables.IOU)[1]
        rule = "val" if chosen else "oracle"
    scored = score_store(*scored_maps, taxonomy, options, threshold)
    rows = localize_tables.figures(scored, chosen, options.resamples, info["seed"])
    info = {**info, "threshold": threshold, "threshold_from": rule}
    info |= {"profile": options.profile, "size": options.size}
    marked = scored_maps[1]
    localize_tables.write(out, rows, scored, marked, taxonomy, threshold, info)
    if scored.tally.has_boxes:
        localize_coco.write(out, scored_maps[0], scored, marked, info, names)
    curves = localize_tables.curves_of(scored)
    if curves:
        title = f"{in_words(info)}, {wording.count(len(scored.example_ids), 'image')}"
        figures.save_threshold_curves(
            out / "curve.png",
            scored.tally.thresholds,
            curves,
            {_MARKS[rule]: threshold},
            title,
        )
    _draw(out, scored_maps[0], scored, marked, taxonomy, options, names)
    ranks = taxonomy.finest
    notes = [ORACLE] if curves else []
    return "\n".join(
        [
            f"{in_words(info)}: {wording.count(len(scored.example_ids), 'map')} of "
            f"{among}, {scored.degenerate} of them without a heatmap; 95 % intervals "
            f"over {ranks}",
            tables.format_table(localize_tables.HEADER, rows),
            *notes,
            CONTROL,
            f"boxes at threshold {threshold:.3f} ({rule}), tables, figures: {out}",
        ]
    )


def _choosing(
    choosing: tuple[Path, Mapping[str, Marked]] | None,
    taxonomy: Taxonomy,
    options: Any,
) -> Scored | None:
    """Scores of the maps used to select thresholds; None if none has a box."""
    chosen = None
    if choosing is not None:
        chosen = score_store(*choosing, taxonomy, options, name="choose threshold")
    if chosen is None or not chosen.tally.has_boxes:
        logging.warning(
            "no validation image has a box, so the threshold is the best one for the "
            "reported images (an oracle): on new images boxes are right less often"
        )
        return None
    return chosen


def _draw(
    out: Path,
    folder: Path,
    scored: Scored,
    marked: Mapping[str, Marked],
    taxonomy: Taxonomy,
    options: Any,
    names: Sequence[str],
) -> None:
    """Writes pictures.png: images evenly spaced in order of IoU, best to worst."""
    there = [i for i, one in enumerate(scored.example_ids) if _has_pixels(marked[one])]
    iou = scored.tally.column("iou")
    there.sort(key=lambda i: -np.nan_to_num(iou[i]))
    if not there or options.num_pictures < 1:
        return
    steps = np.linspace(0, len(there) - 1, min(options.num_pictures, len(there)))
    maps, pictures = store.open(folder), []
    for i in (there[round(step)] for step in steps):
        one = scored.example_ids[i]
        _, image = decode.examine(marked[one].path)
        # Boxes refer to the size in the ground truth; the image may be a resized copy.
        about = marked[one]
        said = (about.width or image.width, about.height or image.height)
        scale = np.tile(np.array(image.size) / np.array(said), 2)
        heat = profiles.postprocess(
            maps.get(one).cam[:1], options.size, options.profile
        )
        entry = maps.get(one)
        flat = bool(heatmaps.is_degenerate(entry.cam[:1])[0])
        pictures.append(
            figures.BoxPicture(
                np.asarray(image),
                heat[0],
                np.reshape(about.boxes, (-1, 4)) * scale,
                scored.boxes[i] * scale,
                float(iou[i]),
                taxonomy.titles(taxonomy.finest)[scored.tally.rows[i].group],
                flat,
                names[int(entry.label[0])] if names else "",
            )
        )
    figures.save_box_sheet(out / "pictures.png", pictures)


def _has_pixels(marked: Marked) -> bool:
    return marked.path is not None and marked.path.is_file()
