"""Records of procedural birds with one part exchanged, drawn if they are missing."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras.cache_folder import expanded
from hiercam_keras.data.records import Record

SEED = 0  # of the choice among donors
HABITAT = "habitat"


@dataclass(frozen=True)
class Exchanged:
    """One picture with a part exchanged.

    Attributes:
      record: of the picture; its example_id is that of the whole bird with the part.
      of: example_id of the bird with nothing exchanged.
      part, how: as in `birds.interventions`.
      donor: name of the taxon that gave the form; "" if the part is removed.
    """

    record: Record
    of: str
    part: str
    how: str
    donor: str


@dataclass(frozen=True)
class Drawn:
    """Birds and their exchanged pictures.

    Attributes:
      plain: of the N birds with nothing exchanged, lossless, with their parts.
      exchanged: of the others; none of a bird without a taxon that could give a form.
      labels: part -> its label in the part images; the habitat has that of the
        background; the whole bird and its placement have none.
      digest: of everything that decides the pixels.
    """

    plain: tuple[Record, ...]
    exchanged: tuple[Exchanged, ...]
    labels: dict[str, int]
    digest: str


def draw(config: Any, records: Sequence[Record]) -> Drawn:
    """Draws every exchange of some birds; those on disk are kept.

    Args:
      config: the config's `data`: root and synthetic. The files are in a folder next to
        the root, with "-exchanged" at its end.
      records: of the birds, in the data set of these settings.

    Raises:
      UserError: the folder holds the birds of other settings, or cannot be written.
    """
    # Imported late: few modes draw.
    from hiercam_keras import birds
    from hiercam_keras.birds.draw import PARTS as LABELS
    from hiercam_keras.birds.interventions import PARTS, WHOLE

    root = Path(os.path.abspath(expanded(config.root)))  # "." has no name
    folder = root.with_name(f"{root.name}-exchanged")
    ids = [record.example_id for record in records]
    logging.info("Drawing %d birds with a part exchanged, those missing", len(ids))
    table = birds.write_interventions(
        folder, dict(config.synthetic), ids, seed=SEED, parts=(*PARTS, *WHOLE)
    )
    rows = birds.read_interventions(table)
    by_id = {record.example_id: record for record in records}
    plain, exchanged = {}, []
    digest = hashlib.sha256((folder / "interventions.json").read_bytes())
    for row in rows:
        record = by_id[row.example_id]
        if row.example_id not in plain:
            plain[row.example_id] = dataclasses.replace(
                record,
                path=folder / row.original,
                parts_path=folder / row.original_parts,
            )
        if not row.donor and (row.how != "removed" or not row.changed):
            continue
        digest.update(repr((row.example_id, row.part, row.how, row.donor)).encode())
        name = f"{row.example_id}#{row.part}-{row.how}"
        other = dataclasses.replace(
            record, example_id=name, path=folder / row.path, parts_path=None
        )
        exchanged.append(Exchanged(other, row.example_id, row.part, row.how, row.donor))
    labels = {name: label for label, name in enumerate(LABELS) if label}
    return Drawn(
        tuple(plain.values()),
        tuple(exchanged),
        labels | {HABITAT: 0},
        digest.hexdigest()[:16],
    )
