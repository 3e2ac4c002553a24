"""Images in class folders: in iNaturalist naming, or with plain names.

    data_dir/03113_Animalia_..._gentilis/x.jpg          the lineage is in the name
    data_dir/ALBATROSS/x.jpg                            the single rank `label`
    data_dir/train/ALBATROSS/x.jpg, data_dir/test/...   with official splits

These may also be in data_dir/images; data_dir then holds the annotations: masks/,
parts/, boxes.csv, groups.csv and evidence.csv (`annotations`). data.lineages names a
table with the lineages of folders (`lineage_table`). Any subset of the class folders is
valid.
"""

import os
import stat
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hiercam_keras import file_names, wording
from hiercam_keras.data import grouping, suffixes
from hiercam_keras.data import index as index_lib
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import (
    annotations,
    archives,
    boxes,
    common_names,
    folder_names,
)
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage

_EXPECTED = "such as 03113_Animalia_.._Accipiter_gentilis or any plain name"


class Listing(NamedTuple):
    """Image files of a folder, and counts of skipped entries.

    Attributes:
      images: the folder that holds the class folders.
      lineages: by the class folder's path below `images`.
      files: path by example_id, sorted.
      bad_names: escaped example_ids that cannot be written into a list.
      ignored: counts of skipped entries by kind.
      splits: "train", "val" or "test" by example_id, for official splits.
      common_names: of taxa by lineage prefix, of the table of lineages.
    """

    images: Path
    lineages: dict[str, Lineage]
    files: dict[str, Path]
    bad_names: list[str]
    ignored: Counter
    splits: Mapping[str, str] = types.MappingProxyType({})
    common_names: Mapping[tuple[str, ...], str] = types.MappingProxyType({})


def read_source(request: Request) -> Reading:
    """Records of every readable image, sorted by example_id.

    Raises:
      UserError: no folder is given, it is missing, empty or has another layout, only
        some class folders have iNaturalist names, or no image is readable.
    """
    if not request.place:
        raise UserError(
            "no images were given: use --data_dir=/path/to/class_folders, or "
            "--config=configs/synthetic_birds.py for the embedded birds."
        )
    root = Path(request.place).expanduser()
    keep = lineage_prefix(request.config.get("keep_lineage", ""))
    table = request.config.get("lineages", "")
    ranks = tuple(request.config.get("ranks", ()))
    names = common_names.Choice.of(request.config)
    listing = list_files(root, keep, lineages=table, ranks=ranks, common=names)
    return read_listing(listing, root, request)


def read_listing(listing: Listing, root: Path, request: Request) -> Reading:
    """Records of the listed images.

    Args:
      listing: of one folder or of several.
      root: the requested folder.
      request: with the cache, which holds the index, and the config.

    Raises:
      UserError: no image is readable, or an annotation is invalid.
    """
    choice = grouping.Choice.of(request.config)
    found = index_lib.scan(
        listing.images,
        request.cache,
        listing.files,
        request.workers,
        listing.ignored,
        times=choice.gap is not None,
    )
    entries = {
        name: entry
        for name, entry in found.entries.items()
        if entry.verdict != "unreadable"
    }
    annotated = _annotations_folder(listing.images)
    options = boxes.Options.of(request.config)
    marks = annotations.Annotations(annotated, found.folder, entries, options)
    groups, offered = annotations.read_groups(annotated, entries, choice)
    records = [
        Record(
            example_id=example_id,
            path=found.pixels_path(example_id, path),
            lineage=listing.lineages[os.path.dirname(example_id)],
            split=listing.splits.get(example_id),
            group=groups.get(example_id),
            **entries[example_id].for_record(),
            **marks.of(example_id),
        )
        for example_id, path in listing.files.items()
        if example_id in entries
    ]
    report = found.report.leaving_out(
        [
            (name, "its name is not UTF-8 text of one line")
            for name in listing.bad_names
        ],
    )
    if not records:
        raise UserError(_none_left(listing.images, report))
    evidence = annotations.read_evidence(annotated)
    return Reading(
        root,
        records,
        report,
        evidence,
        offered,
        common_names=listing.common_names,
    )


def lineage_prefix(text: str) -> tuple[str, ...]:
    """data.keep_lineage as taxa: "Animalia/Chordata/Aves", "" for all."""
    return tuple(part.strip() for part in str(text).split("/") if part.strip())


