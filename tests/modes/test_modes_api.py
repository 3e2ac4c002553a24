"""The public API: a run, questions, a table and comparisons from Python."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tiny_birds
from ml_collections import FrozenConfigDict
from PIL import Image

import hiercam_keras as hc
from hiercam_keras import tables
from hiercam_keras.evaluation.measures import MEASURES
from hiercam_keras.metrics import resampling

RANKS = ("order", "family", "genus", "species")


@pytest.fixture(scope="module")
def run(trained):
    return hc.load_run(trained.path("species"))


@pytest.fixture(scope="module")
def table(run):
    questions = [
        hc.Question("species"),
        hc.Question("family"),
        hc.Question("family", target="true", kind="step", method="hirescam"),
        hc.Question("species", layer="activation2", method="layercam"),
        hc.Question("order", method="saliency"),
    ]
    return hc.evaluate(run, questions)


def test_every_public_name_is_there_and_described():
    for name in hc.__all__:
        value = getattr(hc, name)
        assert value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        hc.explian  # noqa: B018


@pytest.mark.parametrize(("chosen", "found"), [("", "jax"), ("torch", "torch")])
def test_the_first_name_that_needs_keras_chooses_jax(chosen, found):
    """Where nobody has chosen; names that need no keras choose nothing visible."""
    code = (
        "import os, sys, hiercam_keras as hc\n"
        "hc.targets.path(), hc.Question('family'), hc.Lineage, hc.UserError\n"
        "assert not {'keras', 'jax'} & set(sys.modules)\n"
        "print(os.environ['KERAS_BACKEND'])"
    )
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    env |= {"KERAS_BACKEND": chosen} if chosen else {}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert done.stdout.split() == [found], done.stderr


def test_a_run_knows_its_network_and_images(run, trained):
    assert run.ranks == ("species",) and run.finest == "species"
    assert run.taxonomy.ranks[3:] == RANKS and run.image_size == tiny_birds.SIZE
    assert repr(run).endswith(
        ": tiny, images of 48 px, heads for species (8 taxa); ranks kingdom, phylum, "
        "class, order, family, genus, species>"
    )
    assert run.model is run.model and run.layer == "last_activation"
    records = run.records("test")
    assert records and records[0].lineage.ranks[3:] == RANKS
    explain = run.explainer(method="hirescam")
    images = run.images([records[0], records[1].path])
    result = explain(images, hc.targets.path(ranks=RANKS))
    assert (result.method, result.layer) == ("hirescam", "last_activation")
    assert result.ranks == RANKS and result.heatmap.shape == (2, 4, 48, 48)
    assert run.explainer(layer=["conv1", "conv2"]).layers == ("conv1", "conv2")
    multi = hc.load_run(trained.path("order", "species"))
    assert multi.finest == "species" and "order (2 taxa)" in repr(multi)
    with pytest.raises(hc.UserError, match="holds no run"):
        hc.load_run(trained.runs)


def test_images_are_those_of_the_evaluation(run):
    """As the loader of the split reads them, also of a folder and in any order."""
    records = run.records("test")
    with run.data().loader("test", 4) as batches:
        batch = next(batches.epoch(0))
    by_id = {record.example_id: record for record in records}
    shown = [by_id[one] for one in batch.example_ids]
    images = run.images(shown[::-1])
    np.testing.assert_array_equal(images[::-1], np.asarray(batch.images, np.uint8))
    folder = shown[0].path.parent
    names = sorted(folder.iterdir())
    np.testing.assert_array_equal(run.images(folder), run.images(names))


def test_a_photograph_is_turned_upright_and_cropped(tmp_path):
    """Left half dark, turned by EXIF: the top is dark in the file."""
    pixels = np.zeros((80, 112, 3), np.uint8)
    pixels[:, 56:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed after a quarter turn clockwise
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "a.png", exif=exif)
    (found,) = hc.load_images(tmp_path / "a.png", 56)
    assert found.shape == (56, 56, 3) and found.dtype == np.uint8
    assert found[:, :26].max() < 8 and found[:, 30:].min() > 192
    with pytest.raises(hc.UserError, match="matches no image"):
        hc.load_images(tmp_path / "b.png", 56)
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.raises(hc.UserError, match="c.png is no image"):
        hc.load_images([tmp_path / "a.png", tmp_path / "c.png"], 56)


def test_a_method_of_several_layers_fuses_those_of_its_own_question(run):
    fused = [
        hc.Question("species", method="refinecam"),
        hc.Question("species", method="refinecam", layer="activation2"),
    ]
    found = hc.evaluate(run, [*fused, hc.Question("family", layer="activation1")])
    areas = [found.of("heatmap_area", one.name) for one in fused]
    for one, area in zip(fused, areas, strict=True):
        alone = hc.evaluate(run, [one])
        np.testing.assert_allclose(area, alone.of("heatmap_area", one.name), rtol=1e-4)
    assert np.abs(areas[0] - areas[1]).max() > 1e-3


def test_a_table_has_what_was_asked(run, table):
    assert table.questions == (
        "species",
        "family",
        "step-family=true, hirescam",
        "species, layercam, activation2",
        "order, saliency",
    )
    assert table.ranks == ("species", "family", "family", "species", "order")
    assert set(MEASURES) < set(table.values)
    records = run.records("test")
    assert sorted(table.example_ids) == sorted(r.example_id for r in records)
    by_id = {record.example_id: record for record in records}
    shown = [by_id[one] for one in table.example_ids]
    images = run.images(shown)
    for name, question in (
        ("family", hc.targets.predicted("family")),
        ("order, saliency", hc.targets.predicted("order")),
    ):
        result = run.explainer()(
            images, question, "saliency" if "sal" in name else "gradcam"
        )
        predicted = result.rank_probabilities(table.ranks[table.questions.index(name)])
        assert (table.of("predicted", name) == predicted.argmax(-1)).all()
        assert (table.of("label", name) == result.labels[:, 0]).all()
        np.testing.assert_allclose(
            table.of("score", name), result.scores[:, 0], rtol=1e-4, atol=1e-5
        )
        heat = hc.heatmap(result.cams[:, 0], 64) > 0.5
        np.testing.assert_allclose(
            table.of("heatmap_area", name), heat.mean((1, 2)), atol=3 / 64**2
        )
    lineages = [record.lineage for record in shown]
    step = table.questions[2]
    true = np.asarray(run.taxonomy.labels(lineages, "family"))
    assert (table.of("label", step) == true).all() and (
        table.of("true", step) == true
    ).all()
    assert np.isfinite(table.pairs["species", "family"]["pearson"]).all()


def test_the_table_has_the_numbers_of_compare(trained, tmp_path, table):
    """Maps from a store and from a stream are measured alike."""
    tiny_birds.run(
        "compare", trained.config, ranks=("species", "order"), out=str(tmp_path)
    )
    numbers = tables.read_csv(tmp_path / "numbers.csv")
    rows = [i for i, model in enumerate(numbers["model"]) if model == "species"]
    place = {example_id: i for i, example_id in enumerate(table.example_ids)}
    at = [place[numbers["example_id"][i]] for i in rows]
    assert sorted(at) == list(range(len(table)))
    for name in ("probability", "entropy", "energy_on_object", "part_family"):
        expected = [float(numbers[name][i]) for i in rows]
        np.testing.assert_allclose(table.of(name, "species")[at], expected, rtol=1e-3)


def test_wrong_questions_say_what_to_do(run):
    question = hc.Question
    with pytest.raises(hc.UserError, match="kind='path', expected one of label, log"):
        question("family", kind="path")
    with pytest.raises(hc.UserError, match="score='auto', expected one of own, marg"):
        question("family", score="auto")
    for wrong, part in (
        ([], "no question was asked"),
        (["family"], "expected Question objects, found 'family'"),
        ([question("family")] * 2, "asked twice: family, family"),
        ([question("famly")], "famly"),
        ([question("family", method="gradkam")], "unknown method 'gradkam'"),
        ([question("family", layer="conv9")], "conv9"),
        ([question("family", target="Nobody")], "Nobody"),
    ):
        with pytest.raises(hc.UserError, match=part):
            hc.evaluate(run, wrong)
    coarse = hc.load_run(run.path.parent.parent / "family" / "seed0")
    with pytest.raises(hc.UserError, match="species"):
        hc.evaluate(coarse, [question("species")])


def test_a_comparison_is_of_the_table(table):
    found = hc.compare(table, "species", "family")
    on_object, area = table.values["energy_on_object"], table.pictures["object_area"]
    sums = on_object[:, :2].sum(0) / area.sum()
    assert found.lift.value == pytest.approx(sums[0] - sums[1])
    assert found.lift.n == len(table) and found.lift.groups == 8
    assert np.isnan(found.lift.low) and 0 <= found.lift.p <= 1  # eight species
    assert set(found.lifts) == {"object", *(f"part_{rank}" for rank in RANKS)}
    pearson = table.pairs["species", "family"]["pearson"]
    # As text, because NaN, the interval of so few species, is not equal to itself.
    expected = resampling.mean(pearson, table.groups)
    assert repr(found.agreement["pearson"]) == repr(expected)
    gini = table.values["gini"]
    assert found.differences["gini"].value == pytest.approx(
        (gini[:, 0] - gini[:, 1]).mean()
    )
    assert "label" not in found.differences and "correct" in found.differences
    again = hc.compare(table, "family", "species")
    assert again.lift.value == pytest.approx(-found.lift.value)
    assert set(found.agreement) - set(again.agreement) == {"containment"}
    assert repr(found).startswith("<species against family\n  lift object: ")
    with pytest.raises(hc.UserError, match="no question 'genus'; it has 'species'"):
        hc.compare(table, "species", "genus")
    with pytest.raises(hc.UserError, match="both questions are 'family'"):
        hc.compare(table, "family", "family")


def test_faithfulness_of_a_result(run):
    images = run.images(run.records("test")[:3])
    explain = run.explainer()
    asked = [hc.targets.predicted("family"), hc.targets.predicted()]
    result = explain(images, asked)
    found = hc.faithfulness(explain, images, result)
    assert found.curves["deletion"].shape == (3, 2, len(found.shares))
    areas = np.trapezoid(found.curves["deletion"], found.shares, axis=-1)
    known = np.isfinite(found.numbers["deletion"])
    np.testing.assert_allclose(areas[known], found.numbers["deletion"][known])
    same = hc.faithfulness(run.model, images, result)
    for name, values in found.numbers.items():
        np.testing.assert_array_equal(values, same.numbers[name])
    assert repr(found).startswith(
        "<Faithfulness of 3 images, targets label-family, label-own, curves of 9 points"
    )
    with pytest.raises(hc.UserError, match="result is of 3 images of 48 x 48, found"):
        hc.faithfulness(explain, images[:2], result)


def test_a_trained_run_comes_back_open(config):
    run = hc.train(config, "family", overwrite=True)
    assert run.ranks == ("family",) and run.path.name == "seed0"
    images = run.images(run.records()[:2])
    expected = np.asarray(run.model(images))
    for fast_layers in ("none", "auto"):
        model = hc.load_model(run.path / "model.keras", fast_layers)
        np.testing.assert_allclose(model(images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(hc.UserError, match="finished run.*--resume"):
        hc.train(FrozenConfigDict(config), "family")


def test_an_imported_network_is_a_run_too(config, tmp_path, trained, image_folder, run):
    """Seven of the eight species, in another order: the last one is not known."""
    names = run.taxonomy.prefixes("species")[::-1][:7]
    rows = [",".join(RANKS), *(",".join(path[3:]) for path in names)]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    columns = np.arange(8)[::-1][:7]
    features = run.model.layers[-1].input
    head = keras.layers.Dense(7)
    model = keras.Model(run.model.input, head(features))
    kernel, bias = run.model.layers[-1].get_weights()
    head.set_weights([kernel[:, columns], bias[columns]])
    model.save(tmp_path / "mine.keras")
    tiny_birds.run(
        "import",
        config,
        model=str(tmp_path / "mine.keras"),
        labels=str(tmp_path / "labels.csv"),
        workdir=str(tmp_path / "mine"),
    )
    mine = hc.load_run(tmp_path / "mine", data_dir=str(image_folder))
    assert "imported, images of 48 px, heads for species (7 taxa)" in repr(mine)
    questions = [hc.Question("species"), hc.Question("species", target="true")]
    table = hc.evaluate(mine, questions)
    asked = table.of("true", "species") >= 0
    assert 0 < asked.sum() < len(table)  # all images are asked, and one is not known
    assert np.isfinite(table.of("gini", "species")).all()
    assert (np.isfinite(table.of("gini", "species=true")) == asked).all()
    for name in ("probability", "score"):
        assert (np.isfinite(table.of(name, "species=true")) == asked).all()
    assert (table.of("label", "species=true")[~asked] == -1).all()
    compared = hc.compare(table, "species", "species=true")
    for name in ("correct", "probability", "score"):
        assert compared.differences[name].n == asked.sum()
    assert {one.n for one in compared.agreement.values()} == {asked.sum()}
    images = run.images(run.records("test")[:2])
    species = [mine.taxonomy.names("species")[i] for i in range(7)]
    shared = [run.taxonomy.names("species").index(name) for name in species]
    own = run.explainer(layer="last_activation")(images).logits[:, shared]
    found = mine.explainer(layer="last_activation")(images).logits
    np.testing.assert_allclose(found, own, rtol=1e-4, atol=1e-4)
    with pytest.raises(hc.UserError, match="data_dir"):
        hc.load_run(tmp_path / "mine").records()
