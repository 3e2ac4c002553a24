"""example.py sees the pixels, crops and believed names of the program."""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import crops, detection_files, loader
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import photos
from hiercam_keras.exchange import detections
from hiercam_keras.export import example, readme, taxonomy_file
from hiercam_keras.export.web import page
from hiercam_keras.modes import belief
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

SIZE = 48
SHORT = 55  # round(48 * 256 / 224)
OTHERS = [word for kind in detections.KINDS for word in detections.words_of(kind)]
CROPPING = {"threshold": 0.2, "margin": 0.1, "not_animals": OTHERS}
IMAGE = taxonomy_file.image(SIZE, SHORT, CROPPING)
RANKS = ("order", "family", "species")


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with detail at every scale."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.BICUBIC)
    noise = rng.integers(-40, 40, (height, width, 3))
    return Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))


def seen_by_the_program(records: list[Record]) -> np.ndarray:
    config = ConfigDict(
        {
            "image_size": SIZE,
            "batch_size": len(records),
            "pipeline": "arrays",
            "workers": 1,
            "cache_mb": 0,
            "max_bad_share": 0.0,
        }
    )
    with loader.make_loader(records, {}, config) as batches:
        (batch,) = batches.epoch(0)
    return batch.images


def seen_by_the_example(path: Path, crop=None) -> np.ndarray:
    return example.square(*example.open_photo(path), crop, IMAGE)[0]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_pixels_are_those_of_the_program(tmp_path, cache):
    """JPEG files at every reduced scale, PNG, transparency, gray and palettes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    sizes = [(64, 48), (37, 91), (113, 56), (230, 225), (449, 301), (1001, 640)]
    for number, (width, height) in enumerate(sizes):
        drawn = picture(width, height, number)
        drawn.save(folder / f"{number}.jpg", quality=90)
        drawn.save(folder / f"{number}.png")
    drawn = picture(140, 99)
    clear = np.linspace(0, 255, 140 * 99).reshape(99, 140).astype(np.uint8)
    drawn.putalpha(Image.fromarray(clear))
    drawn.save(folder / "clear.png")
    picture(99, 140).convert("P").save(folder / "palette.png")
    picture(99, 140).convert("L").save(folder / "gray.png")
    deep = np.asarray(picture(99, 140).convert("L")).astype(np.uint16)
    Image.fromarray(deep * 257).save(folder / "16 bits.png")
    Image.fromarray(deep.astype(np.int32)).save(folder / "8 of 32 bits.tif")
    records = photos.load_photos(folder)
    assert len(records) == 17
    wanted = seen_by_the_program(records)
    for record, pixels in zip(records, wanted, strict=True):
        found = seen_by_the_example(folder / record.example_id)
        np.testing.assert_array_equal(found, pixels, record.example_id)


def test_photographs_that_the_program_copies(tmp_path, cache):
    """Turned, gray, with four colors, of other formats and larger than 4,096 pixels:
    the program reads a JPEG copy of quality 95, and so does the example."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for turn in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = turn
        picture(480, 320, turn).save(folder / f"{turn}.jpg", quality=92, exif=exif)
    picture(210, 150).convert("L").save(folder / "gray.jpg")
    picture(210, 150).convert("CMYK").save(folder / "print.jpg")
    picture(210, 150).save(folder / "other.webp")
    others = [picture(90, 60)]
    picture(480, 320).save(
        folder / "several.jpg", format="MPO", save_all=True, append_images=others
    )
    picture(4500, 90).save(folder / "wide.jpg")
    records = photos.load_photos(folder)
    assert len(records) == 8
    wanted = seen_by_the_program(records)
    for record, pixels in zip(records, wanted, strict=True):
        found = seen_by_the_example(folder / record.example_id)
        np.testing.assert_array_equal(found, pixels, record.example_id)


def test_a_crop_of_a_large_photograph(tmp_path, cache):
    """Its box is in pixels of the original, and the copy is smaller."""
    picture(4500, 100).save(tmp_path / "wide.jpg")
    (record,) = photos.load_photos(tmp_path / "wide.jpg")
    part = (2100, 5, 2190, 95)
    (wanted,) = seen_by_the_program([replace(record, crop=part)])
    found = seen_by_the_example(tmp_path / "wide.jpg", part)
    np.testing.assert_array_equal(found, wanted)


