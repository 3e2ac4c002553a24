"""Data room: images in folders named as iNaturalist names them; any subset of them.

data_dir/03113_Animalia_..._gentilis/x.jpg          or
data_dir/images/03113_Animalia_..._gentilis/x.jpg   and beside `images`, where known,
data_dir/masks/..., data_dir/parts/..., boxes.csv, evidence.csv   (`annotations`)
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hiercam_keras.data import index as index_lib
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import annotations
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Listing(NamedTuple):
    """Image files of a folder, and what was passed by.

    Attributes:
      images: the folder that holds the class folders.
      lineages: by name of the class folder.
      files: path by example_id, sorted.
      bad_names: example_ids, made printable, that cannot be written into a list.
      ignored: counts of what was passed by, by kind.
    """

    images: Path
    lineages: dict[str, Lineage]
    files: dict[str, Path]
    bad_names: list[str]
    ignored: Counter


def read_source(request: Request) -> Reading:
    """Records of every readable image, sorted by example_id.

    Raises:
      UserError: no folder is given, it is missing, empty or of another form, a class
        folder's name is not an iNat name, or no image is left.
    """
    if not request.place:
        raise UserError(
            "no images were given: use --data_dir=/path/to/class_folders, or "
            "--config=configs/synthetic_birds.py for the embedded birds."
        )
    root = Path(request.place).expanduser()
    keep = lineage_prefix(request.config.get("keep_lineage", ""))
    listing = list_files(root, keep)
    return read_listing(listing, root, request.cache, request.workers)


def read_listing(
    listing: Listing,
    root: Path,
    cache_dir: Path,
    workers: int = 0,
    splits: Mapping[str, str] | None = None,
) -> Reading:
    """Records of what was listed.

    Args:
      listing: of one folder or of several.
      root: the folder that was asked for.
      cache_dir: where the index lies.
      workers: threads; 0 for one per core.
      splits: "train", "val" or "test" by example_id, where they are official.
    """
    found = index_lib.scan(
        listing.images, cache_dir, listing.files, workers, listing.ignored
    )
    beside = _annotations_folder(listing.images)
    marks = annotations.Annotations(beside, found.folder)
    records = []
    for example_id, path in listing.files.items():
        entry = found.entries[example_id]
        if entry.verdict == "unreadable":
            continue
        about = marks.of(example_id, entry)
        records.append(
            Record(
                example_id=example_id,
                path=found.pixels_path(example_id, path),
                lineage=listing.lineages[example_id.split("/", 1)[0]],
                width=entry.width,
                height=entry.height,
                split=splits[example_id] if splits else None,
                **about,
            )
        )
    report = found.report.leaving_out(
        [
            (name, "its name is not UTF-8 text of one line")
            for name in listing.bad_names
        ],
    )
    if not records:
        raise UserError(_none_left(listing.images, report))
    return Reading(root, records, report, annotations.read_evidence(beside))


def lineage_prefix(text: str) -> tuple[str, ...]:
    """data.keep_lineage as taxa: "Animalia/Chordata/Aves", "" for all."""
    return tuple(part.strip() for part in str(text).split("/") if part.strip())


def list_files(data_dir: Path, keep: tuple[str, ...] = ()) -> Listing:
    """The image files under `data_dir`, without opening one.

    Only files directly in a class folder count; deeper folders, hidden files and files
    without an image's suffix are passed by, and counted; so are class folders whose
    lineage does not begin with the taxa of `keep`.
    """
    data_dir = Path(data_dir)
    images = _images_folder(data_dir)
    ignored = Counter()
    lineages, files, bad_names = {}, {}, []
    for folder in _entries(images):
        if _hidden(folder.name):
            ignored["hidden files"] += 1
        elif not _is_dir(folder):
            ignored["files outside class folders"] += 1
        else:
            shown = index_lib.printable(folder.name)
            if _outside(shown, keep):
                ignored[f"class folders outside {'/'.join(keep)}"] += 1
                continue
            names = _image_names(folder, ignored)
            if not names:
                ignored["folders without images"] += 1
                continue
            lineages[folder.name] = _parse(shown, folder.name)
            place = Path(folder.path)
            for name in names:
                example_id = f"{folder.name}/{name}"
                if not _writable(example_id):
                    bad_names.append(index_lib.printable(example_id))
                    continue
                files[example_id] = place / name
    if not files and ignored[f"class folders outside {'/'.join(keep)}"]:
        raise UserError(
            f"no class folder of {index_lib.printable(str(images))} lies in "
            f"data.keep_lineage={'/'.join(keep)}. Correct it, or leave it empty."
        )
    if not files:
        raise UserError(_nothing(data_dir, images))
    return Listing(
        images,
        lineages,
        {name: files[name] for name in sorted(files)},
        sorted(bad_names),
        ignored,
    )


def _images_folder(data_dir):
    """`data_dir`, or `data_dir/images` where that holds the class folders."""
    if not data_dir.exists():
        raise UserError(
            f"--data_dir {index_lib.printable(str(data_dir))} does not exist. Give the "
            "folder that holds the class folders (00001_Animalia_.._epithet)."
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
    """Beside a folder named `images`, else inside: a parent may hold other people's."""
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
        elif not entry.name.lower().endswith(SUFFIXES):
            ignored["files that are no images by name"] += 1
        elif not _is_file(entry):
            ignored["broken links and special files"] += 1
        else:
            names.append(entry.name)
    return names


def _is_dir(entry):
    try:
        return entry.is_dir()
    except OSError:  # A link that leads back to itself.
        return False


def _is_file(entry):
    """A regular file; opening a pipe or a device could wait for ever."""
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _is_class(entry):
    if _hidden(entry.name) or not _is_dir(entry):
        return False
    try:
        parse_class_name(entry.name)
    except UserError:
        return False
    return True


def _outside(name, keep):
    """Whether a class folder lies outside a lineage; of an odd name nobody knows."""
    if not keep:
        return False
    try:
        return parse_class_name(name).taxa[: len(keep)] != keep
    except UserError:
        return False


def _hidden(name):
    return name.startswith((".", "__MACOSX"))


def _writable(example_id):
    """Whether a list with one UTF-8 line each can hold the name."""
    try:
        example_id.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not any(char in example_id for char in "\n\r")


def _parse(shown, name):
    # A name with bytes that are not UTF-8 is parsed, and told, in its printable form.
    return parse_class_name(shown if shown != name else name)


def _nothing(data_dir, images):
    shown = index_lib.printable(str(images))
    below = [e for e in _entries(images) if not _hidden(e.name) and _is_dir(e)]
    if not below and any(
        e.name.lower().endswith(SUFFIXES) for e in _entries(images) if not _is_dir(e)
    ):
        return (
            f"{shown} holds images, but no class folders: expected folders like "
            "03113_Animalia_.._Accipiter_gentilis. Point --data_dir at the folder "
            "above."
        )
    for entry in below:
        inside = Path(entry.path)
        if any(_is_class(e) for e in _entries(inside)):
            return (
                f"{shown} holds no class folders, but {entry.name}/ in it does. Use "
                f"--data_dir={index_lib.printable(str(inside))}."
            )
    return (
        f"no images in {shown}: expected folders like "
        "03113_Animalia_.._Accipiter_gentilis with image files in them, found "
        f"{len(below)} folders without images. Check --data_dir."
    )


def _none_left(images, report):
    name, why = report.unreadable[0]
    return (
        f"none of the {report.num_files} image files in "
        f"{index_lib.printable(str(images))} can be read; the first is {name}: {why}."
    )
