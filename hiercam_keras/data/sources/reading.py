"""What every source is asked, and what it gives back."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hiercam_keras.cache_folder import expanded
from hiercam_keras.data.prepare_report import PrepareReport
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import Evidence


class Request(NamedTuple):
    """What a source is asked for.

    Attributes:
      config: the config's `data`.
      data_dir: what --data_dir says; None where it was not given.
      cache: folder for indexes, downloads and copies; the source may write here.
    """

    config: Any
    data_dir: str | None
    cache: Path

    @property
    def place(self) -> str:
        """--data_dir, else data.root, with ~ expanded; empty where both are.

        Raises:
          UserError: there is no home folder for ~.
        """
        place = self.data_dir or self.config.get("root", "")
        return place if not place or "://" in place else str(expanded(place))

    @property
    def workers(self) -> int:
        """Threads that look at images; 0 for one per core."""
        return int(self.config.get("workers", 0))


class Reading(NamedTuple):
    """The images of one data set.

    Attributes:
      root: their folder, for messages.
      records: readable images, sorted by example_id.
      report: what was found, converted and left out.
      evidence: rank -> (part, label in the part images), where the data set knows.
    """

    root: Path
    records: list[Record]
    report: PrepareReport
    evidence: Evidence | None = None


class SourceModule(Protocol):
    """A module of this folder that `sources.MODULES` names."""

    def read_source(self, request: Request) -> Reading:
        """Makes the data set ready where it is not (downloads, unpacks, draws), and
        reads it; a second call finds what the first one made.

        Raises:
          UserError: what is missing, and how to get it, in one line.
        """
