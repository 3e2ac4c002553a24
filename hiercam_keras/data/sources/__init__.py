"""Data sources: readers of data sets.

Every source is a module with a `read_source` (see `reading.SourceModule`). It is
imported only if a config names it, so one source may need TensorFlow and the others
not.
"""

import dataclasses
import hashlib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import file_names
from hiercam_keras.cache_folder import cache_folder, expanded
from hiercam_keras.data import grouping, suffixes
from hiercam_keras.data import index as index_lib
from hiercam_keras.data.prepare_report import PrepareReport
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import annotations, common_names, occurrences
from hiercam_keras.data.sources.credits import read_credits
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import camtrap_dp, darwin_core
from hiercam_keras.taxonomy import partial
from hiercam_keras.taxonomy.ranks import check_rank
from hiercam_keras.taxonomy.source import TaxonomySource
from hiercam_keras.taxonomy.translation import Translation

# data.source -> its module in this folder.
MODULES = {
    "image_folder": "image_folder",
    "synthetic_birds": "synthetic_source",
    "choe": "choe_metadata",
    "csv_table": "csv_table",
    "inat2021": "inat2021",
    "cub200": "tfds_cub200",
    "tfds_birds": "tfds_inat2021",
    "camtrap_dp": "camtrap_package",
    "darwin_core": "occurrences",
    "inaturalist": "occurrences",
    "coco": "coco_images",
}
EXCHANGED = (
    "camtrap_dp",
    "darwin_core",
    "inaturalist",
    "coco",
)  # tables of observations
AUTO = "auto"
NAMES = (*MODULES, AUTO)
PARTIAL = ("keep", "drop")  # values of data.partial
_TABLES = (".csv", ".tsv", ".txt")
_JSON = ".json"
# They read existing files.
_FOLDERS = ("image_folder", "inat2021", "csv_table", *EXCHANGED)


@dataclasses.dataclass(frozen=True)
class Source:
    """The images of one data set.

    Attributes:
      name: names its run folders.
      root: the folder that was read.
      records: sorted by example_id.
      evidence: rank -> (part, label in the part images), or None if unknown.
      report: of the scan of the files.
      stated: author and licence by example_id, as the data set's tables state them.
      cropped: on crops of detected animals, for a person; "" for whole images.
      detections: digest of the file of detections, see `DetectionFile.digest`; "" for
        whole images.
      translation: of the lineages into another taxonomy; None if they are as the data
        set has them.
      common_names: of taxa by lineage prefix, see `common_names`.
    """

    name: str
    root: Path
    records: tuple[Record, ...]
    evidence: annotations.Evidence | None
    report: PrepareReport
    stated: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cropped: str = ""
    detections: str = ""
    common_names: Mapping[tuple[str, ...], str] = dataclasses.field(
        default_factory=dict
    )
    translation: Translation | None = None

    @property
    def taxonomy(self) -> TaxonomySource | None:
        """The published taxonomy of the lineages; None if it is not known."""
        return None if self.translation is None else self.translation.table.about

    def credits(self) -> dict[str, str]:
        """Author and licence by example_id, also of an attribution.csv."""
        return {**self.stated, **self._listed()}

    def _listed(self) -> dict[str, str]:
        """Of the attribution.csv; a crop has that of its picture."""
        found = read_credits(self.root)
        for record in self.records if self.cropped else ():
            picture = record.example_id.rpartition("#")[0]
            if picture in found:
                found[record.example_id] = found[picture]
        return found


