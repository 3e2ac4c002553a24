"""The page in a real browser with ten thousand pictures, on a phone, and its steps."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from hiercam_keras.report import page as pages
from hiercam_keras.report import page_data, schema

MANY = 10_000
PHONE = {"width": 375, "height": 740, "deviceScaleFactor": 1, "mobile": True}
STYLE = Path(pages.__file__).parent / "templates" / "style.css"


@pytest.fixture(scope="module")
def many(tmp_path_factory, make):
    """A page of ten thousand pictures that share one file, made in a second."""
    folder = tmp_path_factory.mktemp("many")
    base = [make.picture(n, {}) for n in range(4)]
    pictures = [
        dataclasses.replace(
            base[n % 4], example_id=f"{n:05d}.jpg", agreement=(n * 7919 % MANY) / MANY
        )
        for n in range(MANY)
    ]
    section = schema.Section("all of them", "", tuple(p.example_id for p in pictures))
    page = make.page(pictures, sections=(section,))
    with pytest.MonkeyPatch.context() as patch:
        encoded = page_data.encode
        files, written = {}, set()

        def encode_once(image, kind, **options):
            if kind not in files:
                files[kind] = encoded(image, kind, **options)
            return files[kind]

        layer = page_data.heat_layer(base[0].views[0].heatmap, (32, 32))
        patch.setattr(page_data, "encode", encode_once)
        patch.setattr(page_data, "heat_layer", lambda *args, **options: layer)

        def place_files(out_dir):
            def place(name, data):
                file = f"one.{name.rsplit('.')[-1]}"
                if file not in written:
                    (out_dir / file).write_bytes(data)
                    written.add(file)
                return file

            return place

        patch.setattr(pages, "_place_files", place_files)
        return pages.write_page(folder, page, inline=False)


@pytest.fixture
def phone(browser):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    yield PHONE["width"]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_ten_thousand_pictures(open_page, many):
    assert many.stat().st_size < 12_000_000
    screen = open_page(many)
    nodes = "return document.querySelectorAll('*').length"
    assert len(screen.ids()) < 60 and screen.run(nodes) < 3500
    assert screen.text("#status").startswith("10000 pictures")
    screen.sort("agreement of the maps")
    assert screen.ids()[0] == "00000.jpg"
    # n * 7919 = 1 modulo 10,000 at n = 7679.
    assert screen.ids()[1] == "07679.jpg"
    screen.choose("#search", "tyto alba")
    assert len(screen.ids()) < 60 and screen.run(nodes) < 3500
    # A picture far away is not asked for: those near the view are all that load.
    files = screen.run("return performance.getEntriesByType('resource').length")
    assert files < 100
    assert screen.text("#status").startswith("2500 of 10000 pictures")
    assert screen.errors() == []
    assert all(url.startswith(("file:", "data:")) for url in screen.requests())


def test_scrolling_and_keys_reach_every_picture(open_page, many):
    screen = open_page(many)
    screen.press("ARROW_LEFT")
    assert screen.run("return document.activeElement.dataset.index") == str(MANY - 1)
    assert screen.ids()[-1] == f"{MANY - 1:05d}.jpg" and len(screen.ids()) < 60
    at = "return document.activeElement.getBoundingClientRect().top"
    assert 0 <= screen.run(at) < 1000
    screen.press("HOME")
    assert screen.run("return document.activeElement.dataset.index") == "0"
    middle = (
        "const w = document.querySelector('#window').getBoundingClientRect();"
        "scrollTo({top: scrollY + w.top + w.height / 2, behavior: 'instant'})"
    )
    screen.run(middle)
    screen.until(lambda: "05000.jpg" in screen.ids())
    shown = screen.run(
        "return [...document.querySelectorAll('.card')].filter(c => {"
        "const r = c.getBoundingClientRect();"
        "return r.bottom > 0 && r.top < innerHeight}).length"
    )
    assert shown >= 2
    assert len(screen.ids()) < 60


@pytest.mark.parametrize("width", [375, 1300])
def test_cards_are_equally_high(browser, open_page, make, tmp_path, width):
    """A card of another height would shift all later ones: names of any length or none,
    degenerate maps, no known object, several lines to break."""
    pictures = [make.picture(n, {}) for n in range(6)]
    long = "a name that is much longer than a card is wide " * 4

    def changed(number, views=None, **changes):
        view = dataclasses.replace(pictures[number].views[0], **(views or {}))
        both = (view, pictures[number].views[1])
        pictures[number] = dataclasses.replace(pictures[number], views=both, **changes)

    changed(0, {"predicted_name": long}, true_name=long, true=("Aves", *[long] * 4))
    changed(1, {"predicted_name": ""}, true_name="", true=("Aves", "", "", "", ""))
    changed(2, {"degenerate": True, "heatmap": pictures[2].views[0].heatmap * 0})
    changed(3, {"energy_on_object": None}, object_area=None, agreement=None)
    tall = np.zeros((90, 30, 3), np.uint8)
    changed(4, {"predicted_name": long.replace(" ", "\n")}, image=tall)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        screen = open_page(pages.write_page(tmp_path, make.page(pictures)))
        found = screen.run(
            "return Promise.all([...document.images].map(i => (i.loading = 'eager',"
            "i.decode().catch(() => 0)))).then(() => "
            "[...document.querySelectorAll('.card')].map(c => "
            "[c.dataset.id, Math.round(c.getBoundingClientRect().height)]))"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert len(found) == 6 and len({height for _, height in found}) == 1, found
    assert found[0][1] > 100


def test_a_long_model_name_hides_no_probability(open_page, make, tmp_path):
    base = make.picture(0, {})
    name = "species asked for family with a name that no card has room for"
    models = (dataclasses.replace(make.models()[0], name=name), make.models()[1])
    views = (dataclasses.replace(base.views[0], model=name), base.views[1])
    picture = dataclasses.replace(base, views=views)
    page = make.page([picture], models=models)
    screen = open_page(pages.write_page(tmp_path, page))
    inside = screen.run(
        "const h = document.querySelectorAll('.card figure')[1].querySelector('.head');"
        "const s = h.querySelector('.share').getBoundingClientRect();"
        "return [s.width > 10, s.right <= h.getBoundingClientRect().right + 1,"
        " h.querySelector('.share').textContent]"
    )
    assert inside == [True, True, "50\u00a0%"]


def test_sorts_by_the_numbers_of_the_steps(open_page, stepped):
    screen = open_page(stepped)
    labels = screen.run(
        "return [...document.querySelectorAll('#sort option')].map(o => o.textContent)"
    )
    assert [one for one in labels if one.startswith("step to")] == [
        "step to family: probability", "step to genus: probability",
        "step to species: probability", "step to species: energy on the wing",
    ]  # fmt: skip
    screen.sort("step to species: energy on the wing")
    # 0.25, 0.24, 0.23 and 0.22 of the energy.
    assert [one[:4] for one in screen.ids()] == ["0003", "0002", "0001", "0000"]
    screen.sort("step to species: probability")
    assert [one[:4] for one in screen.ids()] == ["0000", "0001", "0002", "0003"]


@pytest.fixture(scope="module")
def stepped(tmp_path_factory, make):
    """Four pictures with steps and coherence; the second's map is incoherent."""
    pictures = []
    for n in range(4):
        picture = make.picture(n, {1: {"species": make.BIRDS[3]}}.get(n, {}))
        views = tuple(
            dataclasses.replace(
                view, coherent=n != 1, numbers={"a long name of a measure " * 3: 1.0}
            )
            for view in picture.views
        )
        steps = (
            schema.Step("family", "Picidae", 0.9, True, views[0].heatmap),
            schema.Step("genus", "Picus", 1.0, True, None),
            schema.Step(
                "species", "a very long name " * 6, 0.4 + n / 100, False,
                views[1].heatmap, numbers={"energy on the wing": 0.25 - n / 100},
            ),
        )  # fmt: skip
        pictures.append(
            dataclasses.replace(picture, views=views, steps=steps, credit="by A. Name")
        )
    page = make.page(pictures, steps_of="species")
    return pages.write_page(tmp_path_factory.mktemp("steps"), page)


