"""Skewed classes: how often they are drawn, and what their losses weigh."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.data import loader, sampling, sources
from hiercam_keras.errors import UserError

# As skewed as orders of birds: 678 of 1,486 are one of them.
SKEWED = np.repeat(np.arange(5), [678, 400, 300, 100, 8])


def weights(labels, kind):
    return sampling.example_weights(labels, kind, "field")


def test_weights_by_hand():
    labels = np.array([0] * 6 + [1] * 2)
    np.testing.assert_array_equal(weights(labels, "none"), np.ones(8))
    # 8 / (2 * 6) and 8 / (2 * 2).
    np.testing.assert_allclose(weights(labels, "balanced"), [2 / 3] * 6 + [2] * 2)
    # c / sqrt(6) and c / sqrt(2), where c (sqrt(6) + sqrt(2)) = 8.
    c = 8 / (6**0.5 + 2**0.5)
    expected = [c / 6**0.5] * 6 + [c / 2**0.5] * 2
    np.testing.assert_allclose(weights(labels, "sqrt"), expected)
    with pytest.raises(UserError, match="field is 'even': use one of none, balanced"):
        weights(labels, "even")


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("balanced", np.full(5, 1 / 5)),
        ("sqrt", np.sqrt([678, 400, 300, 100, 8]) / 76.187),
    ],
)
def test_classes_come_as_often_as_they_should(kind, share):
    drawn, _ = sampling.order(0, 0, SKEWED, weights(SKEWED, kind))
    found = np.bincount(SKEWED[drawn])
    assert len(drawn) == 1486 and np.abs(found - share * 1486).max() < 1.2
    # Within a class nobody comes twice as long as somebody has not come once.
    times = np.bincount(drawn, minlength=1486)
    for label in range(5):
        assert np.ptp(times[SKEWED == label]) <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.sampled_from(sampling.KINDS),
    st.integers(0, 5),
)
def test_any_labels(labels, kind, epoch):
    labels = np.array(labels)
    drawn, keys = sampling.order(7, epoch, labels, weights(labels, kind))
    assert len(drawn) == len(labels)
    assert len(set(keys.tolist())) == len(keys)
    np.testing.assert_array_equal(keys % len(labels), drawn)
    again, _ = sampling.order(7, epoch, labels, weights(labels, kind))
    np.testing.assert_array_equal(drawn, again)
    if kind == "none":
        assert sorted(drawn.tolist()) == list(range(len(labels)))


def test_every_example_comes_over_the_epochs():
    seen = [
        sampling.order(1, k, SKEWED, weights(SKEWED, "balanced"))[0] for k in (0, 1)
    ]
    assert not np.array_equal(*seen)
    many = [
        sampling.order(1, k, SKEWED, weights(SKEWED, "balanced"))[0] for k in range(60)
    ]
    times = np.bincount(np.concatenate(many), minlength=1486) / 60
    np.testing.assert_allclose(times, weights(SKEWED, "balanced"), atol=0.35)


def test_through_the_loader(data_config, bird_folder):
    data_config.sampling, data_config.batch_size = "balanced", 12
    records = sources.load(data_config, str(bird_folder)).records
    labels = {"order": np.array([0] * 11 + [1]), "species": np.arange(12) // 4}

    def batch(**options):
        with loader.make_loader(records, labels, data_config, **options) as found:
            return next(found.epoch(0))

    augment = {"horizontal_flip": True, "brightness": 0.5}
    # The finest rank is balanced already: nothing comes twice.
    assert len(set(batch(training=True).example_ids)) == 12
    data_config.sampling_rank = "order"
    found = batch(training=True, augment_config=augment)
    assert found.labels["order"].sum() == 6
    # The one example of its class comes six times, each time another picture.
    pictures = found.images[found.labels["order"] == 1].reshape(6, -1)
    assert len(np.unique(pictures, axis=0)) == 6
    # Who is asked about is never drawn.
    assert len(set(batch().example_ids)) == 12
    data_config.sampling_rank = "genus"
    with pytest.raises(UserError, match="sampling_rank is 'genus'.*order, species"):
        batch(training=True)


def test_weights_travel_with_the_batch(data_config, bird_folder):
    records = sources.load(data_config, str(bird_folder)).records
    labels = {"order": np.array([0] * 9 + [1] * 3), "species": np.arange(12) // 4}
    with loader.make_loader(
        records, labels, data_config, training=True, class_weights="balanced"
    ) as found:
        for batch in found.epoch(0):
            expected = np.where(batch.labels["order"] == 0, 12 / 18, 12 / 6)
            np.testing.assert_allclose(batch.weights["order"], expected)
            np.testing.assert_array_equal(batch.weights["species"], np.ones(5))
    with loader.make_loader(records, labels, data_config) as found:
        assert next(found.epoch(0)).weights is None
    with pytest.raises(UserError, match="train.class_weights is 'x'"):
        loader.make_loader(records, labels, data_config, class_weights="x")


def test_the_finest_rank_is_the_last_of_the_labels():
    labels = {"family": np.zeros(3), "species": np.arange(3)}
    assert sampling.rank_of(labels, "") == "species"
    assert sampling.rank_of(labels, "family") == "family"
