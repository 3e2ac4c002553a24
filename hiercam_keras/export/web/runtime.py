"""ONNX Runtime Web for an exported page: fetched by npm or given, and checked.

The files of the pinned version are compared with known digests, so that a page never
contains a runtime that was not tested with it. The build for WebGPU is one of its own:
a page that uses it has both, and loads one.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from hiercam_keras import cache_folder, workdir
from hiercam_keras.errors import UserError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
LICENCE = "MIT licence, Microsoft Corporation"
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
GPU_MODULE = "ort.webgpu.bundle.min.mjs"
GPU_WASM = "ort-wasm-simd-threaded.asyncify.wasm"
SHA256 = {
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    GPU_MODULE: "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    GPU_WASM: "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
_TIMEOUT_S = 900
_INSTALL = f"npm pack {PACKAGE}@{VERSION}"


@dataclass(frozen=True)
class Build:
    """The two files of a build of the runtime: JavaScript module and WebAssembly."""

    module: bytes
    wasm: bytes


@dataclass(frozen=True)
class Runtime:
    """The builds of the runtime that a page has.

    Attributes:
      cpu: for the processor.
      gpu: for WebGPU; None for a page without it.
    """

    cpu: Build
    gpu: Build | None = None


def find(named: str | None = None, webgpu: bool = False) -> Runtime:
    """The runtime from a named place, else from the cache, else from npm.

    Args:
      named: --runtime: the package's folder, a folder with node_modules, or the .tgz of
        `npm pack`.
      webgpu: whether with the build for WebGPU.

    Raises:
      UserError: it is not there, cannot be fetched, or is of another version.
    """
    names = (MODULE, WASM, *((GPU_MODULE, GPU_WASM) if webgpu else ()))
    if named:
        found = _read(cache_folder.expanded(named), names)
        return _checked(found, names, f"--runtime={named}")
    folder = cache_folder.cache_folder() / f"{PACKAGE}-{VERSION}"
    if all((folder / name).is_file() for name in names):
        found = {name: (folder / name).read_bytes() for name in names}
        if not _others(found):
            return _runtime(found)
        logging.warning("%s is damaged and will be fetched again", folder)
    found = _fetch(names)
    runtime = _checked(found, names, _INSTALL)
    for name, data in found.items():
        workdir.write_bytes(folder / name, data)
    return runtime


def _runtime(found: Mapping[str, bytes]) -> Runtime:
    gpu = Build(found[GPU_MODULE], found[GPU_WASM]) if GPU_WASM in found else None
    return Runtime(Build(found[MODULE], found[WASM]), gpu)


def _fetch(names: Sequence[str]) -> dict[str, bytes]:
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
        return _read(packed[0], names)


def _read(place: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The files of these names that are there."""
    if place.is_file():
        try:
            with tarfile.open(fileobj=io.BytesIO(place.read_bytes())) as packed:
                members = {name: f"package/dist/{name}" for name in names}
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
        found = {name: folder / name for name in names}
        if all(path.is_file() for path in found.values()):
            return {name: path.read_bytes() for name, path in found.items()}
    return {}


def _checked(found: Mapping[str, bytes], names: Sequence[str], source: str) -> Runtime:
    missing = [name for name in names if name not in found]
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
    return _runtime(found)


def _others(found: Mapping[str, bytes]) -> list[str]:
    """Names of files that are not those of the pinned version."""
    return [
        name
        for name, data in found.items()
        if hashlib.sha256(data).hexdigest() != SHA256[name]
    ]
