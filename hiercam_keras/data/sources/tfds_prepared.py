"""A TFDS data set, unpacked once into files that every mode can read.

Modes, splits and map stores identify an image by its path, and Pillow reads files
without TensorFlow. The examples are therefore written with their encoded bytes (without
re-encoding), with masks as PNG and one `table.csv` (see `table`). The table is written
last: a folder without it is incomplete, and the next call continues it.
"""

import contextlib
import csv
import hashlib
import importlib.resources.abc
import importlib.util
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from hiercam_keras import cache_folder, file_names, workdir
from hiercam_keras.data.records import Box
from hiercam_keras.data.sources import download, safe_paths
from hiercam_keras.data.sources.table import BOX
from hiercam_keras.errors import UserError
from hiercam_keras.progress import progress
from hiercam_keras.taxonomy import split_words
from hiercam_keras.taxonomy.lineage import Lineage

_TFDS = "tensorflow_datasets"


class Item(NamedTuple):
    """One example to be written.

    Attributes:
      example_id: relative path with slashes.
      image: encoded bytes.
      lineage: None if unknown; such examples are left out.
      group: key for counting examples that are left out.
      box: pixels of the image.
      mask: bool (H, W), of the image's size.
    """

    example_id: str
    image: bytes
    lineage: Lineage | None
    group: str = ""
    box: Box | None = None
    mask: np.ndarray | None = None


def folder_for(cache: Path, name: str, place: str) -> Path:
    """The folder below `cache` for the files of data set `name` of the TFDS folder
    `place`."""
    digest = hashlib.sha1(os.fsencode(str(place))).hexdigest()[:6]
    return cache / "tfds" / f"{name}-{digest}"


def is_unpacked(folder: Path) -> bool:
    """Whether the folder is complete."""
    return (folder / "table.csv").is_file()


def default_place(name: str, config: Any) -> str:
    """The folder of prepared data sets without --data_dir and data.root.

    It is TFDS_DATA_DIR or ~/tensorflow_datasets. If data.cache_dir is set and the data
    set is not prepared there, it is the folder of this name in data.cache_dir.

    Args:
      name: of the data set.
      config: the config's `data`.

    Raises:
      UserError: there is no home folder; gigabytes are not written to temporary ones.
    """
    if place := os.environ.get("TFDS_DATA_DIR"):
        return place
    home, cache = cache_folder.home(), config.get("cache_dir", "")
    usual = home and home / _TFDS
    if cache and not (usual and (usual / name).exists()):
        return str(cache_folder.cache_folder(cache) / _TFDS)
    if usual is None or not (usual.exists() or os.access(home, os.W_OK)):
        raise UserError(
            f"{name} has no place: there is no home folder that can be written. Name a "
            "folder with --data_dir, --config.data.cache_dir or TFDS_DATA_DIR."
        )
    return str(usual)


def manual_dir(config: Any, default: Path) -> Path:
    """The folder of manually placed archives and of downloads.

    Raises:
      UserError: data.manual_dir does not exist; a typing error must not start a
        download of many gigabytes.
    """
    named = config.get("manual_dir", "")
    if not named:
        return default
    folder = cache_folder.expanded(named)
    if not folder.is_dir():
        raise UserError(
            f"data.manual_dir is {folder}, which is not a folder. Create it, or leave "
            f"the field empty for {default}."
        )
    return folder


def import_tfds() -> Any:
    """Imports tensorflow_datasets, and hides the accelerator, which JAX uses, from
    TF."""
    if importlib.util.find_spec("importlib_resources") is None:
        # TFDS 4.9.10 uses this backport without requiring it; the original replaces it.
        sys.modules.setdefault("importlib_resources", importlib.resources)
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"this data set is unpacked with TensorFlow Datasets, which does not "
            f"import ({error}). Install tensorflow-datasets and tensorflow-cpu, or "
            "prepare it on another machine with the same data.cache_dir."
        ) from error
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        logging.warning("TensorFlow was in use before and keeps its GPUs: %s", error)
    tfds.disable_progress_bar()  # the progress is logged here
    return tfds


def find_prepared(name: str, place: str) -> Any | None:
    """The builder of prepared data in a folder, on disk or in a bucket.

    Args:
      name: of the data set.
      place: the folder of one version, or a TFDS data_dir that holds <name>/<version>.

    Returns:
      The builder of the latest version; None if there is none.
    """
    tfds = import_tfds()
    root = tfds.core.Path(place).expanduser()
    if (root / "dataset_info.json").exists():
        return tfds.builder_from_directory(root)
    if not (root / name).exists():
        return None
    versions = [
        (tfds.core.Version(folder.name), folder)
        for folder in (root / name).iterdir()
        if tfds.core.Version.is_valid(folder.name)
        and (folder / "dataset_info.json").exists()
    ]
    if not versions:
        return None
    return tfds.builder_from_directory(max(versions, key=lambda pair: pair[0])[1])


def file_format() -> str:
    """The random-access format if it can be written here, else TFDS' default."""
    try:
        import array_record.python.array_record_module  # noqa: F401
    except ImportError:
        return "tfrecord"
    return "array_record"


