"""The page as a file: what it holds, what it refuses, and that names stay data."""

import base64
import dataclasses
import html
import html.parser
import io
import json
import math
import re
import weakref

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report import page as pages
from hiercam_keras.report import schema


class Parsed(html.parser.HTMLParser):
    """Tags with their attributes, and the text of each script, style and cell."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, text):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(text)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def parse(path) -> Parsed:
    return Parsed(path.read_text(encoding="utf-8"))


def data_of(parsed: Parsed) -> dict:
    return json.loads(parsed.texts["script"][0])


def of(data: dict, number: int, view: int) -> dict:
    """The numbers of a view by their labels."""
    values = data["pictures"][number]["views"][view]["numbers"]
    return dict(zip(data["labels"]["view"], values, strict=True))


def test_page_is_one_file_with_everything_in_it(tmp_path, pictures, make):
    path = pages.write_page(tmp_path, make.page(pictures))
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    parsed = parse(path)
    for tag in ("img", "link", "script", "iframe", "source"):
        for attributes in parsed.all(tag):
            for name in ("src", "href", "srcset"):
                assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?://", "".join(parsed.texts["style"]))


def test_data_hold_what_was_given(tmp_path, pictures, make):
    data = data_of(parse(pages.write_page(tmp_path, make.page(pictures))))
    assert data["skip"] == 1 and data["ranks"] == list(make.RANKS[1:])
    assert [s["pictures"] for s in data["sections"]] == [list(range(8)), [0, 1], [6, 7]]
    first = data["pictures"][0]
    assert first["name"] == "Picus viridis" and first["agreement"] == 0.9
    view = data["pictures"][1]["views"][0]
    assert (view["name"], view["right"], view["p"]) == ("Strigidae", False, 0.54)
    assert of(data, 1, 0) == {"entropy": 2.1}
    assert data["lineages"][view["predicted"]] == list(make.BIRDS[3][:3])
    assert data["lineages"][first["true"]] == list(make.BIRDS[0])
    # Four birds, and their families: no lineage is stored twice.
    assert len(data["lineages"]) == 4 + 3
    assert data["pictures"][3]["views"][0]["energy"] is None


def test_pictures_and_heat_are_those_given(tmp_path, pictures, make):
    data = data_of(parse(pages.write_page(tmp_path, make.page(pictures))))

    def decode(uri):
        return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))

    picture = np.asarray(decode(data["pictures"][5]["image"]).convert("RGB"))
    assert np.abs(picture.astype(int) - pictures[5].image).max() <= 2
    heat = np.asarray(decode(data["pictures"][5]["views"][1]["heat"]).convert("RGBA"))
    peak = np.unravel_index(heat[..., 3].argmax(), heat.shape[:2])
    # The peak is at cell (3, 5) of 8 x 8, that is around (14, 22) of 32 x 32.
    assert abs(peak[0] - 14) <= 2 and abs(peak[1] - 22) <= 2


def test_large_pictures_are_scaled_down_keeping_their_shape(tmp_path, pictures, make):
    image = np.zeros((300, 600, 3), np.uint8)
    big = dataclasses.replace(pictures[0], image=image)
    data = data_of(parse(pages.write_page(tmp_path, make.page([big]))))
    uri = data["pictures"][0]["image"]
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as decoded:
        assert decoded.size == (256, 128)


def test_many_pictures_lie_beside_the_page(tmp_path, pictures, make):
    path = pages.write_page(tmp_path, make.page(pictures), inline=False)
    data = data_of(parse(path))
    places = [p["image"] for p in data["pictures"]]
    places += [view["heat"] for p in data["pictures"] for view in p["views"]]
    assert len(set(places)) == 24
    for place in places:
        with Image.open(tmp_path / place) as image:
            image.load()
    assert path.stat().st_size < 80_000


def test_pictures_stream_through(tmp_path, make):
    """Of 600 pictures never more than two are in memory, and every one is written."""
    alive, most = 0, 0

    def gone():
        nonlocal alive
        alive -= 1

    def stream():
        nonlocal alive, most
        for n in range(600):
            picture = make.picture(n, {}, image=np.full((32, 32, 3), n % 200, np.uint8))
            alive += 1
            weakref.finalize(picture.image, gone)
            most = max(most, alive)
            yield picture

    page = dataclasses.replace(make.page([], sections=()), pictures=stream())
    data = data_of(parse(pages.write_page(tmp_path, page)))
    assert most <= 2
    assert len(data["pictures"]) == 600 == len(list(tmp_path.rglob("*.jpg")))
    assert len(list(tmp_path.rglob("*.png"))) == 1200
    assert data["skip"] == 1


def test_labels_of_later_pictures_are_none_of_earlier_ones(tmp_path, pictures, make):
    """Numbers are lists in the order of the labels, as these were met."""
    shown = [
        dataclasses.replace(pictures[0], numbers={"x": 1.0}),
        dataclasses.replace(pictures[1], numbers={"y": 2.0}),
    ]
    page = make.page(shown)
    data = data_of(parse(pages.write_page(tmp_path, page)))
    assert data["labels"]["picture"] == ["x", "y"]
    assert [p["numbers"] for p in data["pictures"]] == [[1.0, None], [None, 2.0]]


def test_numbers_that_are_none_are_no_json_error(tmp_path, pictures, make):
    odd = dataclasses.replace(
        pictures[0], agreement=math.nan, numbers={"x": math.inf, "y": np.float32(0.5)}
    )
    data = data_of(parse(pages.write_page(tmp_path, make.page([odd]))))
    assert data["pictures"][0]["agreement"] is None
    assert data["labels"]["picture"] == ["x", "y"]
    assert data["pictures"][0]["numbers"] == [None, 0.5]


def test_summary_shows_numbers_and_leaves_out_what_is_not_known(
    tmp_path, pictures, make
):
    cells = parse(pages.write_page(tmp_path, make.page(pictures))).texts["td"]
    # A row is a quantity, a column a model.
    assert cells[:14:2] == [
        "3", "91.2 %", "87.0 – 94.0 %", "33.3 %", "20.0 %", "41.0 %", "30.0 %",
    ]  # fmt: skip
    assert cells[1:4:2] == ["4", "80.0 %"]
    models = [schema.Model("family", "family", 3, 0.5), make.models()[1]]
    bare = [
        dataclasses.replace(m, energy_on_object=None, object_area=None) for m in models
    ]
    parsed = parse(pages.write_page(tmp_path, make.page(pictures, models=tuple(bare))))
    assert "energy on the bird" not in parsed.texts["th"]
    assert "–" in parsed.texts["td"]  # the interval of the first model


def test_tables_figures_curves_and_facts_have_their_place(tmp_path, pictures, make):
    log = {"epoch": [0, 1], "loss": [1.0, 0.5], "val_accuracy": [0.5, 0.7]}
    page = make.page(
        pictures,
        curves={"family": log},
        tables=(schema.Table("Extra", ("a", "b"), (("x", 0.12345), ("<y>", None))),),
        figures=(schema.Figure("Plot", b"png bytes", "what it shows", "caption"),),
        facts={"seed": "0"},
    )
    parsed = parse(pages.write_page(tmp_path, page))
    assert {"Extra", "Plot", "Learning curves"} <= set(parsed.texts["h2"])
    assert parsed.texts["td"][-2:] == ["0.123", "–"] and "<y>" in parsed.texts["th"]
    plot = next(a for a in parsed.all("img") if a["alt"] == "what it shows")
    assert plot["src"] == "data:image/png;base64,cG5nIGJ5dGVz"
    assert "0" in parsed.texts["dd"]


def test_picture_at_the_top_is_right_everywhere_and_least_alike(
    tmp_path, pictures, make
):
    def top(shown, **changes):
        parsed = parse(pages.write_page(tmp_path, make.page(shown, **changes)))
        first = next(a["src"] for a in parsed.all("img") if a.get("class") == "base")
        (found,) = [p["id"] for p in data_of(parsed)["pictures"] if p["image"] == first]
        return found

    # Number 7 has the lowest agreement of those that both models have right.
    assert top(pictures) == pictures[7].example_id
    flat = dataclasses.replace(pictures[7].views[0], degenerate=True)
    dull = dataclasses.replace(pictures[7], views=(flat, pictures[7].views[1]))
    assert top([*pictures[:7], dull]) == pictures[6].example_id
    assert top(pictures[1:3], sections=()) == pictures[2].example_id
    assert top(pictures, hero=pictures[1].example_id) == pictures[1].example_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hero": "none.jpg"}, "lacks.*none.jpg"),
        ({"sections": (schema.Section("s", "n", ("no.jpg",)),)}, "lacks.*no.jpg"),
        ({"models": ()}, "expected \\[\\]"),
    ],
)
def test_a_page_that_contradicts_itself_is_refused(
    tmp_path, pictures, make, changes, message
):
    with pytest.raises(UserError, match=message):
        pages.write_page(tmp_path, make.page(pictures, **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_given_twice_is_refused(tmp_path, pictures, make):
    with pytest.raises(UserError, match="twice"):
        pages.write_page(tmp_path, make.page([pictures[0], pictures[0]]))


def test_an_empty_page_is_a_page(tmp_path, make):
    data = data_of(parse(pages.write_page(tmp_path, make.page([]))))
    assert data["pictures"] == []


def stepped(pictures, **changes):
    """The first picture with two steps, a remark on the second one and on a view."""
    heat = np.eye(4, dtype=np.float32)
    steps = (
        schema.Step("family", "Picidae", 0.9, True, heat),
        schema.Step("genus", "Picus", 0.99, True, heat / 20, remark="weak: 5 %"),
    )
    first, *rest = pictures
    views = (dataclasses.replace(first.views[0], remark="nearly constant"),)
    views += first.views[1:]
    return [dataclasses.replace(first, steps=steps, views=views, **changes), *rest]


@pytest.mark.parametrize(
    ("top", "words"), [(0.0321, "are on one scale"), (None, "So has each step")]
)
def test_the_page_says_which_colors_compare(tmp_path, pictures, make, top, words):
    content = make.page(stepped(pictures, steps_top=top))
    hero = pictures[0].example_id
    path = pages.write_page(tmp_path, dataclasses.replace(content, hero=hero))
    text = path.read_text()
    data = data_of(parse(path))
    assert words in data["scales"] and data["scales"] in html.unescape(text)
    first = data["pictures"][0]
    assert first["stepsTop"] == ("0.032" if top else "")
    assert ('<div class="ramp">' in text) == bool(top)
    assert [step["remark"] for step in first["steps"]] == ["", "weak: 5 %"]
    assert first["views"][0]["remark"] == "nearly constant"
    assert "weak: 5 %" in text and "nearly constant" in text