@given(
    st.tuples(*[st.integers(60, 900)] * 2),
    st.tuples(*[st.floats(0, 0.9)] * 2),
    st.tuples(*[st.floats(0.01, 1)] * 2),
    st.floats(0, 0.5),
)
def test_the_crops_are_those_of_the_program(size, corner, sides, margin):
    shares = [*corner, *(min(a, 1 - b) for a, b in zip(sides, corner, strict=True))]
    box = detections.Detection("x", detections.box_from_corner(shares), "a", 1, 1)
    wanted = crops.crop_of(box.box_in(*size), *size, margin)
    assert example.crop_of(shares, *size, {"margin": margin}) == wanted


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_pixels_of_crops_are_those_of_the_program(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(60, 900, 2))
    path = tmp_path_factory.mktemp("crop") / "x.jpg"
    picture(width, height, seed).save(path)
    x0, y0 = rng.uniform(0, 0.8, 2)
    box = (x0 * width, y0 * height, (x0 + 0.15) * width, (y0 + 0.19) * height)
    part = crops.crop_of(box, width, height, 0.1)
    one = Record("x", path, None, width, height, crop=part)
    (wanted,) = seen_by_the_program([one])
    np.testing.assert_array_equal(seen_by_the_example(path, part), wanted)


def test_animals_of_a_megadetector_file_are_those_of_the_program(tmp_path, cache):
    for name in ("a/1.jpg", "a/2.jpg", "3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(200, 150).save(tmp_path / name)
    (tmp_path / "4.jpg").write_bytes(b"")
    rows = [
        {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]},
        {"category": "2", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]},
        {"category": "1", "conf": 0.19, "bbox": [0.1, 0.2, 0.3, 0.4]},
        {"category": "3", "conf": 0.2, "bbox": [0.6, 0.5, 0.4, 0.5]},
    ]
    images = [
        {"file": "a\\1.jpg", "detections": rows},
        {"file": "a/2.jpg", "detections": []},
        {"file": "3.jpg", "detections": rows[3:]},
        {"file": "4.jpg", "detections": None, "failure": "unreadable"},
    ]
    kinds = {"1": "animal", "2": "Person", "3": "roe_deer"}
    path = tmp_path / "md.json"
    path.write_text(json.dumps({"detection_categories": kinds, "images": images}))
    names = {name: tmp_path / name for name in ("a/1.jpg", "a/2.jpg", "3.jpg")}
    records = [Record(name, at, None, 200, 150) for name, at in names.items()]
    found = detection_files.read(path, tmp_path / "cache")
    wanted = crops.crop(records, found, crops.Options(), tmp_path).records
    options = argparse.Namespace(
        photos=[], detections=path, folder=None, threshold=None
    )
    seen = [
        (
            f"{at.relative_to(tmp_path).as_posix()}#{number}",
            example.crop_of(box, 200, 150, IMAGE["detections"]),
        )
        for at, number, box in example.pictures(options, IMAGE)
    ]
    assert seen == [(record.example_id, record.crop) for record in wanted]
    assert len(seen) == 3


def document(taxonomy: Taxonomy, thresholds=None) -> dict:
    outputs = {"image": IMAGE, "batch": "dynamic"}
    return taxonomy_file.document(taxonomy, RANKS, ("species",), outputs, thresholds)


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    taxa = [
        ("Galliformes", "Phasianidae", "Gallus gallus"),
        ("Passeriformes", "Corvidae", "Corvus corax"),
        ("Passeriformes", "Corvidae", "Corvus corone"),
        ("Passeriformes", "Corvidae sp.", "Corvidae sp."),
        ("Passeriformes", "Paridae", "Parus major"),
    ]
    return Taxonomy(Lineage(one, RANKS) for one in taxa)


