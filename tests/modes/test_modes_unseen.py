"""Images of taxa without a training image: counted, and said by the modes."""

import logging as std_logging

import numpy as np
import pytest
import tiny_birds

from hiercam_keras.data.records import Record
from hiercam_keras.modes import eval as eval_mode
from hiercam_keras.modes import unseen
from hiercam_keras.taxonomy.lineage import parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training.predict import Predictions

NISUS, GENTILIS, BUTEO, TYTO = (
    f"0000{i}_Animalia_Chordata_Aves_{name}"
    for i, name in enumerate(
        (
            "Accipitriformes_Accipitridae_Accipiter_nisus",
            "Accipitriformes_Accipitridae_Accipiter_gentilis",
            "Accipitriformes_Accipitridae_Buteo_buteo",
            "Strigiformes_Tytonidae_Tyto_alba",
        )
    )
)


def records(*names):
    return [
        Record(f"{name}/{i}.jpg", None, parse_class_name(name))
        for i, name in enumerate(names)
    ]


@pytest.fixture
def taxonomy():
    return Taxonomy(parse_class_name(one) for one in (NISUS, GENTILIS, BUTEO, TYTO))


def test_what_no_training_image_shows(taxonomy):
    train, asked = records(NISUS), records(NISUS, GENTILIS, BUTEO, TYTO, TYTO)
    found = {
        rank: unseen.count(train, asked, rank, taxonomy)
        for rank in ("class", "order", "genus", "species")
    }
    assert found == {"class": 0, "order": 2, "genus": 3, "species": 4}
    said = unseen.of_split(train, asked, ["species", "order"], taxonomy, "test image")
    assert said == (
        "Of 5 test images, 2 at order and 4 at species cannot be answered right: no "
        "training image is of their taxon."
    )


def test_ranks_are_listed():
    said = unseen.sentence({"order": 1, "family": 0, "genus": 2, "species": 3}, 4)
    assert "Of 4 pictures, 1 at order, 2 at genus and 3 at species cannot be" in said


def test_nothing_is_said_where_all_taxa_were_trained_on(taxonomy):
    train, asked = records(NISUS, TYTO), records(TYTO)
    assert unseen.of_split(train, asked, ["species"], taxonomy) == ""
    assert unseen.of_split(train, [], ["species"], taxonomy) == ""


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("keep", "1 at species cannot be answered right: no training image"),
        ("drop", "no training image shows the taxon of 1 at species ("),
    ],
)
def test_one_image_a_species(tmp_path, caplog, birds, trained, choice, words):
    """Train and eval say so: a species with one image is in one split alone."""
    config = tiny_birds.make_config(tmp_path, tmp_path / "few")
    config.data.synthetic.images_per_species = 1
    config.data.untrained_taxa = choice
    config.train.epochs = 1
    with caplog.at_level(std_logging.WARNING, "absl"):
        tiny_birds.run("train", config, rank=("species",))
    assert f"Of 1 test image, {words}" in caplog.text
    said = tiny_birds.run("eval", config, rank=("species",))
    assert words in said
    assert "cannot be answered" not in tiny_birds.run("eval", trained.config)


def test_a_model_that_answers_all_images_alike(taxonomy):
    """Maps of it hardly differ between images, so that eval says so."""
    logits = np.zeros((3, 4), np.float32)
    logits[:, taxonomy.find("Tyto alba")[1]] = (1, 2, 3)
    labels = {"species": np.arange(3)}

    def said(logits):
        found = Predictions(list("abc"[: len(logits)]), {"species": logits}, labels)
        return eval_mode.one_answer(found, taxonomy)

    assert said(logits).startswith("All images get one answer: Tyto alba (species).")
    assert said(logits[:1]) == ""  # of one image it is no news
    logits[0] = np.roll(logits[0], 1)
    assert said(logits) == ""
