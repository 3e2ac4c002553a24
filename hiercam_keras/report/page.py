"""Room report: the compare page, one index.html that opens from disk.

Style and script are inlined, pictures too as long as they are few; nothing is fetched.
Text reaches the page through Jinja2's autoescape, through `tojson`, or in the script
as text nodes, and a content security policy lets nothing run but our own script: names
come from folders, and a folder may be called `<script>`.
"""

import base64
import collections
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report import curves, style
from hiercam_keras.report.overlay import encode, heat_layer
from hiercam_keras.report.schema import Model, Page, Picture, View
from hiercam_keras.report.sheets import check_views, shared_depth
from hiercam_keras.workdir import write_bytes, write_text

MAX_INLINE = 300

_TEMPLATES = Path(__file__).parent / "templates"
_IMAGE_SIDE = 256  # pixels, the longest side of a picture in the page
_HEAT_SIDE = 112  # heat is smooth: the browser scales it up without a visible loss


def write_page(
    out_dir: str | os.PathLike, page: Page, inline: bool | None = None
) -> Path:
    """Writes the page.

    Args:
      out_dir: folder of index.html; it is made.
      page: what is shown, see `schema.Page`.
      inline: pictures as data URIs in index.html (about 25 kB a picture); otherwise as
        files in `images/` beside it, loaded as they come into view. None: inline up to
        `MAX_INLINE` pictures.

    Returns:
      Path of index.html.

    Raises:
      UserError: ids that repeat or are unknown, or views that are not those of the
        models; a folder that cannot be written.
    """
    _check(page)
    if inline is None:
        inline = len(page.pictures) <= MAX_INLINE
    place = _place_inline if inline else _place_beside(Path(out_dir))
    skip = shared_depth(page.pictures)
    pictures = [
        _picture(picture, number, place) for number, picture in enumerate(page.pictures)
    ]
    number_of = {p.example_id: i for i, p in enumerate(page.pictures)}
    data = {
        "ranks": list(page.ranks[skip:]),
        "skip": skip,
        "models": [{"name": m.name, "rank": m.rank} for m in page.models],
        "agreementName": page.agreement_name,
        "sections": [
            {
                "title": section.title,
                "note": section.note,
                "pictures": [number_of[i] for i in section.example_ids],
            }
            for section in page.sections
        ],
        "pictures": pictures,
    }
    hero = number_of.get(_hero(page))
    html = _render(page, data, None if hero is None else pictures[hero])
    path = Path(out_dir) / "index.html"
    write_text(path, html)
    return path


def _render(page: Page, data: Mapping[str, Any], hero: Mapping | None) -> str:
    css = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    figures = [
        {"title": f.title, "src": _data_uri(f.png, "png"), "alt": f.alt,
         "caption": f.caption}
        for f in page.figures
    ]  # fmt: skip
    curve = ""
    if page.curves:
        png = curves.learning_curves_png(page.curves, page.chances)
        curve = _data_uri(png, "png")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Jinja2 would sort the columns of numbers; NaN is no JSON, see `_number`.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["percent"] = style.percent
    environment.filters["cell"] = _cell
    return environment.get_template("index.html").render(
        page=page,
        summary=_summary(page.models),
        data=data,
        hero=hero,
        curve=curve,
        figures=figures,
        css=markupsafe.Markup(css),
        script=markupsafe.Markup(script),
        css_hash=_hash(css),
        script_hash=_hash(script),
    )