def prepare(builder: Any, download_dir: Path, manual_dir: Path, how: str) -> None:
    """Writes a data set's shards with TFDS.

    Args:
      builder: of the data set.
      download_dir: for files that TFDS extracts.
      manual_dir: folder of the archives.
      how: remedy for failures, for the message.

    Raises:
      UserError: TFDS failed, for any reason.
    """
    tfds = import_tfds()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    try:
        # TFDS prints to stdout, where our summary goes.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_dir=str(download_dir), download_config=config
            )
    except UserError:
        raise
    except Exception as error:  # many kinds of errors from archives, disks and servers
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"cannot prepare {builder.name} in {builder.data_path}: "
            f"{type(error).__name__}: {reason}. {how}"
        ) from error


def unpack(builder: Any, folder: Path, convert: Callable[[dict], Item]) -> None:
    """Writes images, masks and, at the end, the table of a prepared data set.

    Args:
      builder: of a prepared data set.
      folder: to write; complete files in it are kept.
      convert: makes an item of an example, with `image` still encoded.

    Raises:
      UserError: no example has a lineage, an id is repeated, or the folder cannot be
        written.
    """
    total = sum(split.num_examples for split in builder.info.splits.values())
    size = builder.info.dataset_size or 0
    # A bucket's shards are copied before they are unpacked.
    copies = 2 if is_remote(str(builder.data_path)) else 1
    download.check_room(folder, size * copies - _size_of(folder), builder.name)
    builder = _within_reach(builder, folder)
    logging.info(
        "Unpacking %d examples (%s) to %s", total, download.in_words(size), folder
    )
    rows, seen, unknown = [], set(), Counter()
    ranks: tuple[str, ...] | None = None
    examples = (
        (split_words.official(name) or name, example)
        for name in sorted(builder.info.splits)
        for example in _examples(builder, name)
    )
    for split, example in progress(examples, total, "unpack"):
        item = convert(example)
        if item.lineage is None:
            unknown[item.group] += 1
            continue
        ranks = ranks or item.lineage.ranks
        name = safe_paths.relative(item.example_id)
        if name in seen:
            raise UserError(f"{builder.name} has two examples named {name}.")
        seen.add(name)
        rows.append((name, *item.lineage.taxa, *_write(folder, name, item), split))
    if not rows:
        raise UserError(f"{builder.name} holds no image with a known lineage.")
    about = {
        "data_set": builder.info.full_name,
        "prepared": str(builder.data_path),
        "without_lineage": dict(sorted(unknown.items())),
    }
    workdir.write_json(folder / "source.json", about, workdir.CACHE_FLAG)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("example_id", *ranks, "path", *BOX, "mask", "split"))
    writer.writerows(sorted(rows))
    workdir.write_text(folder / "table.csv", text.getvalue(), workdir.CACHE_FLAG)


def _write(folder: Path, name: str, item: Item) -> tuple:
    """Writes the files of an example; returns its path, box and mask cells."""
    image = folder / "images" / name
    if not (image.is_file() and image.stat().st_size == len(item.image)):
        workdir.write_bytes(image, item.image, workdir.CACHE_FLAG)
    mask = ""
    if item.mask is not None:
        mask = f"masks/{file_names.image_path(name, '.png')}"
        if not (folder / mask).is_file():
            with workdir.atomic_path(
                folder / mask, flag=workdir.CACHE_FLAG
            ) as temporary:
                Image.fromarray(item.mask.astype(np.uint8) * 255).save(temporary)
    box = [f"{edge:.6g}" for edge in item.box] if item.box else [""] * len(BOX)
    return (f"images/{name}", *box, mask)


def _examples(builder: Any, split: str) -> Iterator[dict]:
    """Examples of a split, images still encoded, in the order of the shards."""
    tfds = import_tfds()
    decoders = {"image": tfds.decode.SkipDecoding()}
    try:
        source = builder.as_data_source(split, decoders=decoders)
    except NotImplementedError:  # a format without random access
        options = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        dataset = builder.as_dataset(
            split, decoders=decoders, read_config=options, shuffle_files=False
        )
        yield from tfds.as_numpy(dataset)
        return
    for number in range(len(source)):
        yield source[number]


def _size_of(folder: Path) -> int:
    """Bytes written by an earlier call that was killed."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _within_reach(builder: Any, folder: Path) -> Any:
    """The builder, or that of a local copy, as random access needs local files."""
    path = str(builder.data_path)
    if not is_remote(path):
        return builder
    copy = folder / "shards" / builder.name / str(builder.version)
    files = [one for one in builder.data_path.iterdir() if not one.is_dir()]
    for one in progress(files, len(files), "fetch", "file"):
        target = copy / one.name
        if not target.is_file():
            with workdir.atomic_path(target, flag=workdir.CACHE_FLAG) as temporary:
                one.copy(temporary)
    return import_tfds().builder_from_directory(copy)


def is_remote(path: str) -> bool:
    """Whether a path is in a bucket (gs://...), not on this machine."""
    return "://" in path


def text(value: bytes | str) -> str:
    """A text feature of an example as str; some formats give bytes."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
