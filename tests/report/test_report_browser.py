"""The page in a real browser: filters, order, slider, keyboard, hostile names.

Skipped where Chromium, its driver or selenium is missing.
"""

import dataclasses

import numpy as np
import pytest

from hiercam_keras.report import page as pages
from hiercam_keras.report import schema

HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "{{ 7 * 7 }}{% raise %}",
    "javascript:window.hacked=1//'`${window.hacked=1}",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, make):
    """Eight pictures as in `pictures`, one of them with a degenerate map."""
    said = {
        1: {"family": make.BIRDS[3][:3], "species": make.BIRDS[3]},
        2: {"species": make.BIRDS[0]},
    }
    pictures = [make.picture(n, said.get(n, {})) for n in range(8)]
    flat = dataclasses.replace(
        pictures[4].views[0], heatmap=np.zeros((8, 8)), degenerate=True
    )
    pictures[4] = dataclasses.replace(pictures[4], views=(flat, pictures[4].views[1]))
    log = {"epoch": [0, 1], "loss": [1.0, 0.5], "val_accuracy": [0.5, 0.7]}
    wide = schema.Table("Wide", ("a", *"bcdefgh"), (("x", *["0.12 (0.1 to 0.2)"] * 7),))
    page = make.page(pictures, curves={"family": log}, tables=(wide,))
    return pages.write_page(tmp_path_factory.mktemp("page"), page)


@pytest.fixture
def screen(open_page, made):
    return open_page(made)


def test_opens_without_an_error_or_a_request(screen, made):
    assert len(screen.ids()) == 8
    assert screen.errors() == []
    # chrome: is the browser's own first tab, which the page has nothing to do with.
    own = ("data:", "chrome:")
    urls = {url for url in screen.requests() if not url.startswith(own)}
    assert urls == {made.as_uri()}


def test_every_picture_loads_and_has_a_text(screen):
    images = screen.run(
        "const all = [...document.images];"
        "all.forEach(i => i.loading = 'eager');"
        "return Promise.all(all.map(i => i.decode().then(() => 1, () => 0)))"
        ".then(ok => all.map((i, k) => [ok[k], i.getAttribute('alt'), i.className]))"
    )
    assert len(images) > 8 * 5
    assert all(ok for ok, _, _ in images)
    assert all(alt is not None for _, alt, _ in images)
    # Only the picture below a heat, which has the text of both, may be silent.
    silent = screen.run(
        "return [...document.images].filter(i => !i.alt && "
        "!i.parentElement.querySelector('img.heat')?.alt).length"
    )
    texts = screen.run("return [...document.images].filter(i => i.alt).length")
    assert silent == 0 and texts >= 8 * 3


def test_search_by_taxon_and_by_several_words(screen):
    screen.choose("#search", "strigiformes")
    assert [i[:4] for i in screen.ids()] == ["0001", "0002", "0003", "0006", "0007"]
    screen.choose("#search", "TYTO alba")
    assert [i[:4] for i in screen.ids()] == ["0002", "0006"]
    assert screen.text("#status").startswith("2 of 8 pictures")
    screen.choose("#search", "pinguin")
    assert screen.ids() == []
    assert screen.run("return document.querySelector('#empty').checkVisibility()")
    screen.run("document.querySelector('#clear').click()")
    assert len(screen.ids()) == 8


def test_right_and_wrong_at_each_rank(screen):
    screen.choose("select[data-model=species]", "wrong")
    assert [i[:4] for i in screen.ids()] == ["0001", "0002"]
    screen.choose("select[data-model=family]", "right")
    assert [i[:4] for i in screen.ids()] == ["0002"]
    assert (
        screen.text("#status")
        == "1 of 8 pictures · family right in 1 · species right in 0"
    )


def test_sections_are_tabs(screen):
    def tabs():
        return screen.run(
            "return [...document.querySelectorAll('#tabs button')]"
            ".map(b => [b.textContent, b.getAttribute('aria-pressed')])"
        )

    assert [text for text, _ in tabs()] == [
        "chosen by seed (8)", "most agreeing (2)", "least agreeing (2)", "all (8)",
    ]  # fmt: skip
    screen.run("document.querySelectorAll('#tabs button')[2].click()")
    assert [i[:4] for i in screen.ids()] == ["0006", "0007"]
    assert screen.text("#note") == "Maps least alike."
    assert [pressed for _, pressed in tabs()] == ["false", "false", "true", "false"]


