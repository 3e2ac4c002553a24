"""Writes the observations of a Camtrap DP package again, with those of a network.

All rows that are there are kept, also their unknown columns and their order; rows that
the same network wrote earlier for the same files are replaced. The columns come in the
order of the table schema of version 1.0, as validators demand, unknown ones after them.
"""

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from absl import logging

from hiercam_keras import wording, workdir
from hiercam_keras.exchange.camtrap_dp import OBSERVATIONS, Medium, Package
from hiercam_keras.exchange.camtrap_dp_cells import BOX
from hiercam_keras.exchange.detections import RelativeBox


class Prediction(NamedTuple):
    """What a network says of a file, or of a box in it.

    Attributes:
      medium: the file.
      event: eventID of the event that it is part of; "" if there is none.
      name: scientific name; "" for none of the network's taxa that has one.
      probability: 0..1; None where the network's answer is not believed.
      box: of the animal; None for the whole picture.
      index: of the box in its picture, from 1; 0 for the whole picture.
    """

    medium: Medium
    event: str
    name: str
    probability: float | None
    box: RelativeBox | None = None
    index: int = 0


def write(
    path: str | os.PathLike,
    package: Package,
    predictions: Iterable[Prediction],
    classifier: str,
    now: datetime,
) -> int:
    """Writes the table of observations, atomically and row by row.

    Args:
      path: of the new file.
      package: its observations are kept.
      predictions: to add, as observations of level media.
      classifier: classifiedBy; names the network.
      now: classificationTimestamp, with an offset.

    Returns:
      Number of rows that were kept.

    Raises:
      UserError: the package cannot be read, or the file cannot be written.
    """
    predictions = list(predictions)
    mine = {one.medium.id for one in predictions}
    old = package.header("observations")
    header = [*OBSERVATIONS, *(name for name in old if name not in OBSERVATIONS)]
    kept, lost = 0, 0
    with (
        workdir.atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for cells in package.raw("observations"):
            if len(cells) != len(old):
                lost += 1
                continue
            row = dict(zip(old, cells, strict=True))
            if _is_mine(row, classifier, mine):
                continue
            writer.writerow([row.get(name, "") for name in header])
            kept += 1
        for one in predictions:
            row = _row(one, classifier, now)
            writer.writerow([row.get(name, "") for name in header])
    if lost:
        logging.warning(
            "%s of %s cannot be kept: it is no valid CSV of %d columns",
            wording.count(lost, "row"),
            package.resource("observations").path,
            len(old),
        )
    return kept


def time(moment: datetime) -> str:
    """A time as the schema demands: whole seconds, with an offset."""
    text = moment.isoformat(timespec="seconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _row(one: Prediction, classifier: str, now: datetime) -> dict[str, str]:
    medium = one.medium
    digest = hashlib.sha1(f"{classifier}\0{medium.id}\0{one.index}".encode())
    box = ()
    if one.box is not None:
        x0, y0, x1, y1 = one.box
        box = zip(BOX, _corner(x0, y0, x1, y1), strict=True)
    share = ""
    if one.probability is not None:
        share = f"{min(max(one.probability, 0.0), 1.0):.4f}"
    return {
        "observationID": f"{medium.id}_{digest.hexdigest()[:12]}",
        "deploymentID": medium.deployment,
        "mediaID": medium.id,
        "eventID": one.event,
        "eventStart": time(medium.timestamp.astimezone(UTC)),
        "eventEnd": time(medium.timestamp.astimezone(UTC)),
        "observationLevel": "media",
        "observationType": "animal" if one.name else "unknown",
        "scientificName": one.name,
        "count": "1" if one.box is not None else "",
        "classificationMethod": "machine",
        "classifiedBy": classifier,
        "classificationTimestamp": time(now.astimezone(UTC)),
        "classificationProbability": share,
        **dict(box),
    }


def _corner(x0: float, y0: float, x1: float, y1: float) -> Sequence[str]:
    """x, y, width, height with five decimals, never beyond the edge."""
    units = 100_000
    left, top = round(x0 * units), round(y0 * units)
    right, bottom = round(x1 * units), round(y1 * units)
    sides = left, top, max(right - left, 1), max(bottom - top, 1)
    return [f"{side / units:.5f}" for side in sides]


def _is_mine(row: dict[str, str], classifier: str, media: set[str]) -> bool:
    return (
        row.get("classificationMethod") == "machine"
        and row.get("classifiedBy") == classifier
        and row.get("observationLevel") == "media"
        and row.get("mediaID") in media
    )
