"""The field guide in a real browser: patches, large view, search, hostile names."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.report import guide as report
from hiercam_keras.report.guide_schema import (
    Guide,
    Part,
    Patch,
    Share,
    Sibling,
    TaxonPage,
)

HOSTILE = '"><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'


def patch(number: int, name: str = "Picus viridis", credit: str = "") -> Patch:
    rng = np.random.default_rng(number)
    return Patch(
        example_id=f"{name}/{number}.jpg",
        name=name,
        crop=rng.integers(0, 255, (40, 40, 3)).astype(np.uint8),
        picture=rng.integers(0, 255, (100, 120, 3)).astype(np.uint8),
        heatmap=rng.random((8, 8)),
        box=(0.25, 0.5, 0.5, 0.75),
        sure=0.9,
        credit=credit,
    )


def page(key="genus-00001", name="Picus", **changes) -> TaxonPage:
    settings = {
        "key": key,
        "rank": "genus",
        "name": name,
        "path": (("family-00000", "Picidae"),),
        "parent": "Picidae",
        "lineage": ("Aves", "Picidae", name),
        "num_siblings": 2,
        "count": 20,
        "sure": 0.83,
        "right": Share(18, 20, 0.7, 0.97),
        "off": Share(2, 20, 0.03, 0.3),
        "on_object": (0.5, 0.33),
        "parts": (Part("wing", 1.74, 1.2, True), Part("body", 1.4, 0.9)),
        "patches": tuple(patch(n, credit=f"by {n}") for n in range(4)),
        "siblings": (Sibling("", "Dryocopus", 0.08, (patch(9, "Dryocopus martius"),)),),
        "children": (),
    }
    return TaxonPage(**(settings | changes))


GUIDE = Guide(
    "made birds: a field guide",
    "Which part of the bird marks a taxon?",
    ("Made of 20 pictures.",),
    ("family", "genus"),
    (("all", "", "2", "3", "67 % (21 to 94 %)", "50 %", "67 % (wing)"),),
    {"data": "made"},
    noun="bird",
)
PARENT = page("family-00000", "Picidae", rank="family", path=(), num_siblings=0,
              parts=(), patches=(), siblings=(), off=None, on_object=None,
              children=(("genus-00001", "Picus"),))  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("guide")
    report.write_guide(out, GUIDE, [PARENT, page()])
    return out


def test_pages_link_to_existing_files(made):
    assert sorted(p.name for p in (made / "taxa").iterdir()) == [
        "family-00000.html", "genus-00001.html",
    ]  # fmt: skip
    # Five pictures, each with one patch and one heat.
    assert len(list((made / "images").rglob("*.jpg"))) == 10
    assert len(list((made / "images").rglob("*.png"))) == 5
    for path in (made / "images").rglob("*.*"):
        with Image.open(path) as image:
            image.load()


def test_the_page_of_a_taxon(open_page, made):
    screen = open_page(made / "taxa" / "genus-00001.html")
    text = screen.text("body")
    for words in ("90 % (70 to 97) of 20 pictures", "a random choice: 33 %",
                  "1.74", "carries the trait",
                  "10 % (3 to 30)", "compared with", "fills 33 % of the picture",
                  "off the bird", "by 3", "sure: 90 %"):  # fmt: skip
        assert words in text, words
    loaded = screen.run(
        "const all = [...document.querySelectorAll('.patch img')];"
        "return Promise.all(all.map(i => (i.loading = 'eager', i.decode())"
        ".then(() => i.alt)))"
    )
    assert len(loaded) == 5 and all(loaded)
    assert screen.errors() == []
    assert all(url.startswith(("file:", "data:", "chrome:")) for url in
               screen.requests())  # fmt: skip


def test_few_pictures_are_counted(tmp_path):
    """A share of three pictures is a count, and a guide to plants has no "bird"."""
    few = page(count=3, right=Share(2, 3, 0.2, 0.94), off=Share(1, 1, 0.2, 1.0))
    guide = dataclasses.replace(GUIDE, title="made plants", noun="plant",
                                question="Which part of the plant?")  # fmt: skip
    report.write_guide(tmp_path, guide, [PARENT, few])
    text = (tmp_path / "taxa" / "genus-00001.html").read_text(encoding="utf-8")
    assert "for <b>2 of 3 pictures</b>" in text
    assert "for <b>1 of 1 picture</b> the hottest point is off the plant" in text
    assert "67 %" not in text
    for path in tmp_path.rglob("*.html"):
        assert not re.search(r"\bbirds?\b", path.read_text(encoding="utf-8"))


def test_the_large_view_frames_the_patch(open_page, made):
    screen = open_page(made / "taxa" / "genus-00001.html")

    def title():
        return screen.run(
            "const d = document.querySelector('#large');"
            "return d.open ? document.querySelector('#credit').textContent : null"
        )

    screen.run("document.querySelector('.patch').click()")
    assert title() == "1 of 5 · sure: 90 % · by 0"
    screen.press("ARROW_RIGHT")
    assert title().startswith("2 of 5")
    screen.run("return document.querySelector('#picture').decode()")
    place = screen.run(
        "const f = document.querySelector('#frame').getBoundingClientRect();"
        "const p = document.querySelector('#picture').getBoundingClientRect();"
        "return [(f.left - p.left) / p.width, (f.top - p.top) / p.height,"
        " f.width / p.width, f.height / p.height]"
    )
    assert place == pytest.approx([0.25, 0.5, 0.25, 0.25], abs=0.01)
    screen.choose("#strength", "0")
    opacity = "return getComputedStyle(document.querySelector('#heat')).opacity"
    assert float(screen.run(opacity)) == 0
    screen.press("+", "ESCAPE")
    assert float(screen.run(opacity)) == pytest.approx(0.1)
    screen.until(lambda: title() is None)
    focused = "return [...document.querySelectorAll('.patch')].indexOf("
    screen.until(lambda: screen.run(focused + "document.activeElement)") == 1)


def test_the_index_finds_by_lineage(open_page, made):
    screen = open_page(made / "index.html")
    shown = (
        "return [...document.querySelectorAll('#list li')]"
        ".filter(l => l.checkVisibility()).map(l => l.querySelector('b').textContent)"
    )
    assert screen.run(shown) == ["Picidae", "Picus"]
    screen.choose("#find", "aves picus")
    assert screen.run(shown) == ["Picus"]
    assert screen.text("#found") == "1 of 2 taxa"
    screen.run("document.querySelector('#list li:not([hidden]) a').click()")
    screen.until(lambda: screen.run("return location.href").endswith("00001.html"))
    screen.run("document.querySelector('.path a:last-of-type').click()")
    screen.until(lambda: screen.run("return location.href").endswith("00000.html"))
    assert "The only taxon" in screen.text("body")


@pytest.mark.parametrize("place", ["index.html", "taxa/genus-00001.html"])
def test_a_phone_needs_no_sideways_scrolling(browser, open_page, made, place):
    size = {"width": 375, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        screen = open_page(made / place)
        assert screen.run("return document.documentElement.scrollWidth") <= 375
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_names_are_shown_and_never_run(open_page, tmp_path):
    hostile = page(
        name=HOSTILE, parent=HOSTILE, lineage=(HOSTILE,) * 3,
        path=(("family-00000", HOSTILE),), children=(("species-1", HOSTILE),),
        patches=(patch(0, HOSTILE, HOSTILE),),
        parts=(Part(HOSTILE, 1.0, 1.0),),
        siblings=(Sibling("", HOSTILE, 0.1, (patch(1, HOSTILE),)),),
    )  # fmt: skip
    guide = dataclasses.replace(
        GUIDE, title=HOSTILE, question=HOSTILE, sentences=(HOSTILE,),
        check=((HOSTILE,) * 7,), facts={HOSTILE: HOSTILE},
    )  # fmt: skip
    report.write_guide(tmp_path, guide, [hostile])
    for place in ("index.html", "taxa/genus-00001.html"):
        screen = open_page(tmp_path / place)
        assert HOSTILE in screen.text("h1")
        assert screen.run("return document.querySelectorAll('script').length") == 1
        screen.run("document.querySelector('.patch')?.click()")
        assert screen.run("return window.hacked") is None
        assert screen.errors() == []


def test_ranks_name_files_safely():
    assert report.rank_slug("genus") == "genus"
    assert re.fullmatch("etcx~[0-9a-f]{12}", report.rank_slug("../etc/<x>"))
    # Ranks that keep the same letters, or none, are two.
    names = ["вид", "род", "common name", "commonname", "a" * 300, "a" * 300 + " "]
    found = {report.rank_slug(name) for name in names}
    assert len(found) == 6 and max(map(len, found)) <= 200


def test_pictures_on_one_scale_have_a_bar_and_remarks(open_page, tmp_path):
    weak = dataclasses.replace(patch(1), remark="weak: its largest value is 3 %")
    shared = page(patches=(patch(0), weak), top=0.0123)
    report.write_guide(tmp_path, GUIDE, [PARENT, shared])
    screen = open_page(tmp_path / "taxa" / "genus-00001.html")
    assert "is on one scale" in screen.text("body")
    assert screen.text("body").count("weak: its largest value is 3 %") == 1

    def bar():
        return screen.run(
            "const s = document.querySelector('#scale');"
            "return s.getClientRects().length ? s.textContent : null"
        )

    screen.run("document.querySelector('.patch').click()")
    assert bar() == "00.012"
    screen.press("ARROW_RIGHT")
    assert "weak" in screen.text("#credit")
    screen.press("ARROW_RIGHT")  # of a sibling, where each picture has its own scale
    assert bar() is None


def test_the_index_says_why_a_taxon_has_no_picture(tmp_path):
    """One with patches, one never recognized, one without siblings; and a leaf of
    another parent begins a row of its own."""
    family, other = (("family-00000", "Picidae"),), (("family-00001", "Tytonidae"),)
    alone = {"num_siblings": 0, "patches": (), "siblings": (), "parts": ()}
    pages = [
        page("genus-00000", "Picus", path=family),
        page("genus-00001", "Dryocopus", path=family, patches=()),
        page("genus-00002", "Tyto", path=other, **alone),
    ]
    text = report.write_guide(tmp_path, GUIDE, pages).read_text("utf-8")
    assert text.count("✕</span>") == 2 and text.count("–</span>") == 2  # and the key
    assert "Never recognized: the model preferred a sibling" in text
    assert "No siblings: the only taxon in its parent here" in text
    assert text.count('<li class="break"') == 1
    assert text.index('<li class="break"') > text.index(">Dryocopus<")
    assert 'class="taxa deep-1"' in text and text.count('"depth-1 leaf"') == 3
    plain = report.write_guide(tmp_path / "plain", GUIDE, pages[:1]).read_text("utf-8")
    assert "Sure: the mean" in plain
    assert "No siblings" not in plain and "Never recognized" not in plain


def test_a_sibling_without_patches_says_why(tmp_path):
    """It was never recognized, or has no picture; a placeholder ends in a period."""
    siblings = (
        Sibling("", "Dryocopus", 0.08, (), count=3),
        Sibling("", "Picidae sp.", 0.02, ()),
    )
    report.write_guide(tmp_path, GUIDE, [page(siblings=siblings)])
    text = (tmp_path / "taxa" / "genus-00001.html").read_text("utf-8")
    assert "The model recognized no picture of Dryocopus." in text
    assert "There is no picture of Picidae sp." in text and "sp.." not in text
