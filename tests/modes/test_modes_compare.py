"""The same pictures through several models: page, sheets and numbers."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import maps, tables
from hiercam_keras.cam import store
from hiercam_keras.data import splits
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes import compare, compare_figures
from hiercam_keras.modes.compare_lifts import Lift
from hiercam_keras.modes.comparison.questions import short_paths


@pytest.fixture(scope="module")
def compared(trained):
    """What compare of species and family said, and its folder."""
    said = tiny_birds.run("compare", trained.config)
    return said, trained.runs / "mini" / "compare-species-family"


def test_numbers_have_a_row_for_each_picture_and_model(trained, compared):
    _, out = compared
    rows = tables.read_csv(out / "numbers.csv")
    ids = splits.load(trained.path("family") / "split").test
    models = ["species", "family", "species asked for family"]
    assert rows["example_id"] == [one for one in ids for _ in models]
    assert rows["model"] == models * len(ids)
    assert set(rows["correct"]) <= {"0", "1"}
    for name in ("heatmap_area", "energy_on_object", "chance", "probability"):
        values = np.array(rows[name], float)
        assert ((values >= 0) & (values <= 1)).all(), name
    # A bird fills a quarter to a half of the frame; the crop shows a little less.
    assert 0.1 < np.array(rows["chance"], float).mean() < 0.6


def test_the_numbers_follow_from_the_maps(trained, compared):
    """Labels, areas and agreement against the store, for every picture."""
    _, out = compared
    rows = tables.read_csv(out / "numbers.csv")
    species = _maps(trained.path("species"), "species:predicted")
    family = _maps(trained.path("family"), "family:predicted")
    asked = _maps(trained.path("species"), "family:predicted")
    for number, model in enumerate(rows["model"]):
        example_id = rows["example_id"][number]
        cams = [reader.get(example_id).cam[0] for reader in (species, family, asked)]
        entry = {"species": species, "family": family}.get(model, asked).get(example_id)
        assert int(rows["predicted_label"][number]) == entry.label[0]
        heats = [_heat(one) for one in cams]
        own = heats[{"species": 0, "family": 1}.get(model, 2)]
        assert float(rows["heatmap_area"][number]) == pytest.approx(
            (own > maps.HOT).mean(), abs=1e-5
        )
        # The species model asked for the family is no model of its own.
        found = _correlation(heats[0], heats[1])
        assert float(rows["agreement"][number]) == pytest.approx(found, abs=1e-4)


# What the maps of a network depend on that is asked as it was trained.
_PLAIN = {"weights", "split", "method", "layer", "targets", "preprocessing"}


def _maps(path, question):
    """The store of the whole test split; other tests may have left stores of others."""
    test = "\n".join(sorted(splits.load(path / "split").test))
    split = hashlib.sha256(test.encode()).hexdigest()
    found = [store.open(one.parent) for one in path.glob("maps/*/store.json")]
    (maps,) = [
        reader
        for reader in found
        if reader.meta["info"]["question"] == question
        and reader.meta["info"]["split"] == "test"
        and reader.meta["identity"]["split"] == split
        and not reader.meta["identity"].keys() - _PLAIN
        and reader.meta["identity"]["method"] == "gradcam"
        and reader.meta["identity"]["targets"] == [f"{question}:auto"]
        and reader.meta["identity"]["preprocessing"]["crop"] == "center"
        and "animals" not in reader.meta["identity"]["preprocessing"]  # whole pictures
    ]
    return maps


def _heat(cam):
    """Half-pixel bilinear resize of the positive part to 64 x 64, then min-max."""
    positive = np.maximum(cam.astype(np.float64), 0)
    at = np.clip((np.arange(64) + 0.5) * len(cam) / 64 - 0.5, 0, len(cam) - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(cam) - 1)
    share = at - low
    rows = positive[low] * (1 - share)[:, None] + positive[high] * share[:, None]
    map_ = rows[:, low] * (1 - share) + rows[:, high] * share
    span = map_.max() - map_.min()
    return (map_ - map_.min()) / span if span > 0 else np.zeros_like(map_)


def _correlation(a, b):
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_the_summary_is_printed_and_written(compared):
    said, out = compared
    rows = tables.read_csv(out / "summary.csv")
    assert rows["model"] == ["species", "family", "species asked for family"]
    assert rows["taxa"] == ["8", "4", "4"]
    numbers = tables.read_csv(out / "numbers.csv")
    for row, model in enumerate(rows["model"]):
        mine = [m == model for m in numbers["model"]]
        right = np.array(numbers["correct"], float)[mine].mean()
        assert float(rows["accuracy"][row]) == pytest.approx(right, abs=1e-5)
    assert said.splitlines()[-1] == f"report: {out / 'index.html'}"
    assert rows["maps"] == rows["pictures"] == ["9", "9", "9"]
    for word in ("model", "accuracy over", "maps", "heatmap area", "energy on bird"):
        assert word in said.splitlines()[0]


def test_most_and_least_agreeing_are_sorted(trained, compared):
    from hiercam_keras.evaluation.table import Table
    from hiercam_keras.modes import compare_page
    from hiercam_keras.modes.settings import Settings

    _, out = compared
    rows = tables.read_csv(out / "numbers.csv")
    agreement = dict(
        zip(rows["example_id"], map(float, rows["agreement"]), strict=True)
    )
    ids = list(agreement)
    numbers = Table(
        np.array(ids), np.array(ids), (), (), {},
        {"agreement": np.array(list(agreement.values()))},
    )  # fmt: skip
    settings, split = Settings("compare", trained.config), "the test split"
    chosen, most, least = compare_page.choose_sections(numbers, settings, split)
    ordered = sorted(ids, key=agreement.get)
    assert [agreement[one] for one in least.example_ids] == [
        agreement[one] for one in ordered[:2]
    ]
    assert [agreement[one] for one in most.example_ids] == [
        agreement[one] for one in ordered[::-1][:2]
    ]
    assert len(chosen.example_ids) == 4 and set(chosen.example_ids) <= set(ids)
    again = compare_page.choose_sections(numbers, settings, split)[0]
    assert again.example_ids == chosen.example_ids
    # All of them come in the order drawn, so that the first ones are of many taxa, and
    # fewer are the first of these.
    config = trained.config.copy_and_resolve_references()
    config.compare.num_images = -1
    every = compare_page.choose_sections(numbers, Settings("compare", config), split)[0]
    assert sorted(every.example_ids) == sorted(ids) != list(every.example_ids)
    assert every.example_ids[:4] == chosen.example_ids


def test_only_the_pictures_of_the_sheets_are_kept():
    from types import SimpleNamespace

    from hiercam_keras.modes import compare_page

    kept = {}
    stream = (SimpleNamespace(example_id=f"{n}.jpg") for n in range(1000))
    given = compare_page._keep(stream, {"3.jpg", "700.jpg"}, kept)
    assert sum(1 for _ in given) == 1000
    assert list(kept) == ["3.jpg", "700.jpg"]


class Links(html.parser.HTMLParser):
    """What a page would fetch."""

    def __init__(self):
        super().__init__()
        self.found, self.tags, self.attributes = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        for name, value in attrs:
            if name in ("src", "href", "srcset") and value:
                self.found.append(value)


def test_the_page_is_one_file_and_shows_what_was_asked(trained, compared):
    _, out = compared
    text = (out / "index.html").read_text("utf-8")
    links = Links()
    links.feed(text)
    outside = [one for one in links.found if not one.startswith(("data:", "#"))]
    assert [one for one in outside if "://" in one] == []
    for one in outside:
        assert (out / one).exists(), one
    for word in ("asked for the species", "family", "gradcam", "Least agreeing"):
        assert word in text
    # Nothing is claimed of 9 pictures of 8 species.
    assert "too few species to say (n = 8)" in text
    for claim in ("points more", "points fewer", "more than the plain map ("):
        assert claim not in text
    assert not re.search(r"(?<![\w-])-0\.0+(?!\d)", text)  # a negative zero
    data = json.loads(text.split('id="data">', 1)[1].split("</script>", 1)[0])
    assert data["stepsOf"] == "species"
    for picture in data["pictures"]:
        assert [step["rank"] for step in picture["steps"]] == [
            "order", "family", "genus", "species",
        ]  # fmt: skip
        # The genera of these birds are only children: nothing was chosen there.
        genus = picture["steps"][2]
        assert genus["heat"] is genus["p"] is genus["right"] is None
        assert genus["note"] == "only child in this taxonomy: no choice"
        assert picture["steps"][3]["heat"].startswith("data:image/png")
        # The step's taxon is the one that the species model names.
        assert picture["steps"][3]["name"] == picture["views"][0]["name"]
    sheets = {one.name for one in out.glob("*.png")}
    assert {"chosen_01.png", "most_01.png", "least_01.png", "steps.png"} <= sheets
    with Image.open(out / "chosen_01.png") as image:
        assert image.width > 3 * tiny_birds.SIZE


def test_the_figures_show_the_rows_of_the_tables(compared):
    """Drawn again from summary.csv and lifts.csv they are in the page, bit for bit."""
    _, out = compared
    texts = {"model", "rank", "run", "asked_of", "method", "map", "step", "part"}

    def rows(name):
        columns = tables.read_csv(out / name)
        for cells in zip(*columns.values(), strict=True):
            row = dict(zip(columns, cells, strict=True))
            numbers = {k: float(v or "nan") for k, v in row.items() if k not in texts}
            yield row | numbers

    summary = [row | {"pictures": int(row["pictures"])} for row in rows("summary.csv")]
    lifts = []
    for row in rows("lifts.csv"):
        lift = Estimate(row["lift"], row["low"], row["high"], int(row["pictures"]))
        named = (row[name] for name in ("map", "step", "rank", "part"))
        lifts.append(Lift(*named, lift))
    figures = compare_figures.draw(summary, lifts)
    assert [one.title for one in figures] == [
        "Accuracy",
        "Energy of the maps on the parts",
    ]
    text = (out / "index.html").read_text("utf-8")
    for figure in figures:
        assert base64.b64encode(figure.png).decode("ascii") in text
    # Another figure in the table is another picture.
    other = dataclasses.replace(lifts[0], lift=Estimate(lifts[0].lift.value + 0.5))
    assert compare_figures.on_parts([other, *lifts[1:]]).png != figures[1].png


def test_lifts_follow_from_numbers_and_steps(compared):
    """Quotients of sums over the pictures, from the rows of the CSV files."""
    _, out = compared
    numbers, steps = (tables.read_csv(out / f"{n}.csv") for n in ("numbers", "steps"))
    lifts = tables.read_csv(out / "lifts.csv")
    own = [
        (numbers["example_id"][i], float(numbers["part_species"][i]),
         float(numbers["part_species_area"][i]))
        for i, model in enumerate(numbers["model"]) if model == "species"
    ]  # fmt: skip
    areas = {one: area for one, _, area in own}
    energy = {one: share for one, share, _ in own}
    stepped = {
        steps["example_id"][i]: float(share)
        for i, share in enumerate(steps["part_species"])
        if steps["rank"][i] == "species" and share
    }
    assert set(steps["model"]) == {"species"} and len(stepped) > 3
    at = {key: i for i, key in enumerate(zip(lifts["map"], lifts["part"], strict=True))}
    plain, step = at["species", "patch"], at["step to the species", "patch"]
    wanted = sum(energy.values()) / sum(areas.values())
    assert float(lifts["lift"][plain]) == pytest.approx(wanted, rel=1e-4)
    over = sum(areas[one] for one in stepped)
    assert float(lifts["lift"][step]) == pytest.approx(
        sum(stepped.values()) / over, rel=1e-4
    )
    more = sum(share - energy[one] for one, share in stepped.items()) / over
    assert float(lifts["gain"][step]) == pytest.approx(more, rel=1e-3, abs=1e-5)
    assert int(lifts["pictures"][step]) == len(stepped)


HOSTILE = "<img src=x onerror=alert(1)>"


def test_a_hostile_class_folder_stays_a_name(image_folder, config, tmp_path):
    """From the folders through trainings and maps to the page."""
    birds = tmp_path / "<script>alert(1)<" / "images"
    for number, folder in enumerate(sorted(image_folder.iterdir())):
        name = folder.name
        if number < 2:
            name = f"{name.rpartition('_')[0]}_{HOSTILE if number else '<script>x'}"
        shutil.copytree(folder, birds / name)
    config.data.source = "image_folder"
    config.train.epochs = 1
    config.compare.faithfulness_images = 0
    for rank in ("family", "species"):
        tiny_birds.run("train", config, rank=(rank,), data_dir=str(birds))
    out = tmp_path / "out"
    tiny_birds.run("compare", config, out=str(out), data_dir=str(birds),
                   fields={"compare.num_images": -1})  # fmt: skip
    text = (out / "index.html").read_text("utf-8")
    seen = Links()
    seen.feed(text)
    assert "script>x" in text or "u003cscript" in text
    assert seen.tags.count("script") == 2  # the data, and our own
    assert all(one.startswith(("data:", "#", "images/")) for one in seen.found)
    assert not any(name.startswith("on") for name in seen.attributes)
    data = json.loads(text.split('id="data">', 1)[1].split("</script>", 1)[0])
    names = {one["name"] for one in data["pictures"]}
    assert any(HOSTILE in name for name in names)
    assert any("<script>x" in name for name in names)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("runs/a/species/seed0", "runs/a/species/seed1"), ("seed0", "seed1")),
        (("runs/a/species/seed0", "runs/b/species/seed0"), ("a", "b")),
        (("runs/a/seed0", "runs/a/species/seed0"), ("seed0", "species/seed0")),
        (("runs/a", "runs/a/b", "other"), ("runs/a", "runs/a/b", "other")),
        (("runs/a", "runs/a"), ("runs/a",)),
        (("/x/mine", "mine"), ("/x/mine", "mine")),
    ],
)
def test_runs_are_named_by_what_differs(paths, names):
    found = short_paths([Path(one) for one in paths])
    assert tuple(found.values()) == names


def test_runs_by_folder_and_twice_the_same_rank(trained, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(trained.path("family"), twin)
    runs = (str(trained.path("family")), str(twin))
    out = tmp_path / "out"
    said = tiny_birds.run("compare", trained.config, runs=runs, out=str(out))
    rows = tables.read_csv(out / "numbers.csv")
    names = set(rows["model"])
    short = short_paths([Path(one) for one in runs])
    assert names == {f"family ({name})" for name in short.values()}
    text = (out / "index.html").read_text("utf-8")
    assert "Paired differences" in text
    np.testing.assert_allclose(np.array(rows["agreement"], float), 1, atol=1e-5)
    assert f"report: {out / 'index.html'}" in said


def test_one_model_with_several_ranks(trained, tmp_path):
    out = tmp_path / "out"
    path = str(trained.path("order", "species"))
    tiny_birds.run("compare", trained.config, runs=(path,), out=str(out))
    rows = tables.read_csv(out / "summary.csv")
    # Each by the head of its own, hence no "species asked for order".
    assert rows["model"] == ["species", "order"]
    with pytest.raises(UserError, match="a single model.*at least two"):
        tiny_birds.run("compare", trained.config, runs=(str(trained.path("family")),))


def test_what_cannot_be_compared(trained, tmp_path):
    with pytest.raises(UserError, match="expected at least two different ranks"):
        tiny_birds.run("compare", trained.config, ranks=("family",))
    with pytest.raises(UserError, match="no model trained at genus and family"):
        tiny_birds.run("compare", trained.config, ranks=("genus", "family"))
    with pytest.raises(UserError, match="cannot answer for 'species'"):
        tiny_birds.run("compare", trained.config, workdir=str(trained.path("family")))
    other = tmp_path / "other"
    shutil.copytree(trained.path("family"), other)
    test, val = other / "split" / "test.txt", other / "split" / "val.txt"
    (first, *lines), more = test.read_text().splitlines(), val.read_text()
    test.write_text("\n".join(lines))
    val.write_text(more + first + "\n")
    runs = (str(trained.path("species")), str(other))
    with pytest.raises(UserError, match="have different test images"):
        tiny_birds.run("compare", trained.config, runs=runs)


def test_runs_under_two_taxonomies_are_asked_under_one_with_a_flag():
    def opened(path, taxonomy):
        run = SimpleNamespace(path=path, imported=False)
        split = SimpleNamespace(test=("a.jpg",))
        return SimpleNamespace(run=run, split=split, taxonomy=taxonomy)

    same = [opened("runs/a", "AviList"), opened("runs/b", "AviList")]
    compare._check_same_split(same, "test")
    with pytest.raises(UserError, match="runs/a and runs/c .* --taxonomy=TABLE"):
        compare._check_same_split([*same, opened("runs/c", "IOC")], "test")
