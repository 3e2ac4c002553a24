"""Finds the mask or part image of each image of a data folder."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from absl import logging


class LabelFiles:
    """The label images of one kind, `masks` or `parts`.

    The label image of `<class dir>/x.jpg` is `<kind>/<class dir>/x.png`. If several
    images differ only in their suffix, each needs a label image with its whole name:
    `x.jpg.png`, `x.png.png`. `x.png` is then used for the only image without one, and
    for none if there are several.

    Args:
      root: folder that holds the folder `kind`.
      kind: of label images.
      example_ids: of all images.
    """

    def __init__(self, root: Path, kind: str, example_ids: Iterable[str]):
        self._root = Path(root) / kind
        self._folders: dict[str, set[str]] = {}
        by_stem = defaultdict(list)
        for example_id in example_ids:
            by_stem[_shared(example_id)].append(example_id)
        # Files that could belong to several images, and these images.
        self._unclear: dict[str, list[str]] = {}
        for name, ids in by_stem.items():
            if len(ids) > 1 and self._exists(name):
                without = [one for one in ids if not self._exists(_own(one))]
                if len(without) > 1:
                    self._unclear[name] = without
        if self._unclear:
            name, ids = next(iter(self._unclear.items()))
            logging.warning(
                "%d files of %s are not used, as each could belong to several images: "
                "%s to %s. Name a file after the whole name of its image, as in %s",
                len(self._unclear),
                self._root,
                name,
                " or ".join(sorted(ids)),
                _own(min(ids)),
            )
        ids = (one for ids in by_stem.values() for one in ids)
        self._names = {one: self._name_of(one) for one in ids}

    def find(self, example_id: str) -> Path | None:
        """The label image of an image."""
        name = self._names.get(example_id)
        return None if name is None else self._root / name

    def _name_of(self, example_id: str) -> str | None:
        name = _own(example_id)
        if self._exists(name):
            return name
        name = _shared(example_id)
        return name if name not in self._unclear and self._exists(name) else None

    def _exists(self, name: str) -> bool:
        folder, name = os.path.split(name)
        if folder not in self._folders:
            # One listing of a folder is cheaper than one stat for each file.
            try:
                self._folders[folder] = set(os.listdir(self._root / folder))
            except OSError:
                self._folders[folder] = set()
        return name in self._folders[folder]


def _own(example_id: str) -> str:
    return f"{example_id}.png"


def _shared(example_id: str) -> str:
    return f"{os.path.splitext(example_id)[0]}.png"
