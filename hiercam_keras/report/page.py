"""The compare page, one index.html that opens from disk.

Style and script are inlined, and pictures too up to `MAX_INLINE`. `html` describes how
names are escaped, `page_data` the JSON that the script reads.
"""

import math
import os
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from hiercam_keras.report import curves, html, style
from hiercam_keras.report.page_data import page_data
from hiercam_keras.report.schema import Model, Page
from hiercam_keras.workdir import write_bytes, write_text

MAX_INLINE = 100

_SCRIPTS = (
    "sideways.js",
    "page_dom.js",
    "page_list.js",
    "page_cards.js",
    "page_window.js",
    "page_detail.js",
    "page_controls.js",
)


def write_page(
    out_dir: str | os.PathLike, page: Page, inline: bool | None = None
) -> Path:
    """Writes the page.

    Args:
      out_dir: folder of index.html; it is made.
      page: the content, see `schema.Page`.
      inline: pictures as data URIs in index.html (about 40 kB a picture); otherwise as
        files in `images/` next to it, loaded lazily and written while
        `page.pictures` is consumed. None: inline up to `MAX_INLINE` pictures.

    Returns:
      Path of index.html.

    Raises:
      UserError: an id is repeated or unknown, the views are not those of the models,
        or the folder cannot be written.
    """
    if inline is None:
        known = isinstance(page.pictures, Sized)
        inline = known and len(page.pictures) <= MAX_INLINE
    data = page_data(page, _place_inline if inline else _place_files(Path(out_dir)))
    text = _render(page, data, _hero(page.hero, data["pictures"]))
    path = Path(out_dir) / "index.html"
    write_text(path, text)
    return path


def _render(page: Page, data: Mapping[str, Any], hero: Mapping | None) -> str:
    figures = [
        {"title": f.title, "src": html.data_uri(f.png, "png"), "alt": f.alt,
         "caption": f.caption}
        for f in page.figures
    ]  # fmt: skip
    curve = ""
    if page.curves:
        png = curves.learning_curves_png(page.curves, page.chances)
        curve = html.data_uri(png, "png")
    return html.render(
        "index.html",
        _SCRIPTS,
        ("style.css", "browser.css"),
        page=page,
        summary=_summary(page.models, page.noun),
        data=data,
        hero=hero,
        curve=curve,
        figures=figures,
    )


def _summary(models: Sequence[Model], noun: str) -> dict[str, list]:
    """Header and rows of the summary table, one column a model; without rows that are
    empty."""
    columns = {
        "model": [m.name for m in models],
        "rank": [m.rank for m in models],
        "classes": [m.num_classes for m in models],
        "accuracy": [style.percent(m.accuracy, 1) for m in models],
        # Fewer than the maps' where a network does not know all taxa.
        "accuracy over": [html.cell(m.pictures) for m in models],
        "95 % interval": [_interval(m.accuracy_interval) for m in models],
        "guessing": [_chance(m.chance) for m in models],
        "maps": [html.cell(m.maps) for m in models],
        "mean heatmap area": [_share(m.heatmap_area) for m in models],
        f"energy on the {noun}": [_share(m.energy_on_object) for m in models],
        f"area of the {noun}": [_share(m.object_area) for m in models],
        "pictures with a known object": [
            html.cell(m.pictures_with_object or None) for m in models
        ],
    }
    for label in dict.fromkeys(label for m in models for label in m.shares):
        columns[label] = [_share(m.shares.get(label)) for m in models]
    if columns["model"] == columns["rank"]:
        del columns["model"]
    kept = {k: v for k, v in columns.items() if any(cell != "–" for cell in v)}
    header, *rows = ((label, *cells) for label, cells in kept.items())
    return {"header": header, "rows": rows}


def _hero(chosen: str | None, pictures: Sequence[Mapping]) -> Mapping | None:
    """The picture at the top: the least similar maps among the all-correct ones."""
    if chosen is not None:
        return next(one for one in pictures if one["id"] == chosen)

    def dullness(picture: Mapping) -> tuple:
        agreement = picture["agreement"]
        return (
            any(view["degenerate"] for view in picture["views"]),
            not all(view["right"] for view in picture["views"]),
            math.inf if agreement is None else agreement,
        )

    return min(pictures, key=dullness, default=None)


def _place_inline(name: str, data: bytes) -> str:
    return html.data_uri(data, name.rsplit(".", 1)[-1])


def _place_files(out_dir: Path):
    def place(name: str, data: bytes) -> str:
        write_bytes(out_dir / "images" / name, data)
        return f"images/{name}"

    return place


def _share(value: float | None) -> str:
    return style.percent(value, 1)


def _chance(value: float | None) -> str:
    return "unknown" if value is not None and math.isnan(value) else _share(value)


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f} %"