def load(
    data_config: Any,
    data_dir: str | None = None,
    cache_dir: str | Path | None = None,
    name: str | None = None,
    unlabelled: bool = False,
) -> Source:
    """Reads a data set, scanning each new or changed file once (`index`).

    Args:
      data_config: the config's `data`: source, root, workers, cache_dir, and the fields
        of the source.
      data_dir: folder of the data, overrides the config's root.
      cache_dir: folder of the indexes; default: the config's, see `cache_folder`.
      name: the config's name, used without `data_dir`, which has its own name.
      unlabelled: whether images without a lineage are wanted, see `Request`.

    Raises:
      UserError: the source is unknown, or its data are missing or invalid.
    """
    kind = kind_of(data_config, data_dir)
    if kind not in MODULES:
        raise UserError(
            f"data.source is {data_config.source!r}: use one of {', '.join(NAMES)}."
        )
    if data_config.get("partial", "drop") not in PARTIAL:
        raise UserError(
            f"data.partial is {data_config.partial!r}: use one of {', '.join(PARTIAL)}."
        )
    cache = cache_folder(cache_dir or data_config.get("cache_dir"))
    root = data_config.get("root", "")
    given = data_dir or not root or kind not in _FOLDERS
    if not given and not expanded(root).exists():
        raise UserError(
            f"config.data.root is {file_names.in_full(root)}, which does not exist. "
            "Name the folder of the images with --data_dir or --config.data.root."
        )
    module = importlib.import_module(f"{__name__}.{MODULES[kind]}")
    request = Request(data_config, data_dir or None, cache, unlabelled)
    read = _whole(module.read_source(request), request)
    if data_dir:
        name = data_name(data_dir)
    report = read.report
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
    for line in partial.sentences(one.lineage for one in read.records):
        logging.info("%s: %s", read.root, line)
    if raw := suffixes.raw_counts(report.ignored):
        logging.warning("passed by: %s", raw)
    choice = grouping.Choice.of(data_config)
    lineages = (one.lineage for one in read.records if one.lineage is not None)
    return Source(
        name or data_name(read.root),
        read.root,
        grouping.assign(read.records, choice, read.group_columns, str(read.root)),
        read.evidence,
        report,
        read.credits,
        common_names=common_names.of_source(read.common_names, lineages, data_config),
    )


def _whole(read: Reading, request: Request) -> Reading:
    """What was read, without images identified to a coarser rank if data.partial drops
    them.

    Raises:
      UserError: no image is left.
    """
    kept = [one for one in read.records if not (one.lineage and one.lineage.is_partial)]
    if request.partial or len(kept) == len(read.records):
        return read
    if not kept:
        raise UserError(
            f"no image of {file_names.in_full(read.root)} is identified to the "
            f"finest rank, {read.records[0].lineage.ranks[-1]}, and data.partial is "
            "'drop': use --config.data.partial=keep, or name the ranks with "
            "--config.data.ranks."
        )
    what = "images identified only to a coarser rank"
    ignored = {**read.report.ignored, what: len(read.records) - len(kept)}
    report = dataclasses.replace(read.report, ignored=ignored)
    logging.info("%s: left out: %d %s", read.root, ignored[what], what)
    return read._replace(records=kept, report=report)


def kind_of(data_config: Any, data_dir: str | None) -> str:
    """data.source; what `auto` is: a package, archive, export or table by its content
    where there is one, else class folders."""
    if data_config.source != AUTO:
        return data_config.source
    named = data_dir or data_config.get("root", "")
    place = expanded(named)
    table = data_config.get("table", "")
    if table and not place.is_file():
        return _table_kind(expanded(table))
    if not named:
        return "image_folder"
    if camtrap_dp.is_package(place):
        return "camtrap_dp"
    if place.suffix.lower() in (*_TABLES, _JSON) and place.is_file():
        return _table_kind(place)
    if darwin_core.is_archive(place):
        return "darwin_core"
    if place.is_dir() and occurrences.is_labelled(place):
        return "inaturalist"
    return "image_folder"


def _table_kind(table: Path) -> str:
    """Of a file that data.table or --data_dir names."""
    if table.suffix.lower() == _JSON:
        return "coco"
    if darwin_core.is_archive(table):
        return "darwin_core"
    exchanged = table.is_file() and occurrences.is_table(table)
    return "inaturalist" if exchanged else "csv_table"


def check_drawn_ranks(
    data_config: Any, data_dir: str | None, ranks: Iterable[str]
) -> None:
    """Checks the names of ranks before procedural data are drawn, which takes a while.

    Raises:
      UserError: the data are procedural and lack one of the ranks.
    """
    if not data_dir and data_config.source == "synthetic_birds":
        for rank in ranks:
            check_rank(rank)


def has_usual_ranks(data_config: Any, data_dir: str | None) -> bool:
    """Whether a source always has the seven usual ranks."""
    drawn = data_config.source == "synthetic_birds" and not data_dir
    return drawn or data_config.source in ("inat2021", "cub200", "tfds_birds")


def data_name(data_dir: str | Path) -> str:
    """The folder's name and 6 hex digits of its path's SHA-1."""
    text = str(data_dir)
    if "://" in text:  # a bucket's path does not depend on the working directory
        digest = hashlib.sha1(text.rstrip("/").encode()).hexdigest()[:6]
        name = text.rstrip("/").rsplit("/", 1)[-1]
        return f"{file_names.readable(name, index_lib.NAME_BYTES)}-{digest}"
    return index_lib.folder_key(expanded(data_dir))


def absolute(data_dir: str) -> str:
    """The absolute path; a bucket's path is returned unchanged."""
    return data_dir if "://" in data_dir else str(expanded(data_dir).resolve())
