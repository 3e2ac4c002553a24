"""COCO and COCO Camera Traps: pictures with the categories of their annotations.

A picture has the category of its annotations, with and without a box, if it is a single
one; categories are names, as in scientific_name of a lineage table. Its group is the
sequence, else the location (data.groups: seq_id, location).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hiercam_keras.cache_folder import expanded
from hiercam_keras.data import detection_files, grouping
from hiercam_keras.data.sources import observed
from hiercam_keras.data.sources.name_lineages import Named
from hiercam_keras.data.sources.observed import Picture
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import coco, detections
from hiercam_keras.exchange.coco import GROUPS
from hiercam_keras.exchange.detections import RelativeBox


def read_source(request: Request) -> Reading:
    """The images of a COCO file in data.table or --data_dir, with its pictures in
    --data_dir, data.root or the folder of the file.

    Raises:
      UserError: there is no such file, too many of its rows cannot be read, or no
        picture is there with a lineage.
    """
    place = Path(request.place) if request.place else None
    named = request.config.get("table", "")
    if place is not None and place.is_file():
        table, root = place, place.parent
    elif named:
        table = expanded(named)
        root = place or table.parent
    else:
        raise UserError(
            "no COCO file was given: use --data_dir=FOLDER for the pictures, and "
            "--config.data.table=FILE.json for the annotations."
        )
    document = detection_files.document_of(table)
    if not coco.is_document(document):
        raise UserError(
            f"{table} has no labels: expected COCO JSON, with images, annotations and "
            "categories. Files of a detector are for --detections."
        )
    found = coco.read(document, table)
    choice = grouping.Choice.of(request.config)
    by = choice.column_of(GROUPS, (), str(table))
    groups = found.groups if by is None else coco.groups(document, by)
    boxes: dict[str, list[RelativeBox]] = {}
    for one in found.detections:
        if one.kind == detections.ANIMAL:
            boxes.setdefault(one.file, []).append(one.box)
    labels, credits = coco.labels(document), coco.licences(document)
    pictures = [
        _picture(number, photo, labels, groups, boxes, credits)
        for number, photo in enumerate(found.photos, 1)
    ]
    return observed.read_pictures(
        pictures,
        root,
        table.name,
        request,
        found.rows,
        table,
        GROUPS,
        coco.common_names(document),
    )


def _picture(
    number: int,
    photo: str,
    labels: Mapping[str, tuple[str, ...]],
    groups: Mapping[str, str],
    boxes: Mapping[str, Any],
    credits: Mapping[str, str],
) -> Picture:
    names = labels.get(photo, ())
    animals = {name for name in names if detections.kind_of(name) == detections.ANIMAL}
    why = ""
    if not names:
        why = "without an annotation"
    elif not animals:
        why = f"no animal: {detections.kind_of(names[0])}"
    elif len(animals) > 1:
        why = "several taxa in one picture"
    named = None if why else Named(animals.pop().replace("_", " "))
    return Picture(
        number,
        photo,
        named,
        why,
        groups.get(photo),
        tuple(boxes.get(photo, ())),
        credits.get(photo, ""),
    )
