"""The index of a folder's images: decodes every file once and stores the facts.

The index is in the cache, never next to the images. A later scan decodes only files
that are new or have another size or time. The folder of the index also holds converted
copies of files that are not clean (see `decode`).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from absl import logging

from hiercam_keras import file_names, workdir
from hiercam_keras.data import capture, decode, fingerprints, heif, prepare_report
from hiercam_keras.errors import UserError
from hiercam_keras.progress import progress

SCHEMA_VERSION = 4
# Version 1 has no sketches: its files are scanned again. Version 2 has no times, which
# are read when they are asked for. Version 3 has width and height exchanged in a TIFF
# file that lies on its side: it is scanned again.
_READ = (1, 2, 3, 4)
_SIDEWAYS = 4  # greater orientations
_SAVE_EVERY = 5000  # files; a killed scan resumes from there
_MANY = 200  # files; larger scans are announced
NAME_BYTES = 120  # of a folder's name within the names of its index and runs
_BLOCK = 256  # files between two checks for an interrupt
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Facts of one file.

    Attributes:
      size: bytes.
      mtime_ns: time of the last change.
      verdict: "ok", "converted" or "unreadable".
      width: pixels as displayed; 0 where unreadable.
      height: likewise.
      format: by content ("JPEG").
      mode: Pillow's mode.
      orientation: EXIF orientation, 1 to 8.
      reason: why it was converted or left out; empty if ok.
      copy: name of the clean copy in the index's folder; empty if ok.
      sketch: see `fingerprints`; empty if unreadable.
      dhash: difference hash, 64 bits as hexadecimal digits; empty if unreadable.
      pixels: digest of all pixels; empty if no other file has the same sketch.
      taken: time of the photograph (`capture`); "" if unknown, None if not read yet.
      camera: likewise; "" if unknown.
    """

    size: int
    mtime_ns: int
    verdict: str
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    orientation: int = 1
    reason: str = ""
    copy: str = ""
    sketch: str = ""
    dhash: str = ""
    pixels: str = ""
    taken: str | None = None
    camera: str = ""

    def for_record(self) -> dict[str, Any]:
        """The fields of a `Record` that the scan knows."""
        return {
            "width": self.width,
            "height": self.height,
            "dhash": self.dhash,
            "pixels": self.pixels,
            "taken": self.taken or "",
            "camera": self.camera,
        }


@dataclasses.dataclass(frozen=True)
class Index:
    """Entries by example_id, and the folder that holds the clean copies."""

    entries: Mapping[str, Entry]
    folder: Path
    report: prepare_report.PrepareReport

    def pixels_path(self, example_id: str, original: Path) -> Path:
        """The file to decode: the original, or its clean copy."""
        entry = self.entries[example_id]
        return self.folder / entry.copy if entry.copy else original


def folder_key(root: Path) -> str:
    """Basename and 6 hex digits of the resolved path: unique and readable."""
    resolved = Path(root).resolve()
    digest = hashlib.sha1(os.fsencode(resolved)).hexdigest()[:6]
    name = file_names.readable(printable(resolved.name) or "root", NAME_BYTES)
    return f"{name}-{digest}"


