"""Decoded windows of all examples in one file on disk.

`<folder>/<key>/pixels.npy` holds the concatenated windows, uint8, and is memory-mapped;
`index.json` holds checksums of its blocks and the list of unreadable files. The key is
a hash of all inputs (path, size and time of every file) and of all settings that affect
the pixels, so a cache that is found is valid. One process writes both files under
temporary names, the index last; other processes that need the same cache wait for it.
`checked.json` stores size and time of the pixel file at its last verification against
the checksums.
"""

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from hiercam_keras import locks, workdir
from hiercam_keras.cache_folder import cache_folder, expanded
from hiercam_keras.data.batch_plan import Job
from hiercam_keras.errors import UserError

SCHEMA_VERSION = 1
_PIXELS_VERSION = 2  # incremented when decoding or resizing changes pixels
_BLOCK = 64 * 2**20  # bytes per checksum
_SPARE = 2 * 2**30  # bytes that "auto" keeps free
_GB = 1e9


class Windows(NamedTuple):
    """Decoded windows of N examples.

    Attributes:
      pixels: uint8 (bytes,), the concatenated windows.
      starts: int64 (N,) of each window in `pixels`.
      good: bool (N,); False for an unreadable file.
    """

    pixels: np.ndarray
    starts: np.ndarray
    good: np.ndarray

    def get(self, index: int, extent: np.ndarray) -> np.ndarray:
        """The window of an example, uint8 (height, width, 3); `extent` is (2,)."""
        height, width = (int(side) for side in extent)
        start = self.starts[index]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


def folder_of(setting: str, cache_dir: str, num_bytes: int, memory: int) -> Path | None:
    """The folder of all caches, or None for no cache.

    Args:
      setting: the config's `data.disk_cache`: "" for none, a folder, or "auto": next to
        the indexes if the windows do not fit into memory and the disk has room.
      cache_dir: the config's `data.cache_dir`.
      num_bytes: of all windows.
      memory: bytes that windows may take in memory.
    """
    if setting != "auto":
        return expanded(setting) if setting else None
    if num_bytes <= memory:
        return None
    folder = cache_folder(cache_dir) / "decoded"
    free = _free(folder)
    if num_bytes + _SPARE > free:
        logging.info(
            "No cache of decoded images: it takes %.1f GB, and %s has %.1f GB left",
            num_bytes / _GB,
            folder,
            free / _GB,
        )
        return None
    return folder


