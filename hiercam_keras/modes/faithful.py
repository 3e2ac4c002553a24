"""Faithfulness of the maps of some images, stored in the folder of the map store.

Each image takes dozens of forward passes, so results are written as they are measured,
and a later call measures only missing images. The file name depends on the choices and
the columns, so results of other settings are never reused.
"""

import functools
import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.faithfulness import measure_batch
from hiercam_keras.metrics.faithfulness.measure import NAMES, Choices
from hiercam_keras.modes.load import RunData

_HEADER = ("example_id", *NAMES)
_WRITE_SECONDS = 20.0

Rows = dict[str, dict[str, float]]


def choices_of(config: Any) -> Choices:
    """`config.faithfulness` as choices.

    Raises:
      UserError: a value is invalid.
    """
    shares = tuple(config.road_shares)
    if any(not 0 < share < 1 for share in shares):
        raise UserError(
            f"config.faithfulness.road_shares={shares}, expected shares above 0 and "
            "below 1."
        )
    if config.steps < 2:
        raise UserError(
            f"config.faithfulness.steps={config.steps}, expected at least 2."
        )
    if config.regions < 0 or config.region_side < 1:
        raise UserError(
            f"config.faithfulness.regions={config.regions} of {config.region_side} px, "
            "expected 0 or more, of at least 1 px."
        )
    fills = ("mean", "blur", "random")
    for name, known in (
        ("deletion_fill", fills),
        ("insertion_fill", fills),
        ("region_fill", fills),
        ("score", ("probability", "log_odds")),
    ):
        if config[name] not in known:
            raise UserError(
                f"config.faithfulness.{name}={config[name]!r}, expected "
                f"{', '.join(known)}."
            )
    return Choices(
        steps=config.steps,
        deletion_fill=config.deletion_fill,
        insertion_fill=config.insertion_fill,
        road_shares=shares,
        regions=config.regions,
        region_side=config.region_side,
        region_fill=config.region_fill,
        score=config.score,
        min_range=config.min_range or None,
    )


def measured(
    scorer: Scorer,
    data: RunData,
    folder: Path,
    records: Sequence[Record],
    choices: Choices,
) -> Rows:
    """Faithfulness of the first target's maps.

    Args:
      scorer: of the explained model.
      data: the run's images.
      folder: of the map store.
      records: of the images; those without a map are skipped.
      choices: settings of the measurement.

    Returns:
      Values by example_id and name, NaN if unknown (see `faithfulness.measure`).
    """
    maps = store.open(folder)
    path = folder / f"faithfulness-{_key(choices)}.csv"
    rows = _read(path)
    wanted = [record for record in records if record.example_id in maps]
    todo = [record for record in wanted if record.example_id not in rows]
    if todo:
        _measure(scorer, data, maps, todo, choices, rows, path)
        # Rounded to six digits, as a later call reads them.
        rows = _read(path)
    found = [record.example_id for record in wanted if record.example_id in rows]
    return {example_id: rows[example_id] for example_id in found}


def _measure(scorer, data, maps, todo, choices, rows, path) -> None:
    rank = maps.ranks[0]
    written = time.monotonic()
    for batch, shown in data.batches(todo, "faithfulness"):
        entries = [maps.get(example_id) for example_id in batch.example_ids]
        targets = scorer.rows([entry.label[0] for entry in entries], rank, data.score)
        found = measure_batch(
            functools.partial(scorer, rows=targets),
            batch.images,
            np.stack([entry.cam[0] for entry in entries]),
            batch.example_ids,
            choices,
        ).numbers
        for row in shown:
            values = dict.fromkeys(NAMES, math.nan)
            values |= {name: float(found[name][row]) for name in found}
            rows[batch.example_ids[row]] = values
        if time.monotonic() - written > _WRITE_SECONDS:
            _write(path, rows)
            written = time.monotonic()
    _write(path, rows)


def _key(choices: Choices) -> str:
    text = json.dumps([NAMES, vars(choices)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _read(path: Path) -> Rows:
    if not path.exists():
        return {}
    columns = tables.read_csv(path)
    if set(columns) != set(_HEADER):
        raise UserError(
            f"{path} has the columns {', '.join(columns)}, expected "
            f"{', '.join(_HEADER)}. Delete it."
        )
    return {
        example_id: {name: float(columns[name][i] or "nan") for name in NAMES}
        for i, example_id in enumerate(columns["example_id"])
    }


def _write(path: Path, rows: Rows) -> None:
    tables.write_csv(path, _HEADER, [{"example_id": k, **v} for k, v in rows.items()])