def _summary(models: Sequence[Model]) -> dict[str, list]:
    """Header and rows of the summary table, without columns that no model fills."""
    columns = {
        "model": [m.name for m in models],
        "rank": [m.rank for m in models],
        "classes": [m.num_classes for m in models],
        "test accuracy": [style.percent(m.accuracy, 1) for m in models],
        "95 % interval": [_interval(m.accuracy_interval) for m in models],
        "guessing": [_share(m.chance) for m in models],
        "mean heatmap area": [_share(m.heatmap_area) for m in models],
        "heat on the bird": [_share(m.energy_on_bird) for m in models],
        "bird's share of the picture": [_share(m.bird_area) for m in models],
    }
    for label in dict.fromkeys(label for m in models for label in m.numbers):
        columns[label] = [_cell(m.numbers.get(label)) for m in models]
    if columns["model"] == columns["rank"]:
        del columns["model"]
    kept = {k: v for k, v in columns.items() if any(cell != "–" for cell in v)}
    return {"header": list(kept), "rows": list(zip(*kept.values(), strict=True))}


def _picture(picture: Picture, number: int, place) -> dict[str, Any]:
    height, width = _fitted(picture.image.shape[:2], _IMAGE_SIDE)
    image = Image.fromarray(picture.image)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    name = f"{number:05d}"
    return {
        "id": picture.example_id,
        "split": picture.split,
        "name": picture.true_name,
        "true": list(picture.true),
        "image": place(f"{name}.jpg", encode(image, "jpg", quality=85)),
        "agreement": _number(picture.agreement),
        "birdArea": _number(picture.bird_area),
        "numbers": _numbers(picture.numbers),
        "views": [
            _view(view, f"{name}_{k}.png", (height, width), place)
            for k, view in enumerate(picture.views)
        ],
    }


def _view(view: View, name: str, size: tuple[int, int], place) -> dict[str, Any]:
    flat = bool(np.max(view.heatmap) == np.min(view.heatmap))
    layer = heat_layer(
        view.heatmap, _fitted(size, _HEAT_SIDE), degenerate=view.degenerate
    )
    return {
        "model": view.model,
        "predicted": list(view.predicted),
        "name": view.predicted_name,
        "p": _number(view.probability),
        "right": bool(view.correct),
        "heat": place(name, encode(layer, "png")),
        "degenerate": bool(view.degenerate or flat),
        "energy": _number(view.energy_on_bird),
        "numbers": _numbers(view.numbers),
    }


def _check(page: Page) -> None:
    counts = collections.Counter(picture.example_id for picture in page.pictures)
    repeated = [i for i, count in counts.items() if count > 1]
    if repeated:
        raise UserError(f"the page has pictures twice: {repeated[:3]}")
    wanted = [i for section in page.sections for i in section.example_ids]
    if page.hero is not None:
        wanted.append(page.hero)
    unknown = [i for i in wanted if i not in counts]
    if unknown:
        raise UserError(f"the page shows pictures that it lacks: {unknown[:3]}")
    for picture in page.pictures:
        check_views(picture, page.models)


def _hero(page: Page) -> str | None:
    """The picture at the top: all models right and their maps least alike."""
    if page.hero is not None or not page.pictures:
        return page.hero

    def dullness(picture: Picture) -> tuple:
        agreement = picture.agreement
        return (
            any(view.degenerate for view in picture.views),
            not all(view.correct for view in picture.views),
            math.inf if agreement is None else agreement,
        )

    return min(page.pictures, key=dullness).example_id


def _place_inline(name: str, data: bytes) -> str:
    return _data_uri(data, name.rsplit(".", 1)[-1])


def _place_beside(out_dir: Path):
    def place(name: str, data: bytes) -> str:
        write_bytes(out_dir / "images" / name, data)
        return f"images/{name}"

    return place


def _data_uri(data: bytes, suffix: str) -> str:
    kind = {"jpg": "jpeg"}.get(suffix, suffix)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _hash(text: str) -> str:
    """What a content security policy calls the hash of an inline block."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) scaled down so that the longer one is at most `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _numbers(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {str(label): _number(value) for label, value in numbers.items()}


def _number(value: float | None) -> float | None:
    """JSON knows no NaN and no infinity."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), 5)


def _share(value: float | None) -> str:
    return style.percent(value, 1)


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f} %"


def _cell(value: Any) -> str:
    """A table cell: numbers to three significant digits, nothing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.3g}"
    return str(value)
