"""Ground truth of objects, from records of a data set or from metadata files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from hiercam_keras import wording
from hiercam_keras.data import geometry
from hiercam_keras.data.records import Box, Record
from hiercam_keras.data.sources import choe_metadata
from hiercam_keras.data.sources.annotations import read_labels
from hiercam_keras.data.sources.choe_metadata_files import Masks, SafeFolder
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.boxes import resize_boxes
from hiercam_keras.metrics.localization import IGNORED
from hiercam_keras.metrics.localization_accumulator import Truth
from hiercam_keras.taxonomy.lineage import Lineage


class Marked(NamedTuple):
    """Ground truth of one image.

    Attributes:
      lineage: of the animal.
      width, height: size in pixels of the image that boxes refer to.
      boxes: x0, y0, x1, y1 in pixels.
      masks: label images, above 0 on the object.
      ignored: a label image, above 0 in regions that are ignored outside the object; or
        None.
      path: of the image; None if it is not available.
    """

    lineage: Lineage
    width: int
    height: int
    boxes: tuple[Box, ...]
    masks: tuple[Path, ...] = ()
    ignored: Path | None = None
    path: Path | None = None


def of_records(records: Sequence[Record]) -> dict[str, Marked]:
    """Ground truth by example id for the records with a box or a mask.

    Those identified only to a coarser rank than others are left out: scores are of the
    finest taxa.
    """
    marked = [one for one in records if one.boxes or one.mask_path]
    known = [one for one in marked if not (one.lineage and one.lineage.is_partial)]
    if len(known) < len(marked):
        logging.info(
            "%s left out: identified only to a coarser rank",
            wording.count(len(marked) - len(known), "image"),
        )
    return {
        one.example_id: Marked(
            one.lineage,
            one.width,
            one.height,
            one.boxes,
            (one.mask_path,) if one.mask_path else (),
            None,
            one.path,
        )
        for one in known
    }


def of_metadata(
    options: Any, lineages: Mapping[str, Lineage] | None = None
) -> tuple[dict[str, Marked], dict[str, str | None]]:
    """Ground truth of `localize.metadata`, and the role (split) of each image.

    Args:
      options: the config's `localize`.
      lineages: of a run's images; they have priority over the labels of the metadata.

    Raises:
      UserError: the folder has no metadata, or neither boxes nor masks.
    """
    found = choe_metadata.read_metadata(options.metadata, options)
    images = SafeFolder(Path(options.images).expanduser()) if options.images else None
    marked = {}
    for name in found.split:
        boxes, masks = found.boxes.get(name, ()), found.masks.get(name)
        if boxes and name not in found.sizes:
            raise UserError(
                f"{options.metadata} has a box but no size of {name!r}: expected a row "
                "in image_sizes.txt."
            )
        if not boxes and masks is None:
            continue
        width, height = found.sizes.get(name, (0, 0))
        paths, ignored = _mask_paths(masks, images, options)
        marked[name] = Marked(
            (lineages or found.lineages).get(name, found.lineages[name]),
            width,
            height,
            boxes,
            paths,
            ignored,
            images.join(name) if images else None,
        )
    if not marked:
        raise UserError(
            f"{options.metadata} has neither boxes nor masks: expected a role with "
            "localization.txt, as val or test (train has none)."
        )
    return marked, dict(found.split)


def of_run(data: Any, split: str, must: bool = True) -> dict[str, Marked]:
    """Ground truth by example id for a run's split, as its config's `localize` says.

    Args:
      data: the run's images; `localize.metadata` has priority over their records.
      split: "train", "val" or "test".
      must: whether images with a box or mask are required.

    Raises:
      UserError: `must` is set and no image has a box or a mask.
    """
    options = data.config.localize
    metadata = options.metadata
    choe = data.config.data.get("choe")
    if not metadata and data.config.data.source == "choe":
        # Records hold no lists of masks, so the metadata files are read.
        metadata = choe.metadata
        options = {**options.to_dict(), **choe.to_dict()}
        options |= {"images": options["images"] or str(data.source.root)}
        options = type(data.config)(options)
    records = {record.example_id: record for record in data.records(split)}
    if metadata:
        lineages = {name: record.lineage for name, record in records.items()}
        found, _ = of_metadata(options, lineages)
        found = {
            name: found[name]._replace(path=record.path)
            for name, record in records.items()
            if name in found
        }
        where = metadata
    else:
        found = of_records(list(records.values()))
        where = data.source.root
    if not found and must:
        raise UserError(
            f"none of the {len(records)} {split} images of {data.run.path} has a box "
            f"or a mask in {where}: put boxes.csv or masks/ next to images/, or name "
            "--config.localize.metadata=/folder in the format of Choe et al."
        )
    return found


def in_map(marked: Marked, size: int) -> Truth:
    """Boxes and mask in pixels of a map of `size` x `size` over the whole image.

    Boxes are truncated to integers, as in the reference evaluator. Masks are sampled at
    pixel centers.
    """
    boxes = np.zeros((0, 4), np.int64)
    if marked.boxes:
        old = marked.width, marked.height
        boxes = resize_boxes(np.array(marked.boxes), old, (size, size))
    if not marked.masks:
        return Truth(boxes, None)
    mask = np.zeros((size, size), np.uint8)
    for path in marked.masks:
        mask[_small(path, size) > 0] = 1
    if marked.ignored is not None:
        mask[(_small(marked.ignored, size) > 0) & (mask == 0)] = IGNORED
    return Truth(boxes, mask)


def check_sizes(marked: Mapping[str, Marked], rows: Mapping[str, np.ndarray]) -> None:
    """Checks that maps and ground truth refer to the same images.

    Args:
      marked: ground truth by example id.
      rows: geometry row of each map, by example id; NaN if unknown.

    Raises:
      UserError: maps show a crop, or image sizes differ (the message says if width and
        height are swapped).
    """
    other, swapped, first = 0, 0, ""
    known = 0
    for name, row in rows.items():
        if not np.isfinite(row).all():
            continue
        place = geometry.Geometry.from_row(row)
        whole = geometry.of(place.width, place.height, place.size, "localization")
        if not np.allclose(whole.to_row(), row, rtol=1e-4, atol=1e-3):
            raise UserError(
                f"the map of {name!r} is of a crop of the image, and an object may be "
                "outside: score maps that --mode=localize has made."
            )
        known += 1
        width, height = marked[name].width, marked[name].height
        size = place.width, place.height
        if width and not geometry.same_shape((width, height), size):
            other += 1
            swapped += geometry.same_shape((height, width), size)
            first = first or (
                f"{name!r} is {width} x {height} there, and {place.width} x "
                f"{place.height} in the map store"
            )
    if other > 0.01 * known:
        why = (
            "width and height are swapped; use --config.localize.size_order=hw, or wh"
            if swapped == other
            else "are the maps of these images?"
        )
        raise UserError(
            f"the sizes of {other} of {known} images differ from the maps' ({first}): "
            f"{why}."
        )


def _mask_paths(masks: Masks | None, images: SafeFolder | None, options: Any):
    if masks is None:
        return (), None
    if images is None:
        raise UserError(
            f"{options.metadata} names masks: name their folder with "
            "--config.localize.images=/folder/of/images/and/masks."
        )
    ignored = images.join(masks.ignored) if masks.ignored else None
    return tuple(images.join(path) for path in masks.objects), ignored


def _small(path: Path, size: int) -> np.ndarray:
    labels = read_labels(path)
    height, width = labels.shape
    where = geometry.of(width, height, size, "localization")
    return geometry.resize_mask(labels, where)
