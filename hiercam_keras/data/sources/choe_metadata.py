"""Images with metadata in the format of Choe et al. 2020.

    metadata/train/   image_ids.txt, class_labels[_RANK].txt; no boxes
    metadata/val/     the same, image_sizes.txt and localization.txt
    metadata/test/    likewise
    images/<path>     paths as in the lists

CUB, ILSVRC, OpenImages (masks) and iNatLoc500 are published in this format
(arXiv:2001.07437, 2207.10225). A folder of one role, such as `metadata/test`, is read
alone.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hiercam_keras import wording
from hiercam_keras.data import decode, geometry, grouping
from hiercam_keras.data import index as index_lib
from hiercam_keras.data.records import Box, Record
from hiercam_keras.data.sources import choe_metadata_files as files
from hiercam_keras.data.sources import choe_metadata_orders as orders_lib
from hiercam_keras.data.sources import choe_metadata_taxa as taxa
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage

ROLES = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Contents of the text files; images in the order of the lists, train first.

    Attributes:
      folder: of the metadata.
      split: image -> "train", "val", "test", or None if unknown.
      lineages: image -> lineage.
      sizes: image -> (width, height), if known.
      boxes: image -> boxes x0, y0, x1, y1 in pixels of that size, if known.
      masks: image -> label images, if known.
    """

    folder: Path
    split: Mapping[str, str | None]
    lineages: Mapping[str, Lineage]
    sizes: Mapping[str, tuple[int, int]]
    boxes: Mapping[str, tuple[Box, ...]]
    masks: Mapping[str, files.Masks]


def read_metadata(
    folder: str | Path,
    options: Mapping[str, Any] | None = None,
    file_sizes: Mapping[str, tuple[int, int]] | None = None,
) -> Metadata:
    """Reads the text files of all roles; no image is opened.

    Args:
      folder: with the folders of roles, or of one role.
      options: size_order, box_order ("auto" or an order) and lineages (path of a CSV),
        as in the config's `data.choe`, and ranks (columns of that CSV).
      file_sizes: (width, height) of existing images, to check against.

    Raises:
      UserError: the folder holds no metadata, or its files contradict each other.
    """
    folder, options = Path(folder).expanduser(), options or {}
    roles = _roles(folder)
    asked = orders_lib.Orders(
        options.get("size_order", "auto"), options.get("box_order", "auto")
    )
    split: dict[str, str | None] = {}
    labels: dict[str, dict[str, str]] = {}
    found = {"sizes": {}, "boxes": {}, "masks": {}}
    ranks = None
    for role, place in roles.items():
        ids = files.read_ids(place)
        twice = next((name for name in ids if name in split), None)
        if twice is not None:
            raise UserError(
                f"{folder}: {twice!r} is in {split[twice]} and in {role}: an image has "
                "one role."
            )
        split |= dict.fromkeys(ids, role)
        own = taxa.read_rank_labels(place)
        if ranks is not None and list(own) != ranks:
            raise UserError(
                f"{place} has labels at {', '.join(own) or 'no rank'}, the other "
                f"folders at {', '.join(ranks)}: expected the same files."
            )
        ranks = list(own)
        for rank, values in own.items():
            labels.setdefault(rank, {}).update(values)
        sizes = {name: file_sizes[name] for name in ids if name in (file_sizes or {})}
        for kind, values in _places(place, set(ids), sizes, asked).items():
            found[kind] |= values
    table = options.get("lineages") or None
    lineages = taxa.lineages(
        list(split),
        labels,
        _names(folder, ranks or []),
        Path(table).expanduser() if table else None,
        str(folder),
        options.get("ranks", ()),
    )
    return Metadata(folder, split, lineages, **found)


def read_source(request: Request) -> Reading:
    """Records of every readable image; their example_ids are the paths of the lists.

    Boxes are converted from the size in the metadata to pixels of the files as
    displayed.

    Raises:
      UserError: no image can be read, or metadata and images do not fit.
    """
    options = request.config.get("choe") or {}
    metadata_folder = options.get("metadata", "")
    if not metadata_folder:
        raise UserError(
            "data.choe.metadata is empty: give the folder that holds train/, val/ and "
            "test/ with image_ids.txt, --config.data.choe.metadata=/path/to/metadata."
        )
    root = Path(request.place).expanduser()
    if not request.place or not root.is_dir():
        raise UserError(
            f"the image folder {request.place!r} does not exist: point --data_dir at "
            f"the folder that the paths in {metadata_folder} start from."
        )
    safe = files.SafeFolder(root)
    there, missing = _existing(metadata_folder, root, safe)
    scanned = index_lib.scan(
        root,
        request.cache,
        there,
        request.workers,
        +missing,
        partial=True,
        times=grouping.Choice.of(request.config).gap is not None,
    )
    entries = {name: scanned.entries[name] for name in there}
    good = {name: e for name, e in entries.items() if e.verdict != "unreadable"}
    metadata = read_metadata(
        metadata_folder,
        {**options, "ranks": request.config.get("ranks", ())},
        # For photos with an EXIF rotation, lists hold one size or the other.
        {n: (e.width, e.height) for n, e in good.items() if _stored(e) == _shown(e)},
    )
    records = [
        Record(
            example_id=name,
            path=scanned.pixels_path(name, there[name]),
            lineage=metadata.lineages[name],
            boxes=_displayed(metadata, name, entry),
            mask_path=_mask(metadata, name, safe),
            split=metadata.split[name],
            **entry.for_record(),
        )
        for name, entry in good.items()
    ]
    if not records:
        name, why = scanned.report.unreadable[0]
        raise UserError(
            f"none of {wording.count(len(there), 'image')} in {root} can be read; "
            "the first is "
            f"{name}: {why}."
        )
    return Reading(root, records, scanned.report)