def list_files(
    data_dir: Path,
    keep: tuple[str, ...] = (),
    *,
    plain: bool = True,
    lineages: str = "",
    ranks: tuple[str, ...] = (),
    common: common_names.Choice = common_names.Choice(),  # noqa: B008
) -> Listing:
    """Lists the image files under `data_dir`, without opening them.

    Only files directly in a class folder are listed. Deeper folders, hidden files,
    files without an image suffix and class folders with a lineage outside of `keep` are
    skipped and counted.

    Args:
      data_dir: see the module.
      keep: coarsest taxa of the lineages that are kept; () keeps all.
      plain: whether folders may have plain names, and split folders above them.
      lineages: data.lineages; "": lineages come from the folders' names.
      ranks: data.ranks, rank columns of that table.
      common: which of its common names are shown.

    Raises:
      UserError: the folder is missing, empty or has another layout, or names are mixed.
    """
    data_dir = Path(data_dir)
    images = _images_folder(data_dir)
    ignored = Counter()
    # A lineage in the folder's name makes listing its files unnecessary.
    early = () if lineages else keep
    parts = _split_folders(images, ignored) if plain else {}
    folders: dict[str, tuple[Path, list[str]]] = {}
    for part in parts or ("",):
        folders |= _class_folders(images, part, early, ignored)
    names = {os.path.basename(one) for one in folders}
    by_name, by_prefix = {}, {}
    if names and lineages:
        table = lineages, data_dir
        by_name, by_prefix = folder_names.lineages_from(*table, names, ranks, common)
    elif names:
        by_name = folder_names.lineages(names, plain)
    known, files, splits, bad_names = {}, {}, {}, []
    outside = f"class folders outside {'/'.join(keep)}"
    for folder, (place, inside) in folders.items():
        lineage = by_name[os.path.basename(folder)]
        if lineage.taxa[: len(keep)] != keep:
            ignored[outside] += 1
            continue
        known[folder] = lineage
        for name in inside:
            example_id = f"{folder}/{name}"
            if not _writable(example_id):
                bad_names.append(index_lib.printable(example_id))
                continue
            files[example_id] = place / name
            if parts:
                splits[example_id] = parts[os.path.dirname(folder)]
    if not files:
        kept = keep if ignored[outside] else ()
        raise UserError(_nothing(data_dir, images, kept) + _raw(ignored))
    return Listing(
        images,
        known,
        {name: files[name] for name in sorted(files)},
        sorted(bad_names),
        +ignored,
        splits,
        by_prefix,
    )


def _class_folders(
    images: Path, part: str, keep: tuple[str, ...], ignored: Counter
) -> dict[str, tuple[Path, list[str]]]:
    """Path and names of image files by the class folder's path below `images`."""
    found = {}
    for folder in _entries(images / part):
        if _hidden(folder.name):
            ignored["hidden files"] += 1
        elif not _is_dir(folder):
            ignored["files outside class folders"] += 1
        elif _outside(index_lib.printable(folder.name), keep):
            ignored[f"class folders outside {'/'.join(keep)}"] += 1
        elif names := _image_names(folder, ignored):
            path = f"{part}/{folder.name}" if part else folder.name
            found[path] = Path(folder.path), names
        else:
            ignored["folders without images"] += 1
    return found


def _split_folders(images: Path, ignored: Counter) -> dict[str, str]:
    """The split by the folder's path below `images`; empty if folders are classes.

    Folders called train, test or valid are splits if the train folder holds folders
    with images: a class called "train" would hold images itself.
    """
    folders = [
        entry
        for entry in _entries(images)
        if not _hidden(entry.name) and _is_dir(entry)
    ]
    if any(folder_names.is_inat(folder.name) for folder in folders):
        return {}
    found: dict[str, str] = {}
    for folder in folders:
        split, path = folder_names.split_of(folder.name), folder.name
        if split is None:
            continue
        if (images / path / path).is_dir():  # as unpacked by some tools
            path = f"{path}/{path}"
        if any(map(_holds_images, _entries(images / path))):
            found[path] = split
    if "train" not in found.values():
        return {}
    parts = {path.split("/")[0] for path in found}
    others = sum(_holds_images(one) for one in folders if one.name not in parts)
    ignored["folders with images next to train"] += others
    return found


def _holds_images(folder: os.DirEntry) -> bool:
    """Whether an entry is a folder with an image file in it."""
    if _hidden(folder.name) or not _is_dir(folder):
        return False
    return any(
        entry.name.lower().endswith(suffixes.IMAGES) and not _hidden(entry.name)
        for entry in _entries(folder.path)
        if not _is_dir(entry)
    )


