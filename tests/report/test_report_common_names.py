"""Common names next to scientific ones: on pages, sheets and figures, however long."""

import dataclasses
import json
import re

import numpy as np
import pytest

from hiercam_keras.report import guide, page, photo_figure, schema, sheets, step_strips
from hiercam_keras.report.guide_schema import Guide, Share, Sibling, TaxonPage

COMMON = ("birds", "woodpeckers", "true woodpeckers", "", "European green woodpecker")
LONG = "a bird with a very long name that nobody would ever say in one breath " * 2


def with_names(picture, name=COMMON[-1]):
    """The picture with common names, those of its views are of the same taxa."""
    views = tuple(
        dataclasses.replace(view, common=(*COMMON[:-1], name)[: len(view.predicted)])
        for view in picture.views
    )
    common = (*COMMON[:-1], name)[: len(picture.true)]
    return dataclasses.replace(picture, views=views, common=common)


def data_of(path):
    text = path.read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found[1])


@pytest.fixture
def named(make):
    return [with_names(make.picture(0, {})), make.picture(1, {}), make.picture(2, {})]


def test_the_page_has_the_names_of_all_ranks(make, named, tmp_path):
    hero = named[0].example_id
    path = page.write_page(tmp_path, make.page(named, hero=hero))
    data = data_of(path)
    first = data["pictures"][0]
    assert first["common"] == "European green woodpecker"
    assert data["common"][first["true"]] == list(COMMON)
    assert first["views"][0]["common"] == "true woodpeckers"
    assert "European green woodpecker" in path.read_text().split("<script")[0]
    # Without any common name the page is as it was.
    plain = page.write_page(tmp_path / "plain", make.page([make.picture(0, {})]))
    assert data_of(plain)["common"] == []


def test_names_are_shown_and_searched_in_the_browser(make, named, tmp_path, open_page):
    screen = open_page(page.write_page(tmp_path, make.page(named)))
    assert screen.text(".card .names .common") == "European green woodpecker"
    screen.choose("#search", "green woodpecker")
    assert screen.ids() == [named[0].example_id]
    screen.choose("#search", "")
    screen.run("document.querySelector('.card h3 button').click()")
    assert screen.text("#detail-title") == "Picus viridis (European green woodpecker)"
    assert "Piciformes (woodpeckers)" in screen.text("#detail-body")
    options = screen.text("#taxon")
    assert "Picidae (true woodpeckers) (" in options
    assert not screen.errors()


@pytest.mark.parametrize("width", [390, 1300])
def test_long_names_do_not_widen_the_page(make, tmp_path, open_page, width):
    pictures = [
        with_names(make.picture(n, {}), name)
        for n, name in enumerate((LONG, LONG.replace(" ", ""), "short", ""))
    ]
    screen = open_page(page.write_page(tmp_path, make.page(pictures)))
    try:
        screen.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        assert screen.run("return innerWidth") == width
        assert screen.run("return document.documentElement.scrollWidth") <= width
        heights = screen.run(
            "return [...document.querySelectorAll('.card')].map(c => c.offsetHeight)"
        )
        assert len(heights) == 4 and max(heights) - min(heights) <= 1
        screen.run("document.querySelector('.card h3 button').click()")
        over = "const d = document.getElementById('detail');"
        over += "return d.scrollWidth - d.clientWidth"
        assert screen.run(over) <= 0
    finally:
        screen.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def taxon(key="species-00000", name="Picus viridis", common="", **changes):
    settings = {
        "key": key, "rank": "species", "name": name,
        "path": (("genus-00000", "Picus"),),
        "parent": "Picus", "lineage": ("Picidae", "Picus", "viridis"),
        "num_siblings": 2, "count": 3, "sure": 0.8, "right": Share(2, 3, 0.2, 0.9),
        "off": None, "on_object": None, "parts": (), "patches": (), "siblings": (),
        "children": (), "common_name": common,
        "common_names": (common,) if common else (),
    }  # fmt: skip
    return TaxonPage(**(settings | changes))


