"""The compare page, one index.html that opens from disk.

Style and script are inlined, pictures too as long as they are few; `html` tells how
names are kept from running, `page_data` what the script reads.
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
      page: what is shown, see `schema.Page`.
      inline: pictures as data URIs in index.html (about 40 kB a picture); otherwise as
        files in `images/` beside it, loaded as they come into view, and written as
        they come from `page.pictures`. None: inline up to `MAX_INLINE` pictures.

    Returns:
      Path of index.html.

    Raises:
      UserError: ids that repeat or are unknown, or views that are not those of the
        models; a folder that cannot be written.
    """
    if inline is None:
        known = isinstance(page.pictures, Sized)
        inline = known and len(page.pictures) <= MAX_INLINE
    data = page_data(page, _place_inline if inline else _place_beside(Path(out_dir)))
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
        summary=_summary(page.models),
        data=data,
        hero=hero,
        curve=curve,
        figures=figures,
    )


def _summary(models: Sequence[Model]) -> dict[str, list]:
    """Header and rows of the summary table, without columns that no model fills."""
    columns = {
        "model": [m.name for m in models],
        "rank": [m.rank for m in models],
        "classes": [m.num_classes for m in models],
        "pictures": [html.cell(m.pictures) for m in models],
        "test accuracy": [style.percent(m.accuracy, 1) for m in models],
        "95 % interval": [_interval(m.accuracy_interval) for m in models],
        "guessing": [_chance(m.chance) for m in models],
        "mean heatmap area": [_share(m.heatmap_area) for m in models],
        "heat on the bird": [_share(m.energy_on_bird) for m in models],
        "bird's share of the picture": [_share(m.bird_area) for m in models],
        "pictures with a known object": [
            html.cell(m.pictures_with_object or None) for m in models
        ],
    }
    for label in dict.fromkeys(label for m in models for label in m.numbers):
        columns[label] = [html.cell(m.numbers.get(label)) for m in models]
    if columns["model"] == columns["rank"]:
        del columns["model"]
    kept = {k: v for k, v in columns.items() if any(cell != "–" for cell in v)}
    return {"header": list(kept), "rows": list(zip(*kept.values(), strict=True))}


def _hero(chosen: str | None, pictures: Sequence[Mapping]) -> Mapping | None:
    """The picture at the top: all models right and their maps least alike."""
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


def _place_beside(out_dir: Path):
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
