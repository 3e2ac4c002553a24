"""Tables of eval against a recomputation, and the answers of predict."""

import shutil

import keras
import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import tables
from hiercam_keras.data import splits
from hiercam_keras.errors import UserError
from hiercam_keras.modes import predict
from hiercam_keras.modes.predict import HEADER, ON_PATH
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training.predict import Predictions


@pytest.fixture(scope="module")
def truth(trained, birds):
    """Test ids, the taxonomy, and the probabilities of a model, worked out here."""
    path = trained.path("species")
    ids = splits.load(path / "split").test
    images = [_center(Image.open(birds / "images" / one)) for one in ids]
    model = keras.saving.load_model(path / "model.keras", compile=False)
    logits = np.asarray(model.predict_on_batch(np.stack(images)), np.float64)
    names = sorted(one.name for one in (birds / "images").iterdir())
    taxonomy = Taxonomy(parse_class_name(name) for name in names)
    share = np.exp(logits - logits.max(1, keepdims=True))
    return ids, taxonomy, share / share.sum(1, keepdims=True)


def _center(image):
    """Short side to 48 * 256/224, then the center; as the contract says."""
    short = round(tiny_birds.SIZE * 256 / 224)
    side = image.width  # the birds are square
    assert image.height == side
    resized = image.convert("RGB").resize((short, short), Image.Resampling.BILINEAR)
    start = (short - tiny_birds.SIZE) // 2
    box = (start, start, start + tiny_birds.SIZE, start + tiny_birds.SIZE)
    return np.asarray(resized.crop(box))


@pytest.fixture(scope="module")
def evaluated(trained):
    """What eval of the species model said, and its folder."""
    said = tiny_birds.run("eval", trained.config, rank=("species",))
    return said, trained.path("species") / "eval" / "test"


def test_eval_tells_every_rank_that_can_be_asked(evaluated):
    said, folder = evaluated
    rows = tables.read_csv(folder / "accuracy.csv")
    assert rows["rank"] == ["order", "family", "genus", "species"]
    assert rows["taxa"] == ["2", "4", "4", "8"]
    assert set(rows["images"]) == {"9"}
    for word in ("order", "species", "accuracy", "95 %", str(folder)):
        assert word in said
    assert (folder / "confusion_species.png").is_file()


def test_eval_agrees_with_a_recomputation(evaluated, truth):
    ids, taxonomy, share = truth
    _, folder = evaluated
    predictions = tables.read_csv(folder / "predictions.csv")
    accuracy = tables.read_csv(folder / "accuracy.csv")
    assert predictions["example_id"] == list(ids)
    lineages = [parse_class_name(one.split("/")[0]) for one in ids]
    for row, rank in enumerate(accuracy["rank"]):
        of_rank = share @ taxonomy.rollup("species", rank)
        names = taxonomy.names(rank)
        guesses = [names[k] for k in of_rank.argmax(1)]
        true = [names[taxonomy.label(one, rank)] for one in lineages]
        assert predictions[f"true_{rank}"] == true
        written = np.array(predictions[f"probability_{rank}"], float)
        # Pixels may differ by rounding from Pillow's here: so little, not the answer.
        np.testing.assert_allclose(written, of_rank.max(1), atol=0.02)
        sure = np.diff(np.sort(of_rank, 1)[:, -2:]).ravel() > 0.04
        found = np.array(predictions[f"predicted_{rank}"])
        np.testing.assert_array_equal(found[sure], np.array(guesses)[sure])
        right = float(np.mean(found == np.array(true)))
        assert float(accuracy["accuracy"][row]) == pytest.approx(right, abs=1e-5)
        # Fewer species than an interval needs.
        assert int(accuracy["groups"][row]) == len(set(lineages)) < 10
        assert accuracy["low"][row] == accuracy["high"][row] == ""
        confusion = tables.read_csv(folder / f"confusion_{rank}.csv")
        assert sum(map(int, confusion["images"])) == len(ids)
        hits = [int(n) for t, p, n in zip(*confusion.values(), strict=True) if t == p]
        assert sum(hits) == round(right * len(ids))
        taxa = tables.read_csv(folder / f"taxa_{rank}.csv")
        assert taxa["taxon"] == list(names)


def test_a_multi_rank_model_answers_with_each_head(trained):
    tiny_birds.run("eval", trained.config, rank=("order", "species"), split="val")
    folder = trained.path("order", "species") / "eval" / "val"
    rows = tables.read_csv(folder / "accuracy.csv")
    assert rows["rank"] == ["order", "family", "genus", "species"]
    assert tables.read_csv(folder / "mistakes.csv")["rank"] == ["order", "species"]


