"""ONNX Runtime Web for an exported page: fetched by npm or given, and checked.

The files of the pinned version are compared with known digests, so that a page never
contains a runtime that was not tested with it.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from hiercam_keras import cache_folder, workdir
from hiercam_keras.errors import UserError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
LICENCE = "MIT licence, Microsoft Corporation"
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_TIMEOUT_S = 900
_INSTALL = f"npm pack {PACKAGE}@{VERSION}"


@dataclass(frozen=True)
class Runtime:
    """The two files of the runtime: JavaScript module and WebAssembly."""

    module: bytes
    wasm: bytes


def find(named: str | None = None) -> Runtime:
    """The runtime from a named place, else from the cache, else from npm.

    Args:
      named: --runtime: the package's folder, a folder with node_modules, or the .tgz of
        `npm pack`.

    Raises:
      UserError: it is not there, cannot be fetched, or is of another version.
    """
    if named:
        return _checked(_read(cache_folder.expanded(named)), f"--runtime={named}")
    folder = cache_folder.cache_folder() / f"{PACKAGE}-{VERSION}"
    if all((folder / name).is_file() for name in SHA256):
        found = {name: (folder / name).read_bytes() for name in SHA256}
        if not _others(found):
            return Runtime(found[MODULE], found[WASM])
        logging.warning("%s is damaged and will be fetched again", folder)
    found = _fetch()
    runtime = _checked(found, _INSTALL)
    for name, data in found.items():
        workdir.write_bytes(folder / name, data)
    return runtime


def _fetch() -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"--format=web needs {PACKAGE} {VERSION}, and there is no npm to fetch it. "
            f"Install Node.js with npm, or run `{_INSTALL}` on another computer and "
            f"name the file with --runtime={PACKAGE}-{VERSION}.tgz."
        )
    logging.info("fetching %s %s with npm", PACKAGE, VERSION)
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S
            )
            problem = done.stderr.strip() if done.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"no answer within {_TIMEOUT_S} s"
        packed = sorted(Path(folder).glob("*.tgz"))
        if problem or not packed:
            last = (problem or "it wrote no .tgz file").splitlines()[-1]
            raise UserError(
                f"`{_INSTALL}` failed: {last}. Check the network and npm's registry, "
                "or name the package with --runtime=PATH."
            )
        return _read(packed[0])


def _read(place: Path) -> dict[str, bytes]:
    """The files that are there, by name."""
    if place.is_file():
        try:
            with tarfile.open(fileobj=io.BytesIO(place.read_bytes())) as packed:
                members = {name: f"package/dist/{name}" for name in SHA256}
                known = set(packed.getnames())
                return {
                    name: packed.extractfile(member).read()
                    for name, member in members.items()
                    if member in known
                }
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UserError(
                f"--runtime={place} cannot be read as the .tgz file of `{_INSTALL}`: "
                f"{error}. Make it again."
            ) from error
    package = Path("node_modules") / PACKAGE
    for folder in (place, place / "dist", place / package / "dist"):
        found = {name: folder / name for name in SHA256}
        if all(path.is_file() for path in found.values()):
            return {name: path.read_bytes() for name, path in found.items()}
    return {}


def _checked(found: dict[str, bytes], source: str) -> Runtime:
    missing = [name for name in SHA256 if name not in found]
    if missing:
        raise UserError(
            f"{source} has no {missing[0]}: expected {PACKAGE} {VERSION}, as a folder "
            f"or as the .tgz file of `{_INSTALL}`."
        )
    if others := _others(found):
        raise UserError(
            f"{source}: {others[0]} is not that of {PACKAGE} {VERSION} (its SHA-256 "
            f"differs), with which the page was tested. Use `{_INSTALL}`."
        )
    return Runtime(found[MODULE], found[WASM])


def _others(found: dict[str, bytes]) -> list[str]:
    """Names of files that are not those of the pinned version."""
    return [
        name
        for name, data in found.items()
        if hashlib.sha256(data).hexdigest() != SHA256[name]
    ]