def test_taxa_have_their_leaves(taxonomy):
    about = document(taxonomy)
    assert about["taxa"]["order"] == [
        {
            "name": "Galliformes",
            "lineage": ["Galliformes"],
            "first_leaf": 0,
            "leaves": 1,
        },
        {
            "name": "Passeriformes",
            "lineage": ["Passeriformes"],
            "first_leaf": 1,
            "leaves": 4,
        },
    ]
    for rank in RANKS:
        for label, taxon in enumerate(about["taxa"][rank]):
            below = taxonomy.descendants(rank, label, "species")
            first = taxon["first_leaf"]
            assert list(below) == list(range(first, first + taxon["leaves"]))
    json.dumps(about)


@pytest.fixture(scope="module")
def gaps() -> Taxonomy:
    """Some families have no order, some species no family; one has neither."""
    taxa = [
        ("", "", "Dubius dubius"),
        ("", "Phasianidae", "Gallus gallus"),
        ("", "Phasianidae", "Pavo cristatus"),
        ("Passeriformes", "", "Pica pica"),
        ("Passeriformes", "Corvidae", "Corvus corax"),
        ("Passeriformes", "Corvidae", "Corvus corone"),
        ("Piciformes", "", "Picus viridis"),
    ]
    return Taxonomy(Lineage(one, RANKS) for one in taxa)


def answered(taxonomy: Taxonomy, seed: int) -> tuple[np.ndarray, dict, str, str]:
    """Random logits and thresholds, as a document; the program's rank and name."""
    rng = np.random.default_rng(seed)
    count = taxonomy.num_labels("species")
    logits = rng.normal(0, 3, (1, count)).astype(np.float32)
    values = np.sort(rng.uniform(0.0, 1.1, 3))
    limits = {rank: float(value) for rank, value in zip(RANKS, values, strict=True)}
    thresholds = {rank: None if v > 1 else v for rank, v in limits.items()}
    rule = belief.Rule(
        belief.CALIBRATED, "", {r: np.inf if v > 1 else v for r, v in limits.items()}
    )
    shares = np.exp(logits.astype(float))
    shares /= shares.sum()
    found = belief.judged(rule, shares, taxonomy, "species")
    about, depth = document(taxonomy, thresholds), int(found.depth[0])
    if depth < 0:
        return logits[0], about, "", ""
    rank = found.paths.ranks[depth]
    name = taxonomy.names(rank)[found.paths.taxa[0, depth]]
    return logits[0], about, rank, name


@pytest.mark.parametrize("tree", ["taxonomy", "gaps"])
@given(st.integers(0, 10**6))
def test_the_believed_name_is_that_of_the_program(request, tree, seed):
    tree = request.getfixturevalue(tree)
    logits, about, rank, name = answered(tree, seed)
    said = example.believed(logits, about)
    assert said.startswith(f"{name} ({rank}, ") if rank else said == "no name"