def test_steps_are_below_the_models(open_page, stepped):
    screen = open_page(stepped)
    screen.run("document.querySelector('.card h3 button').click()")
    figures = screen.run(
        "return [...document.querySelectorAll('#detail .steps figure')].map(f =>"
        "[f.querySelector('img.heat')?.alt ?? '', f.innerText])"
    )
    texts = [text for _, text in figures]
    for rank, text in zip(("family", "genus", "species"), texts, strict=True):
        assert f"→ {rank}" in text
    assert figures[0][0].startswith("evidence for the family Picidae")
    assert figures[1][0] == "" and "only child" in figures[1][1]
    assert "energy on the wing" in screen.text("#detail")
    assert "by A. Name" in screen.text("#detail")
    assert "coherent" in screen.text("#detail")


def test_the_large_view_has_a_slider_of_its_own(open_page, stepped):
    screen = open_page(stepped)
    screen.run("document.querySelector('.card h3 button').click()")
    screen.choose("#strength-large", "30")
    heat = "return getComputedStyle(document.querySelector('#detail .heat')).opacity"
    assert float(screen.run(heat)) == pytest.approx(0.3)
    assert screen.run("return document.querySelector('#strength').value") == "30"
    screen.press("-")  # the keys are the dialog's as long as the slider is left alone
    assert float(screen.run(heat)) == pytest.approx(0.2)


