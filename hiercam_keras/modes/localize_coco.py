"""Boxes from maps as COCO JSON, which annotation programs read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hiercam_keras import workdir
from hiercam_keras.cam import store
from hiercam_keras.exchange import coco
from hiercam_keras.modes.localize_scoring import Scored
from hiercam_keras.modes.localize_truth import Marked

FILE = "boxes.json"


def write(
    out: Path,
    folder: Path,
    scored: Scored,
    marked: Mapping[str, Marked],
    info: Mapping[str, Any],
    names: Sequence[str] = (),
) -> Path:
    """Writes the predicted boxes; maps without a heatmap have none.

    The category of a box is the taxon that its map explains, and its score is the
    probability of that taxon.

    Args:
      out: folder of the file.
      folder: of the map store.
      scored: with the boxes, in pixels of the original images.
      marked: sizes of the images by example id.
      info: on the boxes (method, threshold), for the file's `info`.
      names: of the labels that the maps are of; empty if unknown.
    """
    maps = store.open(folder)
    boxes = []
    for example_id, box in zip(scored.example_ids, scored.boxes, strict=True):
        about, one = marked[example_id], maps.get(example_id)
        x0, y0, x1, y1 = (float(edge) for edge in box)
        if one.degenerate[0] or not (x1 > x0 and y1 > y0):
            continue
        label = int(one.label[0])
        lineage = maps.lineage(maps.ranks[0], label)
        boxes.append(
            coco.Box(
                example_id,
                about.width,
                about.height,
                (x0, y0, x1, y1),
                names[label] if names else lineage.rpartition("/")[2],
                float(one.probability[0]),
                {"lineage": lineage},
            )
        )
    shown = ("method", "rank", "target", "layer", "threshold", "threshold_from")
    kept = {name: info[name] for name in shown if name in info}
    about_boxes = {"description": "boxes of regions of heatmaps", **kept}
    path = out / FILE
    workdir.write_json(path, coco.add_boxes(boxes, info=about_boxes))
    return path
