"""The interface of data sources: request, result and module protocol."""

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hiercam_keras.cache_folder import expanded
from hiercam_keras.data.prepare_report import PrepareReport
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import Evidence


class Request(NamedTuple):
    """The input of a source.

    Attributes:
      config: the config's `data`.
      data_dir: value of --data_dir; None if not given.
      cache: folder for indexes, downloads and copies; the source may write here.
      unlabelled: whether images without a lineage are wanted, too; sources of tables
        that people exchange have such.
    """

    config: Any
    data_dir: str | None
    cache: Path
    unlabelled: bool = False

    @property
    def place(self) -> str:
        """--data_dir, else data.root, with ~ expanded; empty if both are.

        Raises:
          UserError: ~ cannot be expanded, as there is no home folder.
        """
        place = self.data_dir or self.config.get("root", "")
        return place if not place or "://" in place else str(expanded(place))

    @property
    def partial(self) -> bool:
        """Whether images that are identified only to a coarser rank are wanted."""
        return self.config.get("partial", "drop") == "keep"

    @property
    def workers(self) -> int:
        """Threads that scan images; 0 for one per core."""
        return int(self.config.get("workers", 0))


class Reading(NamedTuple):
    """The images of one data set.

    Attributes:
      root: their folder, for messages.
      records: readable images, sorted by example_id.
      report: of the scan: counts, converted and unreadable files.
      evidence: rank -> (part, label in the part images), or None if unknown.
      group_columns: columns that `data.groups` can name, see `grouping.Choice`.
      credits: author and licence by example_id, as far as the data set states them.
      common_names: of taxa by lineage prefix, likewise.
    """

    root: Path
    records: list[Record]
    report: PrepareReport
    evidence: Evidence | None = None
    group_columns: tuple[str, ...] = ()
    credits: Mapping[str, str] = types.MappingProxyType({})
    common_names: Mapping[tuple[str, ...], str] = types.MappingProxyType({})


class SourceModule(Protocol):
    """A module of this folder that `sources.MODULES` names."""

    def read_source(self, request: Request) -> Reading:
        """Reads a data set; the first call prepares it (downloads, unpacks, draws).

        Raises:
          UserError: the data are missing; the message says how to get them.
        """