def test_filters_by_taxon_coherence_and_rank(open_page, stepped):
    screen = open_page(stepped)

    def pick(text):
        value = screen.run(
            "return [...document.querySelectorAll('#taxon option')]"
            ".find(o => o.textContent.trim() === arguments[0]).value",
            text,
        )
        screen.choose("#taxon", value)

    pick("Picidae (2)")
    assert [one[:4] for one in screen.ids()] == ["0000", "0001"]
    pick("Picus viridis (1)")
    assert [one[:4] for one in screen.ids()] == ["0000"]
    screen.run("document.querySelector('#clear').click()")
    screen.choose("select[data-coherent=species]", "false")
    assert [one[:4] for one in screen.ids()] == ["0001"]
    screen.run("document.querySelector('#clear').click()")
    options = screen.run(
        "return [...document.querySelector('select[data-model=species]').options]"
        ".map(o => o.textContent)"
    )
    assert options == [
        "any", "right", "wrong", "genus right", "genus wrong", "family right",
        "family wrong", "order right", "order wrong",
    ]  # fmt: skip
    # The prediction of number 1 has another order.
    value = screen.run(
        "return [...document.querySelector('select[data-model=species]').options]"
        ".find(o => o.textContent === 'order wrong').value"
    )
    screen.choose("select[data-model=species]", value)
    assert [one[:4] for one in screen.ids()] == ["0001"]


def test_a_phone_needs_no_sideways_scrolling(open_page, stepped, phone):
    screen = open_page(stepped)
    width = "return document.documentElement.scrollWidth"
    assert screen.run(width) <= phone
    screen.run("document.querySelector('.card h3 button').click()")
    wide = screen.run(
        "return [...document.querySelectorAll('#detail, #detail *')].filter(e =>"
        "!e.closest('.scroll') && e.getBoundingClientRect().right > 376)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    assert screen.run(width) <= phone
    assert screen.errors() == []


def _luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("block", [0, 1, 2])
def test_colors_of_text_stand_out(block):
    """4.5 : 1 against page and card, light and dark (WCAG 2.2, 1.4.3)."""
    css = STYLE.read_text("utf-8")
    found = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", text))
        for text in re.findall(r"\{([^{}]*--paper:[^{}]*)\}", css)
    ]
    assert len(found) == 3  # light, dark by the system, dark by the button
    colors = found[block]
    for name in ("ink", "muted", "accent", "right", "wrong"):
        for ground in ("paper", "card"):
            a, b = _luminance(colors[name]), _luminance(colors[ground])
            ratio = (max(a, b) + 0.05) / (min(a, b) + 0.05)
            assert ratio >= 4.5, (name, ground, ratio)
