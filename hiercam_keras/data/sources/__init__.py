"""Data room: where records come from."""

import dataclasses
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras.data import index as index_lib
from hiercam_keras.data.prepare_report import PrepareReport
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import annotations, image_folder
from hiercam_keras.errors import UserError

NAMES = ("image_folder", "synthetic_birds")


@dataclasses.dataclass(frozen=True)
class Source:
    """The images of one data set.

    Attributes:
      name: names its run folders.
      root: the folder that was read.
      records: sorted by example_id.
      evidence: rank -> (part, label in the part images), where the data set knows.
      report: what `prepare` found.
    """

    name: str
    root: Path
    records: tuple[Record, ...]
    evidence: annotations.Evidence | None
    report: PrepareReport


def load(
    data_config: Any,
    data_dir: str | None = None,
    cache_dir: str | Path | None = None,
    name: str | None = None,
) -> Source:
    """Reads a data set, looking at each new or changed file once (`index`).

    Args:
      data_config: the config's `data`: source, root, workers, cache_dir, synthetic.
      data_dir: an image folder, which beats the config's.
      cache_dir: where indexes lie; default: the config's, else the user's cache.
      name: the config's name, given to its own data; a `data_dir` has its own name.

    Raises:
      UserError: the source is unknown, or its folder cannot be used.
    """
    cache = Path(cache_dir or data_config.get("cache_dir") or index_lib.user_cache())
    if data_dir:
        root, name = Path(data_dir).expanduser(), data_name(data_dir)
    else:
        root = _own_root(data_config)
        name = name or data_name(root)
    records, evidence, report = image_folder.read(
        root, cache, int(data_config.get("workers", 0))
    )
    if report.counts["unreadable"]:
        example_id, reason = report.unreadable[0]
        logging.warning(
            "%d of %d image files are left out (%s: %s%s)",
            report.counts["unreadable"],
            report.num_files,
            example_id,
            reason,
            ", ..." if report.counts["unreadable"] > 1 else "",
        )
    return Source(name, root, tuple(records), evidence, report)


def data_name(data_dir: str | Path) -> str:
    """The folder's name and 6 hex digits of its path's SHA-1."""
    return index_lib.folder_key(Path(data_dir).expanduser())


def _own_root(data_config):
    """The folder of a config without --data_dir; embedded data are made if missing."""
    source = data_config.source
    if source not in NAMES:
        raise UserError(f"data.source is {source!r}: use one of {', '.join(NAMES)}.")
    if not data_config.root:
        raise UserError(
            "no images were given: use --data_dir=/path/to/class_folders, or "
            "--config=configs/synthetic_birds.py for the embedded birds."
        )
    root = Path(data_config.root).expanduser()
    if source == "synthetic_birds":
        from hiercam_keras.data.sources import embedded

        embedded.ensure(root, data_config.synthetic)
    return root
