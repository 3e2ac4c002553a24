"""The field guide, a folder of pages that opens from disk.

index.html lists the taxa by lineage, taxa/<key>.html is the page of one taxon, and
images/ holds patches, pictures and heatmaps. File names are made of numbers, because
the name of a taxon comes from a folder and cannot be trusted.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hiercam_keras import file_names, wording
from hiercam_keras.report import html, style
from hiercam_keras.report.guide_schema import Guide, Patch, Share, Sibling, TaxonPage
from hiercam_keras.report.overlay import encode, heat_layer
from hiercam_keras.workdir import write_bytes, write_text

_PATCH_SIDE = 176  # pixels of a patch in the page
_PICTURE_SIDE = 420  # and of a whole picture
_HEAT_SIDE = 112
_SLUG = 60  # letters of a rank in file names
_FEW = 10  # pictures; of fewer a page gives the count, not a percentage
_STYLES = ("style.css", "guide.css")


def write_guide(
    out_dir: str | os.PathLike, guide: Guide, pages: Iterable[TaxonPage]
) -> Path:
    """Writes the guide; `pages` may be a generator.

    Args:
      out_dir: folder of index.html; created if missing.
      guide: contents of the index.
      pages: in the order of the tree, a taxon after its parent.

    Returns:
      Path of index.html.

    Raises:
      UserError: the folder cannot be written.
    """
    out = Path(out_dir)
    images = _Images(out)
    lines, before = [], None
    for page in pages:
        _write_page(out, guide, page, images)
        lines.append(_line(page, before, images))
        before = page
    text = html.render(
        "guide_index.html",
        ("sideways.js", "guide_index.js"),
        _STYLES,
        guide=guide,
        lines=lines,
        deepest=max((line["depth"] for line in lines), default=0),
        notes=list(dict.fromkeys(line["why"] for line in lines if line["why"])),
    )
    path = out / "index.html"
    write_text(path, text)
    return path


def _write_page(out: Path, guide: Guide, page: TaxonPage, images: "_Images") -> None:
    shown = [images.place(patch, page.rank) for patch in page.patches]
    siblings = [_sibling(one, page.rank, images) for one in page.siblings]
    credits: dict[str, None] = {}
    for patch in [*shown, *(p for one in siblings for p in one["patches"])]:
        if patch["credit"]:
            credits[patch["credit"]] = None
    text = html.render(
        "guide_taxon.html",
        ("sideways.js", "guide.js"),
        _STYLES,
        guide=guide,
        page=page,
        patches=shown,
        siblings=siblings,
        credits=list(credits),
        top=_top(page.top),
        widest=max((part.lift for part in page.parts), default=1.0),
        right=_share(page.right),
        off=None if page.off is None else _share(page.off),
        chance=style.percent(1 / (1 + page.num_siblings)),
    )
    write_text(out / "taxa" / f"{page.key}.html", text)


def _sibling(one: Sibling, rank: str, images: "_Images") -> dict[str, Any]:
    return {
        "key": one.key,
        "name": one.name,
        "title": one.title,
        "taken": one.taken,
        "why": "" if one.patches else _without_patches(one),
        "top": _top(one.top),
        "patches": [images.place(patch, rank) for patch in one.patches],
    }


# Why a taxon of the index has no picture.
_ALONE, _MISSED = "no siblings", "never recognized"


def _without_patches(sibling: Sibling) -> str:
    """Why nothing is shown of a sibling."""
    name = sibling.name.removesuffix(".")  # as of "Corvidae sp."
    if sibling.count:
        return f"The model recognized no picture of {name}."
    return f"There is no picture of {name}."


def _line(
    page: TaxonPage, before: TaxonPage | None, images: "_Images"
) -> dict[str, Any]:
    """The entry of a taxon in the index, after that of `before`."""
    first = images.place(page.patches[0], page.rank) if page.patches else None
    return {
        "key": page.key,
        "rank": page.rank,
        "name": page.name,
        "common": page.common_name,
        "depth": len(page.path),
        "leaf": not page.children,
        # Leaves share a row with their siblings alone.
        "breaks": before is not None
        and not before.children
        and before.path != page.path,
        "why": "" if first else _MISSED if page.num_siblings else _ALONE,
        "count": page.count,
        "sure": style.percent(page.sure) if page.num_siblings else "",
        "part": page.parts[0].name if page.parts and page.num_siblings else "",
        "image": first["crop"] if first else "",
        "text": " ".join((*page.lineage, page.name, *page.common_names)).lower(),
    }


class _Images:
    """Writes each picture once, even if several pages show it."""

    def __init__(self, out: Path):
        self._out = out
        self._numbers: dict[str, int] = {}
        self._written: set[str] = set()

    def place(self, patch: Patch, rank: str) -> dict[str, Any]:
        """Writes the files of a patch; returns their paths relative to the guide."""
        number = self._numbers.setdefault(patch.example_id, len(self._numbers))
        name = f"images/{number // 500:03d}/{number:05d}"
        picture = self._write(f"{name}.jpg", patch.picture, _PICTURE_SIDE)
        crop = self._write(f"{name}_{rank_slug(rank)}.jpg", patch.crop, _PATCH_SIDE)
        heat = f"{name}_{rank_slug(rank)}.png"
        if heat not in self._written:
            size = html.fitted(patch.picture.shape[:2], _HEAT_SIDE)
            self._put(heat, encode(heat_layer(patch.heatmap, size), "png"))
        whole = ""
        if patch.whole is not None:
            whole = self._write(
                f"{name}_whole.jpg", patch.whole, max(patch.whole.shape)
            )
        x0, y0, x1, y1 = (round(100 * value, 2) for value in patch.box)
        return {
            "crop": crop,
            "picture": picture,
            "whole": whole,
            "heat": heat,
            "name": patch.name,
            "common": patch.common_name,
            "title": patch.title,
            "sure": style.percent(patch.sure),
            "remark": patch.remark,
            "credit": patch.credit,
            "box": f"{x0} {y0} {round(x1 - x0, 2)} {round(y1 - y0, 2)}",
        }

    def _write(self, name: str, pixels: np.ndarray, side: int) -> str:
        if name not in self._written:
            image = Image.fromarray(pixels)
            height, width = html.fitted(pixels.shape[:2], side)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.LANCZOS)
            self._put(name, encode(image, "jpg", quality=86))
        return name

    def _put(self, name: str, data: bytes) -> None:
        write_bytes(self._out / name, data)
        self._written.add(name)


def rank_slug(rank: str) -> str:
    """A rank's name as a part of a file name that needs no escapes in a URL."""
    kept = "".join(c for c in rank if c.isascii() and c.isalnum())
    if kept == rank:
        return file_names.file_name(rank)
    return file_names.marked(rank, kept[:_SLUG] or "rank")


def _top(value: float | None) -> str:
    return "" if value is None else wording.number(value, "{:.2g}")


def _share(share: Share) -> str:
    """`90 % (70 to 97) of 20 pictures`; `2 of 3 pictures` if there are few."""
    of = f"of {wording.count(share.total, 'picture')}"
    if share.total < _FEW:
        return f"{share.count} {of}"
    percent = style.percent(share.count / share.total)
    return f"{percent} ({100 * share.low:.0f} to {100 * share.high:.0f}) {of}"