def test_the_page_believes_what_the_program_does(gaps):
    """The page's own code, in Node."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    cases = [answered(gaps, seed) for seed in range(200)]
    parts = ("taxonomy.js", "belief.js", "answer.js")
    code = "".join((page.PARTS / name).read_text() for name in parts)
    code += """
      const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
      console.log(JSON.stringify(cases.map(([logits, about]) => {
        const found = believed(Float32Array.from(logits), new Taxonomy(about));
        return [found?.rank ?? "", found?.taxon.name ?? ""];
      })));
      const all = cases[0][1].ranks.map((rank) => [rank, cases[0][1].taxa[rank].map(
        (_, label) => new Taxonomy(cases[0][1]).isOnlyChild(rank, label))]);
      console.log(JSON.stringify(Object.fromEntries(all)));
    """
    given_ = json.dumps([(logits.tolist(), about) for logits, about, *_ in cases])
    done = subprocess.run(
        ["node", "-e", code], input=given_, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found, alone = map(json.loads, done.stdout.splitlines())
    assert found == [[rank, name] for *_, rank, name in cases]
    assert len({rank for rank, _ in found}) == 4
    for rank in RANKS:
        for label in range(gaps.num_labels(rank)):
            assert alone[rank][label] == gaps.is_only_child(rank, label)


def test_a_picture_at_its_threshold_is_believed_in_the_next_computer_too(taxonomy):
    logits = np.array([0.0, 4.0, 1.0, 0.0, 0.0])
    shares = np.exp(logits) / np.exp(logits).sum()
    at = {"order": 0.0, "family": 0.0, "species": float(shares[1])}
    about = document(taxonomy, at)
    for change in (-1e-5, 0, 1e-5):
        near = logits + np.array([0, change, 0, 0, 0])
        assert example.believed(near, about).startswith("Corvus corax (species, ")
    off = logits - np.array([0, 1e-3, 0, 0, 0])
    assert example.believed(off, about).startswith("Corvidae (family, ")


def test_a_taxon_that_skips_a_rank_is_asked_no_threshold_there():
    """Of one order: a family with two species, and a species without a family."""
    taxa = {
        "order": [("A", 0, 3), ("B", 3, 1)],
        "family": [("Fa", 1, 2), ("Fb", 3, 1)],
        "species": [("a", 0, 1), ("b", 1, 1), ("c", 2, 1), ("d", 3, 1)],
    }
    about = {
        "believed": {"order": 0.5, "family": 0.95, "species": 0.6},
        "taxa": {
            rank: [{"name": n, "first_leaf": i, "leaves": k} for n, i, k in rows]
            for rank, rows in taxa.items()
        },
    }

    def said(*shares):
        return example.believed(np.log(np.array(shares)), about).split(",")[0]

    assert said(0.65, 0.15, 0.15, 0.05) == "a (species"
    assert said(0.50, 0.20, 0.20, 0.10) == "A (order"
    assert said(0.02, 0.61, 0.36, 0.01) == "b (species"
    assert said(0.10, 0.62, 0.26, 0.02) == "A (order"
    assert said(0.20, 0.20, 0.00001, 0.59) == "B (order"


def test_a_run_without_thresholds_says_so(taxonomy):
    said = example.believed(np.zeros(5, np.float32), document(taxonomy))
    assert said == "unknown, as the run was not calibrated"


def test_an_overlay_is_hot_where_the_map_is(taxonomy, tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (200, 100), (90, 90, 90)).save(path)
    pixels, box = example.square(*example.open_photo(path), None, IMAGE)
    cells = np.full((3, 4, 4), -1, np.float32)
    cells[1, 0, 3] = 2  # of the family, in the upper right corner
    answer = {"maps": cells, "steps": -cells, "path": np.array([1, 1, 1])}
    options = argparse.Namespace(rank="family", step=None, out=tmp_path)
    said = example.save_overlay(options, path, 0, box, answer, document(taxonomy))
    assert said == f"{tmp_path / 'x-family.png'}: Corvidae"
    shown = np.asarray(Image.open(tmp_path / "x-family.png"), int)
    assert shown.shape[:2] == (88, 88)  # 3 to 51 of 55, of 100
    change = np.abs(shown - 90).sum(-1)
    assert change[:11, -11:].min() > 250 and change[40:, :40].max() == 0
    options = argparse.Namespace(rank=None, step="family", out=tmp_path)
    said = example.save_overlay(options, path, 2, box, answer, document(taxonomy))
    assert said == f"{tmp_path / 'x-2-step-family.png'}: step to Corvidae"
    answer["path"] = np.array([1, -1, 1])
    said = example.save_overlay(options, path, 3, box, answer, document(taxonomy))
    assert said == "no map: the answer has no family"
    assert len(list(tmp_path.glob("*-*.png"))) == 2


def test_photos_of_one_name_have_a_map_each(taxonomy, tmp_path):
    """As those of two cameras; one that is given twice is written again."""
    Image.new("RGB", (200, 100), (90, 90, 90)).save(tmp_path / "x.png")
    cells, box = np.zeros((3, 4, 4), np.float32), (50, 0, 150, 100)
    answer = {"maps": cells, "path": np.array([1, 1, 1])}
    options = argparse.Namespace(rank="family", step=None, out=tmp_path / "out")
    said = []
    for name in ("a/x.png", "b/x.png", "c/x.jpg", "b/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.open(tmp_path / "x.png").save(tmp_path / name)
        about = document(taxonomy)
        line = example.save_overlay(options, tmp_path / name, 0, box, answer, about)
        said.append(Path(line.partition(": ")[0]).name)
    assert said == [
        "x-family.png", "x-family~1.png", "x-family~2.png", "x-family~1.png"
    ]  # fmt: skip
    assert len(list(options.out.iterdir())) == 3


def test_there_is_no_map_of_a_rank_that_the_lineage_skips(gaps, tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (200, 100), (90, 90, 90)).save(path)
    cells, box = np.zeros((3, 4, 4), np.float32), (50, 0, 150, 100)
    answer = {"maps": cells, "steps": cells, "path": np.array([1, -1, 6])}
    about = document(gaps)
    options = argparse.Namespace(rank="family", step=None, out=tmp_path)
    said = example.save_overlay(options, path, 0, box, answer, about)
    assert said == "no map: the answer has no family"
    del answer["steps"]  # of independent labels
    options = argparse.Namespace(rank=None, step="order", out=tmp_path)
    said = example.save_overlay(options, path, 0, box, answer, about)
    assert said == "no map: the network's file has no steps"
    assert list(tmp_path.iterdir()) == [path]


def test_a_photo_that_cannot_be_read_is_left_out(
    taxonomy, tmp_path, monkeypatch, capsys
):
    """Of a list of photos, and of a detector's file that names one which is gone."""
    picture(200, 150).save(tmp_path / "good.jpg")
    data = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "none.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((60, 60), np.float32)).save(tmp_path / "float.tif")
    box = {"conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}
    rows = [{"category": one, **box} for one in "12"]  # the second kind is not known
    images = [{"file": name, "detections": rows} for name in ("gone.jpg", "good.jpg")]
    known = {"detection_categories": {"1": "animal"}, "images": images}
    (tmp_path / "md.json").write_text(json.dumps(known))
    (tmp_path / "taxonomy.json").write_text(json.dumps(document(taxonomy)))
    counts = {"order": 2, "family": 4, "species": 5}
    shares = {f"probabilities_{rank}": np.eye(n)[0] for rank, n in counts.items()}
    answer = {"logits": np.zeros(5), **shares}
    monkeypatch.setattr(example, "HERE", tmp_path)
    monkeypatch.setattr(example, "open_network", lambda: None)
    monkeypatch.setattr(example, "ask", lambda *_: answer)
    monkeypatch.chdir(tmp_path)
    photos_ = ["half.jpg", "none.png", "float.tif", "good.jpg", "gone.png"]
    monkeypatch.setattr(sys, "argv", ["x", *photos_, "--detections=md.json"])
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert ended.value.code == 1
    said = [one for one in capsys.readouterr().out.splitlines() if one[0] != " "]
    places = [one.partition(": ")[0] for one in said]
    gone, good = (str(tmp_path / name) for name in ("gone.jpg", "good.jpg"))
    assert places[:5] == photos_ and places[5] == gone
    assert (
        len(said) == 7 and said[3] == "good.jpg" and said[6].startswith(f"{good}#1 (")
    )
    assert "truncated" in said[0] and "no picture that Pillow" in said[1]
    assert "unknown range" in said[2] and "No such file" in said[4]
    (tmp_path / "md.json").write_text('{"images": []}')
    with pytest.raises(SystemExit, match="no file of MegaDetector.*categories"):
        example.main()


@pytest.fixture
def asked(taxonomy, tmp_path, monkeypatch):
    """Runs the example on the command line's words, with one answer for all photos."""
    (tmp_path / "taxonomy.json").write_text(json.dumps(document(taxonomy)))
    labels = dict(zip(RANKS, (1, 1, 2), strict=True))
    answer = {
        f"probabilities_{rank}": np.eye(taxonomy.num_labels(rank))[label]
        for rank, label in labels.items()
    }
    answer |= {"logits": np.zeros(5), "path": np.array([1, 1, 2])}
    answer["maps"] = answer["steps"] = np.ones((3, 4, 4), np.float32)
    monkeypatch.setattr(example, "HERE", tmp_path)
    monkeypatch.setattr(example, "open_network", lambda: None)
    monkeypatch.setattr(example, "ask", lambda *_: answer)
    picture(90, 70).save(tmp_path / "good.jpg")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["example.py", *map(str, words)])
        example.main()

    return run


