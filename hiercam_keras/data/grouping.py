"""Which images belong together: groups of the source, bursts and copies.

A group is what images have in common besides their taxon: the deployment, event,
observation, specimen or burst. Images of a group are alike, so a split that divides
one tests a network on what it was trained on.
"""

import datetime
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hiercam_keras import wording
from hiercam_keras.data import duplicates
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError

COLUMN = "group"  # of a table, taken by default
_FLAG = "--config.data.groups"
_NONE, _EXIF = "none", "exif"
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_GAP = re.compile(r"exif\s*:\s*(\d+(?:\.\d+)?)\s*(s|min|h)", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """The value of `data.groups`.

    Attributes:
      column: name of a column of the source; "" for the source's own groups.
      gap: seconds between two images of a burst at most; None: no bursts.
      none: whether the source's groups are ignored.
    """

    column: str = ""
    gap: float | None = None
    none: bool = False

    @property
    def of_source(self) -> bool:
        """Whether the source gives the groups."""
        return self.gap is None and not self.none

    @classmethod
    def of(cls, data_config: Any) -> "Choice":
        """The choice of a config's `data`.

        Raises:
          UserError: the gap of a burst is missing or no duration.
        """
        text = str(data_config.get("groups", "")).strip()
        if text.lower() == _NONE:
            return cls(none=True)
        if text.lower() != _EXIF and not text.lower().startswith(f"{_EXIF}:"):
            return cls(column=text)
        found = _GAP.fullmatch(text)
        if not found:
            raise UserError(
                f"{_FLAG}={text}: expected the longest time between two images of a "
                "burst, in s, min or h, as in exif:60s."
            )
        return cls(gap=float(found[1]) * _SECONDS[found[2].lower()])

    def column_of(
        self, offered: Sequence[str], usual: Sequence[str], where: str
    ) -> str | None:
        """The column that holds the groups; None for none.

        Args:
          offered: columns that a source has.
          usual: those of them that are taken by default, the first one that is there.
          where: the source, for the message.

        Raises:
          UserError: the chosen column is not offered.
        """
        if not self.of_source:
            return None
        by_key = {_key(name): name for name in offered}
        if not self.column:
            return next((by_key[_key(n)] for n in usual if _key(n) in by_key), None)
        if _key(self.column) not in by_key:
            raise UserError(
                f"{_FLAG}={self.column}: {where} has no column of this name, but "
                f"{', '.join(offered) or 'none at all'}. Groups are a column's name, "
                "exif:60s (bursts) or none."
            )
        return by_key[_key(self.column)]


def assign(
    records: Sequence[Record], choice: Choice, offered: Sequence[str], where: str
) -> tuple[Record, ...]:
    """The records of a source with the groups that the config asks for.

    Args:
      records: with the source's own groups.
      choice: of the config.
      offered: columns that the source can take groups from.
      where: the source, for messages.

    Raises:
      UserError: the source has no such column, or no image has a time.
    """
    if choice.column:
        choice.column_of(offered, (), where)
    if choice.of_source:
        return tuple(records)
    found: Mapping[str, str] = {}
    if choice.gap is not None:
        found = bursts(records, choice.gap)
        if not found:
            raise UserError(
                f"{_FLAG}=exif: none of {wording.count(len(records), 'image')} of "
                f"{where} has a time in its EXIF data. Name a column of the source, or "
                "leave it out."
            )
    return tuple(replace(one, group=found.get(one.example_id)) for one in records)


def bursts(records: Iterable[Record], gap: float) -> dict[str, str]:
    """The burst of each image that has a time: example_id -> camera and first time.

    Images of a camera are ordered by time and example_id; one that was taken at most
    `gap` seconds after the one before belongs to its burst. Times have no fractions and
    no zone, as EXIF has none, so images of one second are of one burst.

    Args:
      records: with `taken` and `camera`.
      gap: in seconds.
    """
    by_camera = defaultdict(list)
    for record in records:
        if record.taken:
            by_camera[record.camera].append((record.taken, record.example_id))
    found = {}
    for camera, taken in sorted(by_camera.items()):
        before, name = None, ""
        for text, example_id in sorted(taken):
            now = datetime.datetime.fromisoformat(text)
            if before is None or (now - before).total_seconds() > gap:
                name = f"{text} {camera}".rstrip()
            before = now
            found[example_id] = name
    return found


def has_groups(records: Iterable[Record]) -> bool:
    """Whether any image is in a group."""
    return any(record.group is not None for record in records)


def merged(records: Sequence[Record], near: bool = False) -> dict[str, str]:
    """Groups with exact copies in one: example_id -> group.

    Groups that share a copy are merged; the name is that of the first by name. Images
    without group and copy are left out.

    Args:
      records: N images.
      near: whether near copies (`duplicates.near_copies`) share a group, too.
    """
    sets = _Sets()
    for record in records:
        if record.group is not None:
            sets.join(("", record.example_id), ("group", record.group))
    links = [
        (found[0], one) for found in duplicates.exact_copies(records) for one in found
    ]
    if near:
        links += [(one.of, one.record) for one in duplicates.near_copies(records)]
    for one, other in links:
        sets.join(("", one.example_id), ("", other.example_id))
    members = defaultdict(list)
    for kind, name in sets.known():
        members[sets.root((kind, name))].append((kind, name))
    found = {}
    for nodes in members.values():
        named = [name for kind, name in nodes if kind == "group"]
        ids = [name for kind, name in nodes if not kind]
        group = min(named) if named else f"copies of {min(ids)}"
        found |= dict.fromkeys(ids, group)
    return found


_Node = tuple[str, str]


class _Sets:
    """Disjoint sets that are joined."""

    def __init__(self):
        self._parent: dict[_Node, _Node] = {}

    def known(self) -> list[_Node]:
        """All nodes that were joined."""
        return list(self._parent)

    def root(self, node: _Node) -> _Node:
        """The node that represents the set of `node`."""
        self._parent.setdefault(node, node)
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def join(self, one: _Node, other: _Node) -> None:
        """Joins the sets of two nodes."""
        one, other = self.root(one), self.root(other)
        self._parent[max(one, other)] = min(one, other)


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower()