def _existing(
    metadata_folder: str, root: Path, safe: files.SafeFolder
) -> tuple[dict[str, Path], Counter[str]]:
    """Files of the listed images that exist, by name, and a count of the others."""
    listed = {
        name: safe.join(name)
        for place in _roles(Path(metadata_folder).expanduser()).values()
        for name in files.read_ids(place)
    }
    there = {name: path for name, path in sorted(listed.items()) if path.is_file()}
    if not there:
        name = next(iter(listed))
        raise UserError(
            f"none of {wording.count(len(listed), 'image')} of {metadata_folder} is "
            f"in {root}; the "
            f"first would be {listed[name]}. Check --data_dir (or data.root)."
        )
    missing = len(listed) - len(there)
    return there, Counter({"images of the lists that are missing": missing})


def _roles(folder: Path) -> dict[str | None, Path]:
    """Folder by role."""
    if not folder.is_dir():
        raise UserError(
            f"the metadata folder {folder} does not exist: expected one with train/, "
            "val/, test/ or image_ids.txt (data.choe.metadata)."
        )
    if files.is_metadata(folder):
        name = folder.resolve().name
        return {name if name in ROLES else None: folder}
    found = {role: folder / role for role in ROLES}
    found = {role: place for role, place in found.items() if files.is_metadata(place)}
    if not found:
        files.read_ids(folder)  # raises a UserError
    return found


def _places(place: Path, ids: set[str], file_sizes, asked) -> dict[str, dict]:
    """Sizes, boxes and masks of the images of one role."""
    sizes, rows, masks = {}, [], {}
    if (place / files.SIZES).is_file():
        pairs = files.read_numbers(place / files.SIZES, 2, "path,width,height")
        sizes = {name: pair for name, pair in pairs if name in ids}
        for name, pair in sizes.items():
            if min(pair) < 1:
                raise UserError(f"{place / files.SIZES}: {name!r} is {pair} pixels.")
    if (place / files.BOXES).is_file():
        rows, masks = files.read_localization(place / files.BOXES)
        rows = [(name, numbers) for name, numbers in rows if name in ids]
    orders = orders_lib.find_orders(sizes, rows, file_sizes, asked, str(place))
    boxes: dict[str, tuple[Box, ...]] = {}
    for name, numbers in rows:
        box = orders_lib.to_box(numbers, orders.box)
        boxes[name] = (*boxes.get(name, ()), box)
    return {
        "sizes": {
            n: orders_lib.to_size(pair, orders.size) for n, pair in sizes.items()
        },
        "boxes": boxes,
        "masks": {name: one for name, one in masks.items() if name in ids},
    }


def _names(folder: Path, ranks: list[str]) -> dict[str, dict[str, str]]:
    """Names of labels, from class_names[_RANK].txt in the folder or its parent."""
    names = {}
    for rank in ranks:
        tails = [f"_{rank}"] if rank else [""]
        if rank == ranks[-1]:
            tails.append("")
        for place in (folder, folder.parent):
            for tail in tails:
                found = files.read_names(place / f"class_names{tail}.txt")
                names.setdefault(rank, found)
                names[rank] = names[rank] or found
    return names


def _shown(entry) -> tuple[int, int]:
    return entry.width, entry.height


def _stored(entry) -> tuple[int, int]:
    return decode.displayed_size(entry.width, entry.height, entry.orientation)


def _displayed(metadata: Metadata, name: str, entry) -> tuple[Box, ...]:
    """Boxes in pixels of the file as displayed.

    They refer to the stored pixels, as the usual readers of such data ignore EXIF
    orientations, unless the size in the list is the displayed one.
    """
    shown, stored = _shown(entry), _stored(entry)
    said = metadata.sizes.get(name, stored)
    fits = geometry.same_shape
    turned = shown != stored and fits(said, shown) and not fits(said, stored)
    width, height = shown if turned else stored
    across, down = width / said[0], height / said[1]
    boxes = [
        (x0 * across, y0 * down, x1 * across, y1 * down)
        for x0, y0, x1, y1 in metadata.boxes.get(name, ())
    ]
    if turned:
        return tuple(boxes)
    return tuple(decode.turn_box(box, *stored, entry.orientation) for box in boxes)


def _mask(metadata: Metadata, name: str, safe: files.SafeFolder) -> Path | None:
    """The mask of an image with a single one; several masks stay in the lists."""
    masks = metadata.masks.get(name)
    if masks is None or len(masks.objects) != 1:
        return None
    path = safe.join(masks.objects[0])
    return path if path.is_file() else None