def test_a_photo_that_a_megadetector_file_names_may_be_missing(asked, tmp_path, capsys):
    rows = [{"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}] * 2
    images = [{"file": name, "detections": rows} for name in ("gone.jpg", "good.jpg")]
    path = tmp_path / "md.json"
    path.write_text(
        json.dumps({"detection_categories": {"1": "animal"}, "images": images})
    )
    with pytest.raises(SystemExit):
        asked(f"--detections={path}")
    said = capsys.readouterr().out
    assert said.count("gone.jpg: left out, ") == 1
    assert "good.jpg#2" in said


def test_wrong_options_are_said_without_a_traceback(asked, tmp_path, capsys):
    with pytest.raises(SystemExit, match="taxonomy.json is no file of MegaDetector"):
        asked(f"--detections={tmp_path / 'taxonomy.json'}")
    with pytest.raises(SystemExit, match="good.jpg is no file of MegaDetector"):
        asked(f"--detections={tmp_path / 'good.jpg'}")
    with pytest.raises(SystemExit):
        asked(tmp_path / "good.jpg", "--rank=family", "--step=family")
    assert "not allowed with argument --rank" in capsys.readouterr().err


def test_taxa_that_are_not_allowed_may_have_too_much(
    taxonomy, tmp_path, monkeypatch, capsys
):
    """Then no name is believed, however sure the answer is among the allowed ones."""
    about = document(taxonomy, {"order": 0.1, "family": 0.1, "species": 0.1})
    (tmp_path / "taxonomy.json").write_text(json.dumps(about | {"least_allowed": 0.5}))
    picture(90, 70).save(tmp_path / "x.jpg")
    shares = {
        f"probabilities_{rank}": np.eye(taxonomy.num_labels(rank))[0] for rank in RANKS
    }
    answer = {"logits": np.array([9.0, 0, 0, 0, 0]), **shares}
    monkeypatch.setattr(example, "HERE", tmp_path)
    monkeypatch.setattr(example, "open_network", lambda: None)
    monkeypatch.setattr(example, "ask", lambda *_: answer)
    monkeypatch.setattr(sys, "argv", ["example.py", str(tmp_path / "x.jpg")])
    said = []
    for allowed in (0.6, 0.3):
        answer["allowed"] = np.float32(allowed)
        example.main()
        said.append(capsys.readouterr().out)
    assert "believed:  Gallus gallus" in said[0] and "others" not in said[0]
    assert "believed:  no name" in said[1]
    assert "others      70.0%  taxa that no answer may be of" in said[1]


def test_overlays_go_into_a_new_folder(asked, tmp_path):
    asked(tmp_path / "good.jpg", "--step=family", f"--out={tmp_path / 'a' / 'maps'}")
    assert (tmp_path / "a" / "maps" / "good-step-family.png").is_file()


def test_it_starts_with_three_packages_alone():
    """Nothing of this program, and no onnxruntime for its help."""
    code = (
        "import runpy, sys; sys.argv = ['example.py', '-h']\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('hiercam_keras', 'keras', 'jax', 'scipy'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"runpy.run_path({example.__file__!r})\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert not found.stdout and not found.stderr


@pytest.mark.parametrize(
    ("layer", "taxa", "expected"),
    [
        ("top", {"order": 2, "family": 4, "species": 9}, "--rank=family"),
        ("top", {"order": 1, "label": 9}, "--rank=label"),
        ("top", {"label": 1}, "--rank=label"),
        ("", {"order": 2, "family": 4}, None),
    ],
)
def test_the_commands_of_the_page_are_those_of_the_network(layer, taxa, expected):
    said = readme._use({"network": {"layer": layer}, "taxa": taxa})
    assert "python example.py photo.jpg " in said
    assert (expected in said) if expected else ("--rank" not in said)
    assert said.count("family") == 2 * (expected == "--rank=family")
