"""Overlays of a map store, sorted into coherent, incoherent and undecided ones.

    <store>/overlays/coherent/<class dir>/x.jpg     and so on for the other two
    <store>/overlays/coherence.csv                  what each verdict rests on

Overlays are drawn from the store, so a later call can add overlays of existing maps.
Existing files are not drawn again; if thresholds change, they are moved.
`file_names.image_path` names the files; --out selects another folder.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras import file_names, tables, workdir
from hiercam_keras.cam import heatmaps, store
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.measures import MEASURES
from hiercam_keras.evaluation.tabulate import HasLabels, stored, tabulate
from hiercam_keras.metrics import coherence
from hiercam_keras.modes import whole_pictures
from hiercam_keras.modes.faithful import Rows
from hiercam_keras.modes.load import RunData
from hiercam_keras.report import overlay, whole

_HEADER = ("example_id", "coherence", "coherence_basis", "excess", "gain")


def thresholds_of(config: Any) -> coherence.Thresholds:
    """Thresholds of `config.coherence`; raises UserError if they are contradictory."""
    try:
        return coherence.Thresholds(
            min_excess=config.min_excess,
            max_stray=config.max_stray,
            min_gain=config.min_gain,
            max_loss=config.max_loss,
        )
    except ValueError as error:
        raise UserError(f"config.{error}.") from error


def draw(
    folder: Path,
    records: Sequence[Record],
    data: RunData,
    thresholds: coherence.Thresholds,
    faithfulness: Rows | None = None,
    out: Path | None = None,
) -> dict[str, int]:
    """Sorts and writes the overlays of the records that have a map.

    Args:
      folder: of the map store.
      records: of the images to draw.
      data: the run's images.
      thresholds: of the verdicts.
      faithfulness: values by example_id and name, where measured.
      out: folder of the overlays; by default inside that of the map store.

    Returns:
      Number of overlays by verdict.
    """
    maps = store.open(folder)
    # In the store's folder, which is named by all that a map depends on, overlays that
    # exist are those of its maps.
    again = out is not None
    out = out or folder / "overlays"
    records = [record for record in records if record.example_id in maps]
    if not records:
        return dict.fromkeys(coherence.VERDICTS, 0)
    found = sort_maps(maps, records, data.truth, thresholds, faithfulness or {})
    paths = {}
    for record, verdict in zip(records, found.verdict, strict=True):
        paths[record.example_id] = _settle(
            out, record.example_id, verdict, data.config.cam.overlay_format
        )
    todo = [one for one in records if again or not paths[one.example_id].exists()]
    if todo:
        _draw(maps, todo, data, paths)
    columns = (found.verdict, found.basis, found.excess, found.gain)
    rows = [
        [record.example_id, *values]
        for record, *values in zip(records, *columns, strict=True)
    ]
    tables.write_csv(out / "coherence.csv", _HEADER, rows)
    return found.counts()


def sort_maps(
    maps: store.Reader,
    records: Sequence[Record],
    taxonomy: HasLabels,
    thresholds: coherence.Thresholds,
    faithfulness: Rows,
) -> coherence.Coherence:
    """The verdict on the first map of each record, in order."""
    table = tabulate(
        stored({"map": (maps, 0)}, records),
        taxonomy,
        {"map": maps.ranks[0]},
        measured={name: MEASURES[name].compute for name in ("energy_on_object",)},
    )
    gains = [
        [
            faithfulness.get(record.example_id, {}).get(name, np.nan)
            for record in records
        ]
        for name in ("deletion_gain", "insertion_gain")
    ]
    return coherence.coherence(
        table.of("degenerate", "map"),
        table.of("energy_on_object", "map"),
        table.pictures["object_area"],
        *gains,
        thresholds=thresholds,
    )


def _settle(out: Path, example_id: str, verdict: str, suffix: str) -> Path:
    """Path of an overlay; moves an existing file from the folder of another verdict."""
    name = file_names.image_path(example_id, f".{suffix}")
    path = out / verdict / name
    for other in coherence.VERDICTS:
        old = out / other / name
        if other != verdict and old.exists():
            workdir.make_dir(path.parent)
            old.replace(path)
    return path


def _draw(
    maps: store.Reader, todo: list[Record], data: RunData, paths: dict[str, Path]
) -> None:
    size = data.config.data.image_size
    by_id = {record.example_id: record for record in todo}
    with ThreadPoolExecutor() as pool:
        for batch, rows in data.batches(todo, "overlays"):
            entries = [maps.get(batch.example_ids[row]) for row in rows]
            heat = heatmaps.heatmap(np.stack([one.cam[0] for one in entries]), size)
            places = [paths[one.example_id] for one in entries]
            flat = [bool(one.degenerate[0]) for one in entries]
            seen = [
                Seen(by_id[batch.example_ids[row]], batch.images[row], row_)
                for row, row_ in zip(rows, batch.geometry[rows], strict=True)
            ]
            # The list makes errors of the threads propagate here.
            list(pool.map(_write, places, seen, heat, flat))


class Seen(NamedTuple):
    """An example: its record, the model's input and the geometry."""

    record: Record
    image: np.ndarray
    geometry: np.ndarray


def _write(path: Path, seen: Seen, heat: np.ndarray, degenerate: bool) -> None:
    """Writes an overlay; that of a crop is in the whole picture."""
    if seen.record.crop is None:
        drawn = overlay.overlay(seen.image, heat, degenerate=degenerate)
    else:
        picture = whole_pictures.of(seen.record, seen.geometry)
        drawn = whole.draw(picture, heat, degenerate)
    overlay.save_image(path, drawn)