def printable(name: str) -> str:
    """A file name with undecodable bytes escaped, for logs."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def scan(
    root: Path,
    cache_dir: Path,
    files: Mapping[str, Path],
    workers: int = 0,
    ignored: Mapping[str, int] | None = None,
    partial: bool = False,
    times: bool = False,
) -> Index:
    """Scans the files that are new or changed.

    Results before an interrupt are kept; a kill loses at most `_SAVE_EVERY` files.

    Args:
      root: folder that the files belong to; it names the index and is not written to.
      cache_dir: the index's folder is made in here.
      files: path by example_id.
      workers: threads; 0 for one per core.
      ignored: counts of files that the caller skipped, by kind, for the report.
      partial: whether `files` is a subset of the folder; other entries are kept.
      times: whether times and cameras are needed; the index of an earlier version has
        none.

    Raises:
      UserError: the cache cannot be written.
    """
    folder = Path(cache_dir) / folder_key(root)
    known = _load(folder)
    stats = {name: _stat(path) for name, path in files.items()}
    entries = {
        name: known[name]
        for name in files
        if name in known and _same(known[name], stats[name], folder)
    }
    todo = [name for name in files if name not in entries]
    gone = set() if partial else known.keys() - files.keys()
    old = {name for name in todo if name in known and _is_old(known[name], stats[name])}
    changed = len([name for name in todo if name in known]) - len(old)
    _say_scan(folder, len(todo), len(old))
    found = _for_each(
        todo, lambda name: _examine(name, files[name], stats[name], folder), workers
    )
    completed = 0
    try:
        for count, (name, entry) in enumerate(
            progress(found, total=len(todo), desc="prepare", unit="img"), start=1
        ):
            entries[name] = entry
            if count % _SAVE_EVERY == 0:
                _save(folder, root, {**known, **entries})
        for name, digest in _digests(entries, files, workers):
            entries[name] = dataclasses.replace(entries[name], pixels=digest)
            completed += 1
        for name, (taken, camera) in _times(entries, files, workers) if times else ():
            entries[name] = dataclasses.replace(
                entries[name], taken=taken, camera=camera
            )
            completed += 1
    except BaseException:  # mostly an interrupt
        if todo or completed:
            with contextlib.suppress(UserError):  # the first error is more informative
                _save(folder, root, {**known, **entries})
        raise
    if todo or gone or completed:
        kept = {name: known[name] for name in known.keys() - gone} | entries
        _drop_copies(folder, known, kept)
        _save(folder, root, kept)
    added = len(todo) - changed - len(old)
    report = prepare_report.of(entries, ignored or {}, added, changed, len(gone))
    report = dataclasses.replace(report, index_dir=folder)
    return Index(entries, folder, report)


def _say_scan(folder: Path, todo: int, old: int) -> None:
    """Logs how many files are scanned, and those of an index of an earlier version."""
    if old:
        logging.info(
            "The index %s is of an earlier version: %d files are scanned again",
            folder,
            old,
        )
    if todo >= _MANY:
        logging.info("Scanning %d image files, once", todo)


def _stat(path):
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _same(entry, stat, folder):
    if (entry.size, entry.mtime_ns) != stat or _is_old(entry, stat):
        return False
    if entry.reason == heif.MISSING and heif.register():
        return False  # the package was installed since
    return not entry.copy or (folder / entry.copy).is_file()


def _is_old(entry, stat):
    """Whether a file is unchanged, but was scanned by an earlier version."""
    same = (entry.size, entry.mtime_ns) == stat
    return same and not entry.sketch and entry.verdict != "unreadable"


def _for_each(
    names: Sequence[str], work: Callable[[str], T], workers: int
) -> Iterator[tuple[str, T]]:
    """Results in the order of `names`, by threads (Pillow releases the GIL)."""
    if not names:
        return
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        # In blocks, so that an interrupt takes effect before the whole folder is done.
        for start in range(0, len(names), _BLOCK):
            block = names[start : start + _BLOCK]
            found = [pool.submit(work, name) for name in block]
            yield from zip(block, (one.result() for one in found), strict=True)


def _digests(
    entries: Mapping[str, Entry], files: Mapping[str, Path], workers: int
) -> Iterator[tuple[str, str]]:
    """(name, digest of all pixels) of files that share a sketch with another one."""
    count = Counter(entry.sketch for entry in entries.values() if entry.sketch)
    todo = [
        name
        for name, entry in entries.items()
        if count[entry.sketch] > 1 and not entry.pixels
    ]
    if len(todo) >= _MANY:
        logging.info("Comparing all pixels of %d files that look the same", len(todo))
    # A file that changed meanwhile has none: the next scan sees it.
    found = _for_each(todo, lambda name: fingerprints.digest_of(files[name]), workers)
    return ((name, digest) for name, digest in found if digest)


def _times(
    entries: Mapping[str, Entry], files: Mapping[str, Path], workers: int
) -> Iterator[tuple[str, tuple[str, str]]]:
    """(name, (time, camera)) of files that an earlier version scanned without them."""
    todo = [
        name
        for name, entry in entries.items()
        if entry.taken is None and entry.verdict != "unreadable"
    ]
    if len(todo) >= _MANY:
        logging.info("Reading the times of %d photographs, once", len(todo))
    return _for_each(todo, lambda name: capture.of_file(files[name]), workers)


def _examine(name, path, stat, folder):
    try:
        facts, pixels = decode.examine(path)
    except decode.BadImage as error:
        return Entry(*stat, "unreadable", reason=str(error))
    about = (facts.width, facts.height, facts.format, facts.mode, facts.orientation)
    sketch, dhash = fingerprints.sketch(pixels)
    prints = {"sketch": sketch, "dhash": dhash}
    prints |= {"taken": facts.taken, "camera": facts.camera}
    if not facts.why_convert:
        return Entry(*stat, "ok", *about, **prints)
    # Lossless formats become PNG; photographs stay JPEG.
    lossy = facts.format in ("JPEG", "WEBP", "HEIF")
    digest = hashlib.sha1(f"{name}\0{stat}".encode()).hexdigest()[:20]
    copy = f"converted/{digest}.{'jpg' if lossy else 'png'}"
    if not (folder / copy).is_file():  # an earlier version may have written it
        with workdir.atomic_path(folder / copy, flag=workdir.CACHE_FLAG) as temporary:
            pixels.info.clear()  # drops EXIF and ICC data
            options = {"quality": 95, "subsampling": 0} if lossy else {}
            pixels.save(temporary, **options)
    reason = facts.why_convert
    return Entry(*stat, "converted", *about, reason, copy, **prints)


def _load(folder: Path) -> dict[str, Entry]:
    """The entries on disk; empty without an index that this version can read."""
    try:
        found = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if found["schema_version"] not in _READ:
            return {}
        entries = {name: Entry(*row) for name, row in found["files"].items()}
        if found["schema_version"] > 3:
            return entries
        return {name: one for name, one in entries.items() if not _exchanged(one)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logging.warning(
            "The index %s is damaged and will be rebuilt: %s", folder, error
        )
        return {}


def _exchanged(entry: Entry) -> bool:
    return entry.format == "TIFF" and entry.orientation > _SIDEWAYS


def _save(folder: Path, root: Path, entries: Mapping[str, Entry]) -> None:
    text = json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "root": printable(str(Path(root).resolve())),
            "files": {name: _row(entries[name]) for name in sorted(entries)},
        },
        separators=(",", ":"),
    )
    workdir.write_text(folder / "index.json", text, workdir.CACHE_FLAG)


def _row(entry: Entry) -> list:
    return [getattr(entry, field.name) for field in dataclasses.fields(entry)]


def _drop_copies(folder: Path, known: Mapping, entries: Mapping) -> None:
    """Removes the copies of files that were removed or converted again."""
    live = {entry.copy for entry in entries.values()}
    for copy in _copies(known.values()) - live:
        (folder / copy).unlink(missing_ok=True)


def _copies(entries: Iterable[Entry]) -> set[str]:
    return {entry.copy for entry in entries if entry.copy}
