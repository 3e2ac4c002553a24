"""Maps of a split in the store, overlays, and the figure of one photo."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import cache_folder
from hiercam_keras.cam import Explainer, store, targets
from hiercam_keras.data import splits
from hiercam_keras.errors import UserError
from hiercam_keras.models import files
from hiercam_keras.modes import make_maps
from hiercam_keras.report import photo_figure
from hiercam_keras.taxonomy.tree import Taxonomy


def cam(trained, **flags):
    """Runs cam; returns what it said and the reader of the store that it names."""
    said = tiny_birds.run("cam", trained.config, **flags)
    return said, store.open(said.rsplit(" ", 1)[1])


@pytest.fixture(scope="module")
def taxonomy(trained):
    text = (trained.path("species") / "taxonomy.json").read_text()
    return Taxonomy.from_json(json.loads(text))


@pytest.fixture(scope="module")
def no_maps(trained):
    """The shared runs without the maps that tests of other modes made of them."""
    for ranks in (("family",), ("species",)):
        shutil.rmtree(trained.path(*ranks) / "maps", ignore_errors=True)


@pytest.fixture(scope="module")
def first(trained, no_maps):
    """Maps of the test split for the predicted species."""
    return cam(trained, rank=("species",))


def test_the_store_holds_every_picture_of_the_split(trained, first, taxonomy):
    said, maps = first
    ids = splits.load(trained.path("species") / "split").test
    assert said.startswith("9 maps of the test split, 9 of them made now")
    assert maps.example_ids == ids and maps.complete and not maps.skipped
    assert maps.folder.parent == trained.path("species") / "maps"
    assert maps.ranks == ("species",)
    for entry in maps:
        assert entry.cam.shape == (1, 6, 6) and entry.cam.dtype == np.float32
        assert np.isfinite(entry.cam).all()
        assert 0 < entry.probability[0] <= 1
    assert maps.lineage("species", 0) == "/".join(taxonomy.prefixes("species")[0])


def test_a_second_call_makes_nothing(trained, first):
    said, maps = cam(trained, rank=("species",))
    assert "9 maps of the test split, 0 of them made now" in said
    assert maps.folder == first[1].folder


def test_maps_equal_those_of_one_picture_alone(trained, first, birds):
    """Gradient times activations, by hand through the logit of the predicted label."""
    _, maps = first
    model, _ = files.load_model(trained.path("species") / "model.keras", "none")
    explain = Explainer(model, "last_activation", batch_size=1)
    example_id = maps.example_ids[4]
    entry = maps.get(example_id)
    geometry = entry.geometry
    image = _input(birds / "images" / example_id)
    result = explain(image[None], targets.label(int(entry.label[0])))
    scale = np.abs(result.cams).max()
    assert geometry.shape == (7,)
    # Pixels may differ from the loader's by rounding, hence not to the last digit.
    np.testing.assert_allclose(entry.cam, result.cams[0], atol=0.05 * scale)


def _input(path):
    short = round(tiny_birds.SIZE * 256 / 224)
    image = Image.open(path).convert("RGB")
    image = image.resize((short, short), Image.Resampling.BILINEAR)
    start = (short - tiny_birds.SIZE) // 2
    end = start + tiny_birds.SIZE
    return np.asarray(image.crop((start, start, end, end)))


def test_true_named_and_coarser_targets(trained, first, taxonomy):
    _, true = cam(trained, rank=("species",), target="true")
    ids = splits.load(trained.path("species") / "split").test
    # Sorted folders, sorted prefixes: the label of a picture is that of its folder.
    folders = [one.split("/")[0] for one in ids]
    lineages = ["/".join(folder.split("_")[1:]) for folder in folders]
    labels = true.column("label")[:, 0]
    assert [true.lineage("species", label) for label in labels] == lineages

    name = taxonomy.names("order")[1]
    _, named = cam(trained, rank=("species",), target=name)
    assert set(named.column("label").ravel()) == {1} and named.ranks == ("order",)

    _, coarse = cam(trained, rank=("species",), target_rank="family")
    assert coarse.ranks == ("family",)
    predicted = first[1]
    assert len({true.folder, named.folder, coarse.folder, predicted.folder}) == 4
    with pytest.raises(UserError, match="Anser anserr"):
        cam(trained, rank=("species",), target="Anser anserr")


@pytest.mark.parametrize("image", [False, True])
def test_a_finer_rank_than_the_model_knows(trained, birds, image):
    photo = str(next((birds / "images").rglob("*.jpg"))) if image else None
    with pytest.raises(UserError, match="trained at family and cannot answer for") as e:
        cam(trained, rank=("family",), target_rank="species", image=photo)
    assert "order, family" in str(e.value)


def test_marginal_scores_of_a_multi_rank_model_are_other_maps(trained):
    rank = ("order", "species")
    _, own = cam(trained, rank=rank, target_rank="order")
    _, marginal = cam(
        trained, rank=rank, target_rank="order", fields={"cam.score": "marginal"}
    )
    assert own.folder != marginal.folder
    difference = np.abs(own.column("cam") - marginal.column("cam"))
    assert difference.max() > 1e-6


def test_overlays_are_as_many_and_of_the_format_asked_for(trained, no_maps):
    """Also of maps that are there already."""
    known = set(splits.load(trained.path("family") / "split").test)
    seen = {}
    for number, kind, expected in ((0, "jpg", 0), (3, "png", 3), (-1, "png", 9)):
        fields = {
            "cam.num_overlays": number,
            "cam.overlay_format": kind,
            "cam.method": "layercam",
        }
        said, maps = cam(trained, rank=("family",), fields=fields)
        assert f"{0 if seen or number else 9} of them made now" in said
        found = {one for one in maps.folder.glob("overlays/*/*/*") if one.is_file()}
        assert len(found) == expected
        for path in found:
            with Image.open(path) as image:
                assert image.format == {"png": "PNG", "jpg": "JPEG"}[kind]
                assert image.size[0] >= tiny_birds.SIZE
            _, *name = path.with_suffix(".jpg").parts[-3:]  # of a verdict's folder
            assert "/".join(name) in known
        # Those of before are not drawn again.
        now = {path: path.stat().st_mtime_ns for path in found}
        assert seen.items() <= now.items()
        seen = now


def test_maps_of_fused_layers(trained, no_maps):
    """As fine as the finest layer, and a store of their own."""
    fields = {"cam.num_overlays": 1, "cam.method": "refinecam"}
    said, maps = cam(trained, rank=("family",), fields=fields)
    assert "9 of them made now" in said and maps.complete
    for entry in maps:
        assert min(entry.cam.shape[1:]) > 6
        assert 0 <= entry.cam.min() and entry.cam.max() <= 1


def test_an_overlay_that_cannot_be_written_is_an_error(trained, no_maps):
    fields = {"cam.num_overlays": 0, "cam.method": "gradcam++"}
    _, maps = cam(trained, rank=("family",), fields=fields)
    (maps.folder / "overlays").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot make the folder .*overlays"):
        cam(trained, rank=("family",), fields={**fields, "cam.num_overlays": 1})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cam.method": "gradcamm"}, "gradcamm"),
        ({"cam.method": "legrad"}, "no transformer.*can be asked: gradcam"),
        ({"cam.layer": "conv99"}, "conv99"),
        ({"cam.overlay_format": "gif"}, "gif"),
        ({"cam.score": "best"}, "best"),
    ],
)
def test_wrong_values_are_named(trained, fields, words):
    stores = trained.path("family") / "maps"
    before = set(stores.glob("*"))
    with pytest.raises(UserError, match=words) as error:
        cam(trained, rank=("family",), fields=fields)
    assert "\n" not in str(error.value)
    if "cam.overlay_format" not in fields:  # the maps are good, only pictures are not
        assert set(stores.glob("*")) == before


def test_a_store_that_was_cut_short_is_filled_up(trained, no_maps, monkeypatch):
    """A killed cam leaves whole shards; the next call makes the others."""
    monkeypatch.setattr(
        make_maps.store, "Writer", _small_shards(make_maps.store.Writer), raising=True
    )
    real = make_maps._overlapped

    def stops(*args):
        for number, pair in enumerate(real(*args)):
            if number == 1:
                raise KeyboardInterrupt
            yield pair

    fields = {"cam.method": "hirescam", "cam.batch_size": 4}
    with monkeypatch.context() as patch:
        patch.setattr(make_maps, "_overlapped", stops)
        with pytest.raises(KeyboardInterrupt):
            cam(trained, rank=("species",), fields=fields)
    said, maps = cam(trained, rank=("species",), fields=fields)
    assert "9 maps of the test split, 5 of them made now" in said
    assert maps.complete


def _small_shards(writer):
    return lambda *args, **options: writer(*args, **{**options, "shard_size": 4})


def test_the_figure_of_a_photo(trained, birds, tmp_path, taxonomy):
    example_id = splits.load(trained.path("species") / "split").test[0]
    photo = birds / "images" / example_id
    name = taxonomy.names("family")[2]
    said = tiny_birds.run(
        "cam",
        trained.config,
        rank=("species",),
        image=str(photo),
        out=str(tmp_path),
        target=name,
    )
    assert "order" in said and "species" in said and f"asked for {name}" in said
    stem = photo.stem
    assert {one.name for one in tmp_path.iterdir()} == {
        f"{stem}.png",
        f"{stem}__{name.replace(' ', '_')}.png",
    }
    with Image.open(tmp_path / f"{stem}.png") as image:
        assert image.format == "PNG" and min(image.size) > 200


@pytest.mark.parametrize("ranks", [("species",), ("order", "species")])
def test_rows_of_the_figure_on_one_scale(trained, birds, tmp_path, ranks, monkeypatch):
    """One head's maps share a scale, and those of two heads do not."""
    found = {}
    save = photo_figure.save_single

    def record(path, image, answers, **options):
        found[path.parent.name] = answers, options["scales"]
        return save(path, image, answers, **options)

    monkeypatch.setattr(photo_figure, "save_single", record)
    photo = next((birds / "images").rglob("*.jpg"))
    flags = {"rank": ranks, "image": str(photo)}
    for scale in ("row", "map"):
        fields = {"report.scale": scale}
        out = str(tmp_path / scale)
        tiny_birds.run("cam", trained.config, fields=fields, out=out, **flags)
    (rows, scales), (maps, own) = found["row"], found["map"]
    assert (own.own, own.steps) == (None, None)
    assert scales.steps > 0 and (scales.own is None) == (len(ranks) > 1)
    peaks = [one.step.max() for one in rows if one.step is not None]
    assert len(peaks) > 1 and max(peaks) <= 1 and min(peaks) < 0.999
    assert {one.step.max() for one in maps if one.step is not None} <= {0, 1}
    assert [one.step_remark for one in rows] == [one.step_remark for one in maps]
    with pytest.raises(UserError, match="config.report.scale is 'page', expected"):
        fields = {"report.scale": "page"}
        tiny_birds.run("cam", trained.config, fields=fields, **flags)