def open_or_make(
    job: Job, pipeline: str, fill: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Windows:
    """The windows of all examples, read from disk or created.

    Args:
      job: its `disk` is the folder of all caches.
      pipeline: that computes the pixels.
      fill: writes all windows into `pixels` at `starts` and returns `good`.

    Raises:
      UserError: the disk lacks the room.
    """
    folder, where = job.disk, job.windows
    settings = {"pipeline": pipeline, "reduce": job.reduce}
    place, starts = folder / _key(job.paths, where, settings), where.starts
    found = _open(place, starts, where.num_bytes)
    if found is None:
        workdir.make_dir(folder, workdir.DECODED_FLAG)
        lock = place.with_name(f".{place.name}.lock")
        with locks.wait(lock, f"the cache {place}", workdir.DECODED_FLAG):
            # Another process may have written it while this one waited.
            found = _open(place, starts, where.num_bytes)
            if found is None:
                _make(place, starts, where.num_bytes, fill)
                found = _open(place, starts, where.num_bytes, just_made=True)
    if found is None:
        raise UserError(
            f"the cache {place} is damaged right after writing: is the disk "
            "faulty? Choose another folder with --config.data.disk_cache."
        )
    logging.info("Decoded images come from %s", place)
    return found


def _key(paths, where, settings) -> str:
    """16 hex digits of a SHA-256 of everything that affects the pixels."""
    digest = hashlib.sha256()
    about = {**settings, "schema": SCHEMA_VERSION, "pixels": _PIXELS_VERSION}
    digest.update(json.dumps({**about, "size": where.size}, sort_keys=True).encode())
    for table in (where.resized, where.start, where.extent):
        digest.update(np.ascontiguousarray(table).tobytes())
    for path in paths:
        try:
            stat = os.stat(path)
            about = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            about = "missing"
        digest.update(os.fsencode(f"{os.path.abspath(path)}\0{about}\n"))
    return digest.hexdigest()[:16]


def _open(place, starts, num_bytes, just_made=False) -> Windows | None:
    """Opens a complete cache; None if it is missing or damaged."""
    if not (place / "index.json").exists():
        return None
    try:
        about = workdir.read_json(place / "index.json")
        # Copy on write, because TensorFlow rejects read-only arrays.
        pixels = np.load(place / "pixels.npy", mmap_mode="c", allow_pickle=False)
        if pixels.shape != (num_bytes,) or pixels.dtype != np.uint8:
            raise ValueError(f"{pixels.dtype} {pixels.shape}")
        good = np.ones(len(starts), bool)
        good[about["unreadable"]] = False
        if not just_made:
            _check(place, pixels, about["checksums"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, UserError) as error:
        logging.warning(
            "The cache %s is damaged and will be rewritten: %s", place, error
        )
        return None
    return Windows(pixels, starts, good)


def _check(place, pixels, checksums):
    """Verifies the checksums, once for each size and time of the pixel file."""
    stat = os.stat(place / "pixels.npy")
    now = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "checksums": checksums}
    seen = place / "checked.json"
    with contextlib.suppress(UserError):  # the file is missing or damaged
        if workdir.read_json(seen) == now:
            return
    logging.info("Checking %s, once: %.2f GB", place, len(pixels) / _GB)
    if _checksums(pixels) != checksums:
        raise ValueError("wrong checksum")
    try:
        _write_json(seen, now)
    except UserError as error:
        logging.warning("%s; the cache is checked again by the next run", error)


def _write_json(path, value):
    # The process that wrote the cache writes this, even if only the primary writes
    # results.
    with workdir.atomic_path(path, own=True, flag=workdir.DECODED_FLAG) as temporary:
        temporary.write_text(json.dumps(value) + "\n", encoding="utf-8")


def _make(place, starts, num_bytes, fill):
    folder = place.parent
    workdir.make_dir(place, workdir.DECODED_FLAG)
    free = _free(folder)
    logging.info(
        "Writing %d decoded images to %s, once: %.2f GB of the %.1f GB that are free",
        len(starts),
        place,
        num_bytes / _GB,
        free / _GB,
    )
    _tell_others(folder, place)
    if num_bytes >= free:
        raise UserError(
            f"the cache of {len(starts)} decoded images takes {num_bytes / _GB:.1f} "
            f"GB, but {folder} has {free / _GB:.1f} GB left. Free some space, choose "
            "another folder with --config.data.disk_cache, or do without it "
            '(--config.data.disk_cache="").'
        )
    pixels_path = place / "pixels.npy"
    with workdir.atomic_path(
        pixels_path, own=True, flag=workdir.DECODED_FLAG
    ) as temporary:
        pixels = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=(num_bytes,)
        )
        with open(temporary, "r+b") as file:
            # A full disk raises an error here, but crashes on a write to a mapped page.
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(temporary))
        good = fill(pixels, starts)
        pixels.flush()
        checksums = _checksums(pixels)
        del pixels
    _write_json(
        place / "index.json",
        {
            "schema_version": SCHEMA_VERSION,
            "num_examples": len(starts),
            "num_bytes": num_bytes,
            "unreadable": np.flatnonzero(~good).tolist(),
            "checksums": checksums,
        },
    )


def _checksums(pixels) -> list[int]:
    """CRC-32 of every block, on all cores (zlib releases the GIL)."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        starts = range(0, len(pixels), _BLOCK)
        return list(pool.map(lambda at: zlib.crc32(pixels[at : at + _BLOCK]), starts))


def _free(folder) -> int:
    """Free bytes on the disk of a folder, which may not exist yet."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _tell_others(folder, place):
    others = [path for path in folder.glob("*/pixels.npy") if path.parent != place]
    if others:
        taken = sum(path.stat().st_size for path in others)
        logging.info(
            "%s holds %d other caches of %.1f GB; delete those no longer needed",
            folder,
            len(others),
            taken / _GB,
        )