def test_order_by_numbers_with_the_unknown_last_either_way(screen):
    screen.sort("agreement of the maps")
    assert [int(i[:4]) for i in screen.ids()] == [7, 6, 5, 4, 3, 2, 1, 0]
    screen.sort("family: energy on the bird")
    assert [int(i[:4]) for i in screen.ids()] == [0, 7, 1, 2, 4, 5, 6, 3]
    screen.run("document.querySelector('#direction').click()")
    assert [int(i[:4]) for i in screen.ids()] == [6, 5, 4, 2, 1, 0, 7, 3]
    screen.sort("species: entropy")
    assert [int(i[:4]) for i in screen.ids()] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_slider_sets_the_strength_of_the_heat(screen):
    def opacity():
        return screen.run(
            "return getComputedStyle(document.querySelector('.card .heat')).opacity"
        )

    assert float(opacity()) == 0.75
    screen.choose("#strength", "20")
    assert float(opacity()) == pytest.approx(0.2)
    screen.choose("#strength", "0")
    assert float(opacity()) == 0
    screen.press("+")
    assert float(opacity()) == pytest.approx(0.1)
    # The slider's own keys move it, one in a hundred at a time, and no picture.
    screen.run("document.querySelector('#strength').focus()")
    screen.press("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT", "ARROW_RIGHT")
    assert float(opacity()) == pytest.approx(0.12)
    assert screen.run("return document.activeElement.id") == "strength"


