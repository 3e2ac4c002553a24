"""The report of --mode=prepare, as text and as JSON."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hiercam_keras import wording

_SHOWN = 8  # files named in a summary


@dataclasses.dataclass(frozen=True)
class PrepareReport:
    """Results of a scan.

    Attributes:
      counts: files per verdict: ok, converted, unreadable.
      converted: (example_id, reason), sorted.
      unreadable: (example_id, reason), sorted.
      ignored: counts of skipped entries by kind ("hidden files": 3).
      added: files that are new in the index.
      changed: files with another size or time than in the index.
      removed: files of the index that no longer exist.
      index_dir: folder of the index and the copies; None without an index.
      left_out: table of the rows and pictures left out, with reasons; or None.
    """

    counts: Mapping[str, int]
    converted: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    added: int = 0
    changed: int = 0
    removed: int = 0
    index_dir: Path | None = None
    left_out: Path | None = None

    @property
    def num_files(self) -> int:
        """Number of scanned image files."""
        return sum(self.counts.values())

    def summary(self) -> str:
        """The report as a few lines of text."""
        counts = self.counts
        lines = [
            f"{wording.count(self.num_files, 'image file')}: {counts['ok']} fine as "
            f"they are, {counts['converted']} converted, {counts['unreadable']} left "
            "out."
        ]
        if self.added or self.changed or self.removed:
            lines.append(
                f"Since the last time: {self.added} new, {self.changed} changed, "
                f"{self.removed} gone."
            )
        if self.ignored:
            kinds = ", ".join(
                wording.of_kind(n, kind) for kind, n in sorted(self.ignored.items())
            )
            lines.append(f"Passed by: {kinds}.")
        if self.left_out:
            lines.append(f"Each row and picture passed by: {self.left_out}")
        if self.converted:
            kinds = Counter(reason for _, reason in self.converted).most_common(_SHOWN)
            lines.append(
                "Converted to RGB: " + ", ".join(f"{n} {kind}" for kind, n in kinds)
            )
        lines += [f"Left out {name}: {why}" for name, why in self.unreadable[:_SHOWN]]
        if len(self.unreadable) > _SHOWN:
            lines.append(f"... and {len(self.unreadable) - _SHOWN} more left out.")
        return "\n".join(lines)

    def to_json(self) -> dict:
        """The report as a JSON value."""
        return {
            "counts": dict(self.counts),
            "converted": [list(pair) for pair in self.converted],
            "unreadable": [list(pair) for pair in self.unreadable],
            "ignored": dict(self.ignored),
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "index_dir": None if self.index_dir is None else str(self.index_dir),
        }

    def leaving_out(self, more: Iterable[tuple[str, str]]) -> "PrepareReport":
        """The report with further unreadable files, as (name, reason)."""
        unreadable = tuple(sorted([*self.unreadable, *more]))
        counts = {**self.counts, "unreadable": len(unreadable)}
        return dataclasses.replace(self, unreadable=unreadable, counts=counts)

    def with_rows(self, left_out: Path | None) -> "PrepareReport":
        """The report with the table of the rows left out."""
        return dataclasses.replace(self, left_out=left_out)


def of(
    entries: Mapping[str, Any],
    ignored: Mapping[str, int],
    added: int,
    changed: int,
    removed: int,
) -> PrepareReport:
    """The report of an index's entries."""
    by_verdict = {"ok": [], "converted": [], "unreadable": []}
    for name in sorted(entries):
        by_verdict[entries[name].verdict].append((name, entries[name].reason))
    return PrepareReport(
        counts={verdict: len(found) for verdict, found in by_verdict.items()},
        converted=tuple(by_verdict["converted"]),
        unreadable=tuple(by_verdict["unreadable"]),
        ignored=dict(ignored),
        added=added,
        changed=changed,
        removed=removed,
    )
