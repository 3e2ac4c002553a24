"""Writes the page: a folder for a static host, and one file that opens from disk.

Both consist of the same parts. In the single file the runtime and the weights are
base64 of gzip, and the content security policy forbids every request; in the folder
they are files, and requests to the folder itself are allowed.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiercam_keras import wording, workdir
from hiercam_keras.export.web import check
from hiercam_keras.export.web import runtime as runtimes

MODEL, TAXONOMY, CARD = "model.onnx", "taxonomy.json", "card.json"
INDEX = "index.html"
PARTS = Path(__file__).parent / "page"
_WORKER = (
    *("header.js", "resample.js", "jpeg.js", "pixels.js", "network.js"),
    *("webgpu.js", "worker.js"),
)
_PAGE = (
    *("options.js", "assets.js", "dom.js", "taxonomy.js", "belief.js", "answer.js"),
    *("heat.js", "stage.js", "ranks.js", "siblings.js", "photos.js", "saving.js"),
    *("card.js", "starting.js", "main.js"),
)
_STYLE, _SCRIPT, _WORKER_FILE = "style.css", "page.js", "worker.js"
_RUNTIME, _WASM = "ort.mjs", "ort.wasm.gz"
_GPU_RUNTIME, _GPU_WASM, CHECK = "ort.webgpu.mjs", "ort.webgpu.wasm.gz", "check.json"
_HEADERS = "_headers"
FILES = (INDEX, _STYLE, _SCRIPT, _WORKER_FILE, _RUNTIME, _WASM, _HEADERS)
GPU_FILES = (_GPU_RUNTIME, _GPU_WASM, CHECK)  # of a page that may use WebGPU
_README = """\
# {title}

A page that names what is in a photo, and shows where the score of each name comes from.
It computes in the browser; photos are not sent anywhere.

- `index.html` is the whole page in one file: open it with a double click, or send it to
  somebody.
- `site/` is the same page for a static host (GitHub Pages, Netlify, any web server):
  put its files there. Browsers load them once and keep them. Opened from disk it does
  not work, as browsers do not let a page read files there.