def test_arrows_move_a_wide_table_and_no_picture(browser, screen):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        table = "document.querySelector('.scroll[aria-label=Wide]')"
        screen.run(f"{table}.focus()")
        assert screen.run(f"return {table}.scrollWidth > {table}.clientWidth + 40")
        screen.press("ARROW_RIGHT", "ARROW_RIGHT")
        screen.until(lambda: screen.run(f"return {table}.scrollLeft") > 0)
        assert screen.run(f"return document.activeElement === {table}")
        screen.press("/")  # other keys are still the page's
        assert screen.run("return document.activeElement.id") == "search"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_is_wider_than_a_phone_says_so_until_its_end_is_seen(browser, screen):
    """The summary fits; a wide table and the curves have a hint and a fading edge."""
    size = {"width": 390, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        boxes = "[...document.querySelectorAll('main .scroll, main .sideways')]"
        see = (
            f"return {boxes}.map(b => [b.getAttribute('aria-label'), "
            "!b.previousElementSibling.hidden, b.classList.contains('cut')])"
        )
        screen.until(lambda: screen.run(see)[1][1])
        assert screen.run(see) == [
            ["Summary table", False, False],
            ["Learning curves", True, True],
            ["Wide", True, True],
        ]
        screen.run(f"{boxes}.forEach(b => {{ b.scrollLeft = b.scrollWidth }})")
        screen.until(lambda: not any(cut for _, _, cut in screen.run(see)))
        # The names of the rows stay in view.
        left = "document.querySelector('[aria-label=Wide] tbody th')"
        assert 0 <= screen.run(f"return {left}.getBoundingClientRect().left") < 40
        assert screen.run("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_signs_and_cards_have_roles(screen):
    """A label on a thing without a role is read by nobody."""
    screen.run("document.querySelector('.card h3 button').click()")
    assert screen.run("return document.querySelectorAll('.sign').length") > 16
    for selector in (".sign:not([role=img])", ".sign:not([aria-label])"):
        found = f"return document.querySelectorAll('{selector}').length"
        assert screen.run(found) == 0
    feed = screen.run(
        "return [...document.querySelectorAll('[role=feed] > article')].map(a =>"
        "[a.ariaPosInSet, a.ariaSetSize])"
    )
    assert feed == [[str(n + 1), "8"] for n in range(8)]


def test_keyboard_goes_through_the_pictures(screen):
    def at():
        return screen.run("return document.activeElement.dataset.index")

    def title():
        return screen.run(
            "const d = document.querySelector('#detail');"
            "return d.open ? d.querySelector('h2').textContent : null"
        )

    screen.press("ARROW_RIGHT")
    assert at() == "0"
    screen.press("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT")
    assert at() == "1"
    screen.press("ENTER")
    assert title() == "Dryocopus martius"
    screen.press("ARROW_RIGHT")
    assert title() == "Tyto alba"
    screen.press("ESCAPE")
    # The browser reports the closed dialog to the page a moment later.
    screen.until(lambda: at() == "2")
    assert title() is None
    screen.press("ARROW_LEFT", "ARROW_LEFT", "ARROW_LEFT")
    assert at() == "0"  # stays at the first
    screen.press("/", "t", "y", "t", "o")
    assert len(screen.ids()) == 2
    screen.press("ARROW_LEFT", "+")  # in the field these only move and write
    assert screen.run("return document.activeElement.value") == "tyt+o"


def test_detail_shows_both_lineages_and_the_numbers(screen):
    screen.run("document.querySelectorAll('.card .strip')[1].click()")
    rows = screen.run(
        "return [...document.querySelectorAll('#detail tbody tr')].map(r =>"
        "[...r.children].map(c => c.textContent.trim() + '|' + c.className))"
    )
    assert rows[0] == [
        "order|",
        "Piciformes|name",
        "Strigiformes|wrong",
        "Strigiformes|wrong",
    ]
    assert rows[3] == ["species|", "Dryocopus martius|name", "–|", "Strix aluco|wrong"]
    assert rows[4] == ["probability|", "54\u00a0%|", "59\u00a0%|"]
    assert rows[6] == ["entropy|", "2.1|", "3.1|"]


def test_an_answer_is_neither_right_nor_wrong_where_the_taxon_is_unknown(
    open_page, tmp_path, make
):
    base = make.picture(1, {"species": make.birds[3]})  # an owl for a woodpecker
    views = (base.views[0], dataclasses.replace(base.views[1], known=2, correct=None))
    page = make.page([dataclasses.replace(base, views=views)])
    screen = open_page(pages.write_page(tmp_path, page))
    screen.run("document.querySelector('.card h3 button').click()")
    marks = screen.run(
        "return [...document.querySelectorAll('#detail tbody tr')].slice(0, 4)"
        ".map(r => r.children[3].className)"
    )
    assert marks == ["wrong", "open", "open", "open"]
    assert screen.errors() == []


def test_a_map_that_says_nothing_is_said_so(screen):
    card = "document.querySelectorAll('.card')[4].querySelectorAll('figure')"
    assert "no heatmap" in screen.run(f"return {card}[1].textContent")
    assert (
        screen.run(f"return {card}[1].querySelector('.stack').className")
        == "stack blank"
    )
    assert screen.run(f"return {card}[2].querySelector('.stack').className") == "stack"


def test_phone_width_needs_no_sideways_scrolling(browser, screen):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert screen.run("return document.documentElement.scrollWidth") <= 360
        screen.run("document.querySelector('.card h3 button').click()")
        width = screen.run(
            "return document.querySelector('#detail').getBoundingClientRect().width"
        )
        assert width <= 360
        hidden = screen.run(
            "return [...document.querySelectorAll('#detail .strip figure')]"
            ".filter(f => f.getBoundingClientRect().right > 360).length"
        )
        assert hidden == 0
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_light_and_dark(screen):
    def lightness():
        color = screen.run("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in color[4:-1].split(",")[:3])

    before = lightness()
    screen.run("document.querySelector('#theme').click()")
    after = lightness()
    assert {before < 200, after < 200} == {True, False}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_and_never_run(open_page, tmp_path, make, name):
    base = make.picture(0, {})
    views = tuple(
        dataclasses.replace(
            view, model=f"{name}{k}", predicted=(name,) * 3, predicted_name=name,
            numbers={name: 1.0},
        )
        for k, view in enumerate(base.views)
    )  # fmt: skip
    picture = dataclasses.replace(
        base, example_id=name, true=(name,) * 5, true_name=name, views=views,
        split=name, numbers={name: 2.0},
    )  # fmt: skip
    models = tuple(
        dataclasses.replace(model, name=f"{name}{k}", shares={name: 0.3})
        for k, model in enumerate(make.models())
    )
    page = make.page(
        [picture], title=name, question=name, sentences=(name,), models=models,
        ranks=(name,) * 5, facts={name: name}, agreement_name=name,
    )  # fmt: skip
    screen = open_page(pages.write_page(tmp_path, page))
    screen.run("document.querySelector('.card h3 button').click()")
    assert screen.text("h1") == name and screen.text(".card h3") == name
    assert screen.text("#detail-title") == name
    assert screen.ids() == [name]
    assert screen.run("return window.hacked") is None
    assert screen.run("return document.querySelectorAll('script').length") == 2
    assert screen.errors() == []


def test_nothing_but_our_own_script_may_run(screen):
    screen.run(
        "const s = document.createElement('script');"
        "s.textContent = 'window.hacked = 1'; document.body.append(s);"
        "const i = document.createElement('img');"
        "i.setAttribute('onerror', 'window.hacked = 2');"
        "i.src = 'data:,'; document.body.append(i);"
    )
    screen.run("return new Promise(done => setTimeout(done, 200))")
    assert screen.run("return window.hacked") is None
    assert any("Content Security Policy" in e["message"] for e in screen.errors())


def test_many_pictures_come_as_they_are_needed(open_page, tmp_path, make):
    pictures = [make.picture(n, {}) for n in range(90)]
    path = pages.write_page(tmp_path, make.page(pictures), inline=False)
    screen = open_page(path)
    assert 4 <= len(screen.ids()) < 40
    screen.press("ARROW_LEFT")  # from nowhere: the last one
    assert screen.run("return document.activeElement.dataset.index") == "89"
    assert screen.ids()[-1][:4] == "0089" and len(screen.ids()) < 40
    loaded = screen.run(
        "return document.querySelector('.card:last-child .base').decode().then(() => 1)"
    )
    assert loaded == 1
    assert screen.errors() == []
    assert all(url.startswith(("file:", "data:")) for url in screen.requests())
