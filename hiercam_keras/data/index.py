"""Data room: prepare. Looks at every image file once, and keeps what it found.

The index lives in the cache, never beside the images. A later scan decodes only files
that are new or whose size or time changed; copies of files that are not clean
(see `decode`) lie beside the index.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import logging

from hiercam_keras import file_names, workdir
from hiercam_keras.data import decode, prepare_report
from hiercam_keras.progress import progress

SCHEMA_VERSION = 1
_SAVE_EVERY = 5000  # files; a scan that is killed goes on from there
_MANY = 200  # files whose first look takes long enough to be announced
NAME_BYTES = 120  # of a folder's own name in that of its index and of its runs
_BLOCK = 256  # files between two looks at an interrupt


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one file.

    Attributes:
      size: bytes.
      mtime_ns: time of the last change.
      verdict: "ok", "converted" or "unreadable".
      width: pixels as displayed; 0 where unreadable.
      height: likewise.
      format: by content ("JPEG").
      mode: Pillow's mode.
      orientation: EXIF orientation, 1 to 8.
      reason: why it was converted or left out; empty where ok.
      copy: name of the clean copy inside the index's folder; empty where ok.
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
    """A file name that can be logged, whatever bytes it holds."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def scan(
    root: Path,
    cache_dir: Path,
    files: Mapping[str, Path],
    workers: int = 0,
    ignored: Mapping[str, int] | None = None,
    partial: bool = False,
) -> Index:
    """Looks at every file that is new or changed, and at no other.

    Args:
      root: folder that the files belong to; it names the index and is not written to.
      cache_dir: the index's folder is made in here.
      files: path by example_id.
      workers: threads; 0 for one per core.
      ignored: counts of what the caller passed by, for the report.
      partial: `files` are not all there are: entries of others stay as they are.

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
    todo = {name: files[name] for name in files if name not in entries}
    gone = set() if partial else known.keys() - files.keys()
    changed = sum(name in known for name in todo)
    if len(todo) >= _MANY:
        logging.info("Looking at %d image files, once", len(todo))
    found = _examine_all(todo, stats, folder, workers)
    for count, (name, entry) in enumerate(
        progress(found, total=len(todo), desc="prepare", unit="img"), start=1
    ):
        entries[name] = entry
        if count % _SAVE_EVERY == 0:
            _save(folder, root, {**known, **entries})
    if todo or gone:
        kept = {name: known[name] for name in known.keys() - gone} | entries
        _drop_copies(folder, known, kept)
        _save(folder, root, kept)
    report = prepare_report.of(
        entries, ignored or {}, len(todo) - changed, changed, len(gone)
    )
    report = dataclasses.replace(report, index_dir=folder)
    return Index(entries, folder, report)


def _stat(path):
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _same(entry, stat, folder):
    if (entry.size, entry.mtime_ns) != stat:
        return False
    return not entry.copy or (folder / entry.copy).is_file()


def _examine_all(
    todo: Mapping[str, Path], stats: Mapping, folder: Path, workers: int
) -> Iterator[tuple[str, Entry]]:
    """Entries in the order of `todo`; Pillow decodes outside Python's lock."""
    names = list(todo)
    if not names:
        return
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        # In blocks, so that an interrupt does not wait for the whole folder.
        for start in range(0, len(names), _BLOCK):
            block = names[start : start + _BLOCK]
            look = [
                pool.submit(_examine, name, todo[name], stats[name], folder)
                for name in block
            ]
            yield from zip(block, (one.result() for one in look), strict=True)


def _examine(name, path, stat, folder):
    try:
        facts, pixels = decode.examine(path)
    except decode.BadImage as error:
        return Entry(*stat, "unreadable", reason=str(error))
    about = (facts.width, facts.height, facts.format, facts.mode, facts.orientation)
    if not facts.why_convert:
        return Entry(*stat, "ok", *about)
    # PNG keeps what was lossless lossless; photographs stay JPEG.
    lossy = facts.format in ("JPEG", "WEBP")
    digest = hashlib.sha1(f"{name}\0{stat}".encode()).hexdigest()[:20]
    copy = f"converted/{digest}.{'jpg' if lossy else 'png'}"
    with workdir.atomic_path(folder / copy) as temporary:
        pixels.info.clear()  # neither EXIF nor ICC data travels along
        options = {"quality": 95, "subsampling": 0} if lossy else {}
        pixels.save(temporary, **options)
    return Entry(*stat, "converted", *about, reason=facts.why_convert, copy=copy)


def _load(folder: Path) -> dict[str, Entry]:
    """The entries on disk; none where there is no index that this version reads."""
    try:
        found = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if found["schema_version"] != SCHEMA_VERSION:
            return {}
        return {name: Entry(*row) for name, row in found["files"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logging.warning("The index %s is damaged and is made anew: %s", folder, error)
        return {}


def _save(folder: Path, root: Path, entries: Mapping[str, Entry]) -> None:
    text = json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "root": printable(str(Path(root).resolve())),
            "files": {name: _row(entries[name]) for name in sorted(entries)},
        },
        separators=(",", ":"),
    )
    workdir.write_text(folder / "index.json", text)


def _row(entry: Entry) -> list:
    return [getattr(entry, field.name) for field in dataclasses.fields(entry)]


def _drop_copies(folder: Path, known: Mapping, entries: Mapping) -> None:
    """Removes the copies of files that are gone or were converted anew."""
    live = {entry.copy for entry in entries.values()}
    for copy in _copies(known.values()) - live:
        (folder / copy).unlink(missing_ok=True)


def _copies(entries: Iterable[Entry]) -> set[str]:
    return {entry.copy for entry in entries if entry.copy}