def test_photos_of_unknown_taxa_have_no_true_label(trained, birds, tmp_path):
    source = next((birds / "images").rglob("*.jpg"))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(source.read_bytes())
    flags = {"rank": ("family",), "image": str(tmp_path), "out": str(tmp_path / "o")}
    words = "--target=true: of 2 photos, 2 have no known family: 2 in no folder.*a.jpg"
    with pytest.raises(UserError, match=words):
        tiny_birds.run("cam", trained.config, target="true", **flags)
    assert not (tmp_path / "o").exists()
    said = tiny_birds.run("cam", trained.config, **flags)
    assert said.count("figure: ") == 2
    assert {one.name for one in (tmp_path / "o").iterdir()} == {"a.png", "b.png"}


def test_photos_without_a_true_taxon_are_counted_before_the_work(
    trained, birds, tmp_path, caplog
):
    """Of three photos one is of a bird that is known, one of another, one of none."""
    source = next((birds / "images").rglob("*.jpg"))
    other = "00009_Animalia_Chordata_Aves_Piciformes_Picidae_Picus_viridis"
    for name in ("a.jpg", f"{source.parent.name}/b.jpg", f"{other}/c.jpg"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(source.read_bytes())
    flags = {"rank": ("family",), "image": str(tmp_path / "p")}
    said = tiny_birds.run(
        "cam", trained.config, target="true", out=str(tmp_path / "o"), **flags
    )
    assert said.count("figure: ") == 1 and "b.jpg" in said
    (text,) = [one.getMessage() for one in caplog.records if "--target" in one.message]
    assert "of 3 photos, 2 have no known family" in text and text.endswith("left out")
    assert "1 in no folder in iNat naming and 1 of a family that the" in text


@pytest.mark.parametrize("mode", ["predict", "cam"])
def test_photos_are_converted_into_the_cache_of_the_config(
    trained, tmp_path, monkeypatch, mode
):
    def never():
        raise AssertionError("another cache was asked for")

    monkeypatch.setattr(cache_folder, "user_cache", lambda: None)
    monkeypatch.setattr(cache_folder, "_temporary", never)
    Image.new("L", (60, 50), 90).save(tmp_path / f"gray-{mode}.png")
    tiny_birds.run(
        mode,
        trained.config,
        rank=("family",),
        image=str(tmp_path / f"gray-{mode}.png"),
        out=str(tmp_path / "out"),
    )
    photos = Path(trained.config.data.cache_dir) / "photos"
    assert list(photos.glob(f"{tmp_path.name}-*/converted/*.png"))


@pytest.mark.parametrize("method", ["random", "smoothgrad"])
def test_what_is_drawn_for_a_picture_does_not_depend_on_its_batch(trained, method):
    def maps(size):
        fields = {"cam.method": method, "cam.batch_size": size}
        _, made = cam(trained, rank=("family",), fields=fields)
        found = {one: made.get(one).cam[0] for one in made.example_ids}
        shutil.rmtree(made.folder)
        return found

    two, four = maps(2), maps(4)
    assert two.keys() == four.keys() and len(two) == 9
    for example_id, one in two.items():
        np.testing.assert_allclose(four[example_id], one, atol=1e-4 * np.abs(one).max())
    if method == "random":
        assert len({one.tobytes() for one in two.values()}) == 9