The network uses several threads where the host sends the headers in `site/_headers`
(`Cross-Origin-Opener-Policy: same-origin`, `Cross-Origin-Embedder-Policy:
require-corp`), and one elsewhere. Netlify and Cloudflare Pages read that file; other
servers have settings of their own. A server may compress `model.onnx` and `*.mjs`. The
runtime takes half of the cores and four threads at most; `?threads=2` at the end of the
page's address takes two.
{webgpu}
`site/README.md` is the model card. The page contains ONNX Runtime Web {version}
({licence}).
"""
_WEBGPU = """
The network uses the graphics processor (WebGPU) where the browser offers one on which
it answers for a stored picture as it does here, and WebAssembly elsewhere; the page
says which. `?webgpu=off` at the end of the page's address does without it.
"""
# WebAssembly is compiled and the worker started from memory (blob:), in both pages.
_POLICY = (
    "default-src 'none'; script-src {script} blob: 'wasm-unsafe-eval'; "
    "worker-src blob:; style-src {style}; img-src data: blob:; connect-src {connect}; "
    "base-uri 'none'; form-action 'none'"
)


_SOURCE_MAP = re.compile(rb"//# sourceMappingURL=.*")  # which the page does not have


@dataclass(frozen=True)
class _Asset:
    """A large part of the page: its name in the folder, and its bytes there."""

    file: str
    data: bytes


def write_site(folder: Path, single: Path, runtime: runtimes.Runtime) -> None:
    """Adds the page to a folder with an exported network, and writes the single file.

    Args:
      folder: with model.onnx, taxonomy.json and card.json; the page's files join them.
      single: path of the file that needs no other one.
      runtime: ONNX Runtime Web; with its build for WebGPU the page may use that.

    Raises:
      UserError: a file cannot be read or written.
    """
    about = workdir.read_json(folder / TAXONOMY)
    card = workdir.read_json(folder / CARD)
    style, script = _read(_STYLE), joined(_PAGE)
    assets = {
        "worker": _Asset(_WORKER_FILE, joined(_WORKER).encode()),
        "runtime": _Asset(_RUNTIME, _SOURCE_MAP.sub(b"", runtime.cpu.module)),
        "wasm": _Asset(_WASM, _zipped(runtime.cpu.wasm)),
        "model": _Asset(MODEL, (folder / MODEL).read_bytes()),
    }
    if runtime.gpu is not None:
        document = json.dumps(check.stored(folder / MODEL)).encode()
        assets |= {
            "gpuRuntime": _Asset(
                _GPU_RUNTIME, _SOURCE_MAP.sub(b"", runtime.gpu.module)
            ),
            "gpuWasm": _Asset(_GPU_WASM, _zipped(runtime.gpu.wasm)),
            "check": _Asset(CHECK, document),
        }
    texts = _texts(about, card)
    workdir.write_text(folder / INDEX, _served(texts, assets))
    workdir.write_text(folder / _STYLE, style)
    workdir.write_text(folder / _SCRIPT, script)
    for name in assets.keys() - {"model"}:
        workdir.write_bytes(folder / assets[name].file, assets[name].data)
    workdir.write_text(folder / _HEADERS, _headers())
    workdir.write_text(single, _single(texts, assets, style, script))


def readme(title: str, webgpu: bool = False) -> str:
    """README.md of the folder that holds both pages.

    Args:
      title: of the model card.
      webgpu: whether the pages may use WebGPU.
    """
    return _README.format(
        title=title,
        version=runtimes.VERSION,
        licence=runtimes.LICENCE,
        webgpu=_WEBGPU if webgpu else "",
    )


def joined(names: tuple[str, ...]) -> str:
    """Files of the page as one script, in a scope of their own."""
    parts = "\n".join(_read(name) for name in names)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def policy(script: str, style: str, connect: str) -> str:
    """The content security policy of a page with these sources."""
    return _POLICY.format(script=script, style=style, connect=connect)


def _served(texts: Mapping[str, str], assets: Mapping[str, _Asset]) -> str:
    listed = {
        name: {"file": asset.file, "bytes": len(asset.data)}
        for name, asset in assets.items()
    }
    return _filled(
        **texts,
        policy=policy("'self'", "'self'", "'self'"),
        style=f'<link rel="stylesheet" href="{_STYLE}">',
        assets=_in_script(listed),
        embedded="",
        script=f'<script src="{_SCRIPT}"></script>',
    )


def _single(
    texts: Mapping[str, str], assets: Mapping[str, _Asset], style: str, script: str
) -> str:
    listed, embedded = {}, []
    for name, asset in assets.items():
        data = asset.data if asset.file.endswith(".gz") else _zipped(asset.data)
        listed[name] = {"id": f"asset-{name}", "bytes": len(data)}
        text = base64.b64encode(data).decode("ascii")
        embedded.append(f'<script type="text/plain" id="asset-{name}">{text}</script>')
    return _filled(
        **texts,
        policy=policy(_hash(script), _hash(style), "'none'"),
        style=f"<style>{style}</style>",
        assets=_in_script(listed),
        embedded="\n".join(embedded),
        script=f"<script>{script}</script>",
    )


def _texts(about: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, str]:
    """The texts of the page, escaped."""
    counts = [
        wording.count(len(about["taxa"][rank]), rank)
        for rank in about["ranks"]
        if len(about["taxa"][rank]) > 1
    ] or [wording.count(1, about["ranks"][-1])]
    finest = counts[-1]
    texts = {
        "title": card["title"],
        "lead": f"A network that knows {wording.listed(reversed(counts))} answers at "
        "every rank, and maps where each score comes from.",
        "limit": f"The network knows its own {finest} only.",
        "size": str(about["image"]["height"]),
        "runtime": f"ONNX Runtime Web {runtimes.VERSION} ({runtimes.LICENCE})",
    }
    escaped = {name: html.escape(text) for name, text in texts.items()}
    return escaped | {"taxonomy": _in_script(about), "card": _in_script(card)}


def _filled(**values: str) -> str:
    """The page with its placeholders replaced, each once and not within values."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], _read(INDEX))


def _in_script(value: Any) -> str:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _headers() -> str:
    """For hosts that read it (Netlify, Cloudflare Pages): isolation allows threads."""
    return (
        "/*\n"
        "  Cross-Origin-Opener-Policy: same-origin\n"
        "  Cross-Origin-Embedder-Policy: require-corp\n"
        "  X-Content-Type-Options: nosniff\n"
        "  Referrer-Policy: no-referrer\n"
    )


def _zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _read(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")