def _images_folder(data_dir):
    """`data_dir`, or `data_dir/images` if that holds the class folders."""
    if not data_dir.exists():
        raise UserError(
            f"--data_dir {index_lib.printable(file_names.in_full(data_dir))} does not "
            "exist. Give the folder that holds the class folders, or a table."
        )
    if data_dir.suffix.lower() == ".csv" and data_dir.is_file():
        raise UserError(
            f"--data_dir {index_lib.printable(str(data_dir))} is a table of images: "
            "use --config.data.source=csv_table, or leave --config out."
        )
    if data_dir.name.lower().endswith(archives.KINDS):
        raise UserError(
            f"--data_dir {index_lib.printable(str(data_dir))} is an archive without a "
            "table of a field program (Camtrap DP, Darwin Core). Class folders are "
            "read unpacked: unpack it, and give the folder that holds them."
        )
    if not data_dir.is_dir():
        raise UserError(
            f"--data_dir {index_lib.printable(str(data_dir))} is a file. Give the "
            "folder "
            "that holds the class folders; for single photographs there is --image."
        )
    inner = data_dir / "images"
    if inner.is_dir() and not any(_is_class(e) for e in _entries(data_dir)):
        return inner
    return data_dir


def _annotations_folder(images):
    """The parent of a folder named `images`, else the folder itself, because any other
    parent may hold unrelated annotations."""
    images = images.absolute()
    return images.parent if images.name == "images" else images


def _entries(folder) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise UserError(
            f"cannot list {index_lib.printable(str(folder))}: "
            f"{error.strerror or error}."
        ) from error


def _image_names(folder, ignored):
    names = []
    for entry in _entries(folder.path):
        if _hidden(entry.name):
            ignored["hidden files"] += 1
        elif _is_dir(entry):
            ignored["folders inside class folders"] += 1
        elif kind := suffixes.raw_kind(entry.name):
            ignored[kind] += 1
        elif not entry.name.lower().endswith(suffixes.IMAGES):
            ignored["files without an image suffix"] += 1
        elif not _is_file(entry):
            ignored["broken links and special files"] += 1
        else:
            names.append(entry.name)
    return names


def _is_dir(entry):
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _is_file(entry):
    """Whether it is a regular file: opening a pipe or a device could block."""
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _is_class(entry):
    return (
        not _hidden(entry.name) and folder_names.is_inat(entry.name) and _is_dir(entry)
    )


def _outside(name, keep):
    """Whether an iNaturalist name is outside of a lineage."""
    if not keep or not folder_names.is_inat(name):
        return False
    return folder_names.lineages([name])[name].taxa[: len(keep)] != keep


def _hidden(name):
    return name.startswith((".", "__MACOSX"))


def _writable(example_id):
    """Whether a list with one UTF-8 line each can hold the name."""
    try:
        example_id.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not any(char in example_id for char in "\n\r")


def _nothing(data_dir, images, keep):
    """Why there is no image; with `keep` all class folders are outside of it."""
    shown = index_lib.printable(str(images))
    if keep:
        return (
            f"no class folder of {shown} is in data.keep_lineage={'/'.join(keep)}. "
            "Correct it, or leave it empty."
        )
    below = [e for e in _entries(images) if not _hidden(e.name) and _is_dir(e)]
    if not below and any(
        e.name.lower().endswith(suffixes.IMAGES)
        for e in _entries(images)
        if not _is_dir(e)
    ):
        return (
            f"{shown} holds images, but no class folders: expected a folder for each "
            f"class, {_EXPECTED}. Point --data_dir at the folder above."
        )
    deeper = [
        entry
        for entry in below
        if any(map(_holds_images, _entries(entry.path)))
        or _split_folders(Path(entry.path), Counter())
    ]
    if len(deeper) == 1:
        inside = index_lib.printable(deeper[0].path)
        name = index_lib.printable(deeper[0].name)
        return (
            f"{shown} holds no class folders, but {name}/ in it does. Use "
            f"--data_dir={inside}."
        )
    if deeper:
        names = ", ".join(f"{index_lib.printable(e.name)}/" for e in deeper[:3])
        return (
            f"the class folders of {shown} are one level deeper, in {names} ...: "
            "expected them directly in --data_dir, or in train/, val/ and test/ there. "
            "Point --data_dir at one of these, or list the images in a table "
            "(--config.data.source=csv_table)."
        )
    return (
        f"no images in {shown}: expected a folder for each class, {_EXPECTED}, with "
        f"image files in it, found {len(below)} folders without images. Check "
        "--data_dir."
    )


def _raw(ignored: Counter) -> str:
    """A sentence on raw photographs, where there are any."""
    kinds = suffixes.raw_counts(ignored)
    return f" Passed by: {kinds}." if kinds else ""


def _none_left(images, report):
    name, why = report.unreadable[0]
    return (
        f"none of {wording.count(report.num_files, 'image file')} in "
        f"{index_lib.printable(str(images))} can be read; the first is {name}: {why}."
    )