def test_predict_a_split(trained, truth, tmp_path):
    ids, taxonomy, share = truth
    out = tmp_path / "p.csv"
    said = tiny_birds.run(
        "predict", trained.config, rank=("species",), out=str(out), top_k=3
    )
    assert f"{len(ids)} images, the first of them above: {out}" in said
    rows = tables.read_csv(out)
    # Two orders, so two places; three at the other ranks.
    assert len(rows["example_id"]) == len(ids) * (2 + 3 + 3 + 3)
    assert list(dict.fromkeys(rows["example_id"])) == list(ids)
    probability = np.array(rows["probability"], float)
    species = np.array(rows["rank"]) == "species"
    best = probability[species].reshape(len(ids), 3)
    np.testing.assert_allclose(best, -np.sort(-share, 1)[:, :3], atol=0.02)
    orders = probability[np.array(rows["rank"]) == "order"].reshape(-1, 2)
    np.testing.assert_allclose(orders.sum(1), 1, atol=1e-5)
    for taxon, lineage in zip(rows["taxon"], rows["lineage"], strict=True):
        assert lineage.startswith("Animalia/Chordata/Aves/")
        assert lineage.split("/")[-1] in taxon

    cells = list(zip(*(rows[name] for name in (*HEADER[:5], ON_PATH)), strict=True))
    best = {row[0]: row[4] for row in cells if row[1:3] == ("species", "1")}
    for example_id, _, _, _, lineage, on_path in cells:
        inside = f"{best[example_id]}/".startswith(f"{lineage}/")
        assert on_path == str(int(inside))


def test_ranks_that_disagree_are_said():
    """The best species, of 0.3, is in a family of 0.4; the other family has 0.6."""
    ranks = ("family", "genus", "species")
    taxa = ["A/a/x", "A/a/y", "B/b/x", "B/b/y", "B//z"]
    tree = Taxonomy(Lineage(tuple(one.split("/")), ranks) for one in taxa)
    shares = {"A/a/x": 0.3, "A/a/y": 0.1, "B//z": 0.2, "B/b/x": 0.2, "B/b/y": 0.2}
    logits = np.log([[shares["/".join(one.taxa)] for one in tree.lineages]])
    found = Predictions(["photo.jpg"], {"species": logits.astype(np.float32)}, {})
    network = Network(None, tree, ("species",), "", 1)
    scores = network.scores(found.logits)
    rows = predict.prediction_rows(found, network, scores, top_k=2)
    assert [(row[4], round(row[5], 4), row[6]) for row in rows] == [
        *[("B", 0.6, False), ("A", 0.4, True), ("A/a", 0.4, True), ("B/b", 0.4, False)],
        *[("A/a/x", 0.3, True), ("B//z", 0.2, False)],
    ]
    said = predict.divided_sentence(rows, found.example_ids)
    assert (
        "Of 1 image, 1 has a best answer at a coarser rank (family) that does" in said
    )
    # The best species has no genus, so that a genus cannot disagree.
    logits[0, [tree.label(("B", "", "z"), "species")]] = 1.0
    found = found._replace(logits={"species": logits.astype(np.float32)})
    scores = network.scores(found.logits)
    rows = predict.prediction_rows(found, network, scores, top_k=1)
    assert [row[6] for row in rows] == [True, None, True]
    assert predict.divided_sentence(rows, found.example_ids) == ""


def test_predict_a_file_a_folder_and_a_glob(trained, birds, tmp_path):
    source = next(iter(sorted((birds / "images").rglob("*.jpg"))))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg", "c.png"):
        Image.open(source).save(photos / name)
    cases = {
        str(photos / "a.jpg"): ["a.jpg"],
        str(photos): ["a.jpg", "b.jpg", "c.png"],
        str(photos / "*.jpg"): ["a.jpg", "b.jpg"],
    }
    for pattern, names in cases.items():
        tiny_birds.run("predict", trained.config, image=pattern, rank=("family",))
        rows = tables.read_csv(trained.path("family") / "predict" / "photos.csv")
        assert list(dict.fromkeys(rows["example_id"])) == names
        assert set(rows["rank"]) == {"order", "family"}


@pytest.mark.parametrize("mode", ["predict", "cam"])
def test_an_image_that_is_no_image(trained, tmp_path, mode):
    bad = tmp_path / "photo.jpg"
    bad.write_text("no image")
    for image, words in (
        (bad, "is no image that can be read"),
        (tmp_path / "nowhere.jpg", "matches no image file"),
    ):
        with pytest.raises(UserError, match=words) as error:
            tiny_birds.run(mode, trained.config, image=str(image), rank=("family",))
        assert image.name in str(error.value)


@pytest.mark.parametrize("mode", ["eval", "predict", "cam"])
def test_a_workdir_without_a_model(trained, tmp_path, mode):
    with pytest.raises(UserError, match=r"holds no run \(config.json is missing\)"):
        tiny_birds.run(mode, trained.config, workdir=str(tmp_path))


@pytest.mark.parametrize("mode", ["eval", "predict", "cam"])
def test_a_model_asked_for_a_finer_rank(trained, mode):
    asked = {"rank": ("species",), "chosen_rank": True}
    with pytest.raises(UserError, match="trained at family and cannot answer for 'sp"):
        tiny_birds.run(
            mode, trained.config, workdir=str(trained.path("family")), **asked
        )


def test_a_rank_that_no_run_has(trained):
    with pytest.raises(UserError, match="no model trained at genus.*seed0") as error:
        tiny_birds.run("eval", trained.config, rank=("genus",))
    assert "--rank=genus" in str(error.value)


def test_other_pictures_than_the_model_knows_are_refused(trained):
    with pytest.raises(UserError, match=r"image_size=64.*trained with 48"):
        tiny_birds.run(
            "eval", trained.config, rank=("family",), fields={"data.image_size": 64}
        )


def test_a_damaged_model_is_told(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained.path("family"), copy)
    content = (copy / "model.keras").read_bytes()
    (copy / "model.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"model\.keras: damaged"):
        tiny_birds.run("eval", trained.config, workdir=str(copy))
