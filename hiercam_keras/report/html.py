"""Rendering of HTML pages that open from disk.

Names come from folders, and a folder may be called `<script>`. All text is therefore
inserted through Jinja2's autoescape, through `tojson`, or by scripts as text nodes, and
a content security policy allows only our own script. Pages fetch nothing.
"""

import base64
import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np

from hiercam_keras import wording
from hiercam_keras.report import style

_TEMPLATES = Path(__file__).parent / "templates"


def render(
    template: str, scripts: Sequence[str], styles: Sequence[str], **values: Any
) -> str:
    """Fills a template.

    Args:
      template: its file in templates/.
      scripts: files that are concatenated to the page's script, in one scope.
      styles: files that are concatenated to its style sheet.
      **values: variables of the template. It also gets `css`, `script` and `policy`,
        the content security policy that allows these two and local pictures.
    """
    css = "\n".join(_read(name) for name in styles)
    parts = "\n".join(_read(name) for name in scripts)
    script = f'"use strict";\n(() => {{\n{parts}\n}})();'
    policy = (
        "default-src 'none'; img-src data: file: 'self'; "
        f"style-src '{_hash(css)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            css=markupsafe.Markup(css),
            script=markupsafe.Markup(script),
            policy=policy,
            **values,
        )
    )


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Jinja2 would sort the columns of numbers; NaN is no JSON, see `number`.
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
        "separators": (",", ":"),
    }
    environment.filters["percent"] = style.percent
    environment.filters["cell"] = cell
    return environment


@functools.lru_cache(maxsize=32)
def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def data_uri(data: bytes, suffix: str) -> str:
    """Bytes of a picture as a data URI; `suffix` is jpg or png."""
    kind = {"jpg": "jpeg"}.get(suffix, suffix)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _hash(text: str) -> str:
    """The hash of an inline block in the form of a content security policy."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def number(value: float | None) -> float | None:
    """A number for JSON, rounded; None for NaN and infinity, which JSON lacks."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), 5)


def cell(value: Any) -> str:
    """A table cell: numbers to three significant digits, nothing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float | np.floating):
        return wording.number(value)
    return str(value)


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) scaled down so that the longer one is at most `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
