"""Log-odds of taxa at any rank, compared with sums of probabilities in NumPy."""

import keras
import numpy as np
import pytest
import scipy.special

from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError


@pytest.fixture(scope="module")
def scorer(small_model, tree):
    return Scorer(small_model, taxonomy=tree)


@pytest.mark.parametrize("rank", ["species", "genus", "family", "order"])
def test_log_odds_are_those_of_summed_probabilities(
    scorer, small_model, tree, images, rank
):
    logits = np.asarray(small_model(images.astype(np.float32)), np.float64)
    probability = scipy.special.softmax(logits, axis=1)
    parents = np.asarray(tree.parents("species", rank))
    labels = np.arange(len(images)) % tree.num_labels(rank)
    inside = parents == labels[:, None]
    expected = (probability * inside).sum(1)
    found = np.asarray(scorer(images, scorer.rows(labels, rank)))
    assert scipy.special.expit(found) == pytest.approx(expected, abs=1e-5)
    assert found.dtype == np.float32 and found.shape == (len(images),)


def test_floats_and_bytes_are_the_same_picture(scorer, images):
    rows = scorer.rows([0, 1, 2, 3, 4])
    floats = np.asarray(scorer(images.astype(np.float32), rows))
    assert np.asarray(scorer(images, rows)) == pytest.approx(floats, abs=1e-5)


def test_a_rank_of_one_taxon_has_no_odds(tree):
    """The log-odds of the root are infinite, as there is no other taxon."""
    image = keras.Input((4, 4, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(7)(x))
    scorer = Scorer(model, taxonomy=tree)
    found = scorer(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1, np.int32))
    assert np.isposinf(np.asarray(found)).all()


def test_heads_answer_for_themselves_or_by_marginals(tree):
    image = keras.Input((4, 4, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    heads = {
        "order": keras.layers.Dense(2, name="order")(x),
        "species": keras.layers.Dense(7, name="species")(x),
    }
    model = keras.Model(image, heads)
    scorer = Scorer(model, taxonomy=tree)
    picture = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    logits = {k: np.asarray(v) for k, v in model(picture.astype("float32")).items()}
    own = np.asarray(scorer(picture, scorer.rows([1], "order")))
    assert own == pytest.approx(logits["order"][:, 1] - logits["order"][:, 0], abs=1e-2)
    rows = scorer.rows([1], "order", score="marginal")
    z = logits["species"][0].astype(np.float64)
    mine = np.asarray(tree.parents("species", "order")) == 1
    lse = scipy.special.logsumexp
    expected = lse(z[mine]) - lse(z[~mine])
    assert np.asarray(scorer(picture, rows)) == pytest.approx([expected], abs=1e-2)


def test_what_it_cannot_answer(scorer):
    with pytest.raises(UserError, match="cannot answer for the rank 'tribe'"):
        scorer.rows([0], "tribe")
    with pytest.raises(UserError, match="label 7 is out of range"):
        scorer.rows([7], "species")