def test_the_guide_shows_and_finds_names(tmp_path, open_page):
    siblings = (Sibling("", "Picus canus", 0.1, (), common_name=LONG),)
    pages = [
        taxon(common="European green woodpecker", siblings=siblings),
        taxon("species-00001", "Picus canus", LONG),
    ]
    path = guide.write_guide(
        tmp_path, Guide("guide", "Which part?", ("One.",), ("species",)), pages
    )
    text = (tmp_path / "taxa" / "species-00000.html").read_text()
    assert "<title>Picus viridis (European green woodpecker) ·" in text
    assert 'class="name common">European green woodpecker<' in text
    assert f"Picus canus ({LONG})" in text
    screen = open_page(path)
    screen.choose("#find", "green woodpecker")
    assert screen.text("#found") == "1 of 2 taxa"
    screen.choose("#find", "")
    try:
        screen.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        for place in (path, tmp_path / "taxa" / "species-00000.html"):
            screen.browser.get(place.as_uri())
            assert screen.run("return document.documentElement.scrollWidth") <= 390
    finally:
        screen.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def answer(rank, name, common, **changes):
    names = {name: common} if common else {}
    heat = np.eye(8)
    return photo_figure.RankAnswer(
        rank, name, 0.6, (("Picus canus", 0.3),), heat, common_names=names, **changes
    )


def texts_of(figure_of, monkeypatch):
    """The texts of a figure with the areas that they cover, in pixels."""
    kept = []
    to_png = photo_figure.style.to_png

    def look(figure, dpi, **options):
        figure.canvas.draw()
        every = [text for axes in figure.axes for text in axes.texts]
        kept.extend((t.get_text(), t.get_window_extent()) for t in every)
        kept.append(figure.bbox.frozen())
        return to_png(figure, dpi, **options)

    monkeypatch.setattr(photo_figure.style, "to_png", look)
    figure_of()
    *found, whole = kept
    return found, whole


@pytest.mark.parametrize("common", ["", "European green woodpecker", LONG[:70]])
def test_the_photo_figure_has_room_for_common_names(common, monkeypatch):
    image = np.full((48, 48, 3), 120, np.uint8)
    ranks = [
        answer("family", "Picidae", common and "woodpeckers"),
        answer("species", "Picus viridis", common, true_name="Picus viridis"),
    ]
    found, whole = texts_of(
        lambda: photo_figure.single_png(image, ranks, title="x.jpg"), monkeypatch
    )
    drawn = " ".join(text.replace("\n", " ") for text, _ in found)
    assert common in drawn
    for text, area in found:
        if text.strip():
            assert area.x0 >= 0 and area.x1 <= whole.width + 1, text
    # No two texts are on top of each other.
    for i, (one, a) in enumerate(found):
        for other, b in found[i + 1 :]:
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            down = min(a.y1, b.y1) - max(a.y0, b.y0)
            if one.strip() and other.strip():
                assert across <= 1 or down <= 3, (one, other)


def test_sheets_and_strips_have_the_names(make, named, tmp_path):
    """They are drawn: the rows are higher than without."""
    models = make.models()
    plain = [make.picture(0, {})]
    heights = []
    for name, pictures in (("plain", plain), ("named", named[:1])):
        (path,) = sheets.write_sheets(tmp_path / name, pictures, models, "title")
        heights.append(_size(path)[1])
        step = schema.Step("family", "Picidae", 1.0, True, None)
        step = dataclasses.replace(step, common_name="woodpeckers" * (name == "named"))
        shown = [dataclasses.replace(one, steps=(step,)) for one in pictures]
        path = step_strips.write_strips(tmp_path / name / "s.png", shown, models)
        heights.append(_size(path)[1])
    assert heights[2] >= heights[0] and heights[3] > heights[1]


def _size(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.size
