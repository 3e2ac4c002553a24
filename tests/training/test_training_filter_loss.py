"""The filter loss of interpretable CNNs, by hand on maps of one cell and of four."""

import logging
import re

import jax
import keras
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.training import filter_loss
from hiercam_keras.training.filter_loss import templates


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(maps):
    """-MI in float64 with loops over filters, templates and images."""
    batch, n, _, channels = maps.shape
    shapes = templates(n).astype(np.float64)
    prior = np.full(n * n + 1, 1 / (1 + n * n))  # alpha/n^2 = 1 - alpha
    total = 0.0
    for c in range(channels):
        x = np.maximum(maps[..., c], 0).reshape(batch, -1)
        given = np.array([np.exp(x @ t) / np.exp(x @ t).sum() for t in shapes])
        marginal = prior @ given
        total += np.sum(prior[:, None] * given * np.log(given / marginal))
    return -total


def test_templates_by_hand():
    """n = 2: tau = 1/8, and one step from the peak is 1 - 4/2 = -1 already."""
    expected = np.full((5, 4), -1 / 8)
    expected[range(4), range(4)] = 1 / 8
    np.testing.assert_allclose(templates(2), expected)
    # n = 8: peak, one and two steps away, and no less than -1: 1, 1/2, 0, -1.
    corner = templates(8)[0].reshape(8, 8) * 2 * 64
    np.testing.assert_allclose(corner[0, :6], [1, 0.5, 0, -0.5, -1, -1])
    assert corner[1, 1] == 0 and templates(8).shape == (65, 64)


def test_one_cell_by_hand():
    """Maps 2 and 0: p(x|T) is sigmoid(1) or 1 - that, so MI = ln 2 - H(sigmoid(1))."""
    maps = np.array([2.0, 0.0], np.float32).reshape(2, 1, 1, 1)
    p = sigmoid(1.0)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    expected = -(np.log(2) - entropy)
    assert float(filter_loss.filter_loss(maps)) == pytest.approx(expected, rel=1e-5)
    maps[1] = -7.0  # what ReLU takes away does not count
    assert float(filter_loss.filter_loss(maps)) == pytest.approx(expected, rel=1e-5)


def test_against_loops_in_float64():
    maps = np.random.default_rng(0).normal(20, 40, (6, 3, 3, 4))
    found = jax.jit(filter_loss.filter_loss)(maps.astype("float32"))
    assert float(found) == pytest.approx(reference(maps), rel=1e-4)


def test_gradient_is_that_of_finite_differences():
    maps = np.random.default_rng(1).uniform(5, 40, (4, 2, 2, 2))
    grad = jax.jit(jax.grad(filter_loss.filter_loss))(maps.astype("float32"))
    for index in np.ndindex(maps.shape):
        step = np.zeros_like(maps)
        step[index] = 1e-4
        slope = (reference(maps + step) - reference(maps - step)) / 2e-4
        assert grad[index] == pytest.approx(slope, abs=2e-6)


def test_each_filter_has_its_loss_for_itself():
    """A filter among eight has the same loss and gradient as alone."""
    maps = np.random.default_rng(2).uniform(5, 40, (4, 2, 2, 8)).astype("float32")
    loss = jax.value_and_grad(filter_loss.filter_loss)
    total, together = loss(maps)
    alone, own = zip(*(loss(maps[..., [c]]) for c in range(8)), strict=True)
    assert float(total) == pytest.approx(float(sum(alone)), rel=1e-5)
    np.testing.assert_allclose(together, np.concatenate(own, -1), rtol=1e-4, atol=1e-8)
    labels = np.array([0, 1, 0, 1])
    by_label = jax.grad(lambda m: filter_loss.filter_loss(m, labels, 2))
    np.testing.assert_allclose(
        by_label(maps)[..., [3]], by_label(maps[..., [3]]), rtol=1e-4, atol=1e-8
    )


def test_maps_that_tell_their_place_are_rewarded():
    """A peak somewhere in half of the images, nothing in the others: 0 is the worst."""
    peaked = np.zeros((8, 4, 4, 1), np.float32)
    for image in range(4):
        peaked[image, image, image] = 200.0
    flat = np.full_like(peaked, 30.0)
    assert float(filter_loss.filter_loss(flat)) == pytest.approx(0.0, abs=1e-6)
    assert float(filter_loss.filter_loss(peaked)) < -0.05


def test_the_papers_gradient_by_hand():
    """Maps 2 and 1 of categories 0 and 1: the filter is category 0's.

    So image 0 should fit the positive template (t = 1/2), image 1 the negative one (t =
    -1/2); each gradient is -p(T) p(x|T) log(p(x|T)/p(x)) t.
    """
    maps = np.array([2.0, 1.0], np.float32).reshape(2, 1, 1, 1)
    labels = np.array([0, 1])
    loss = jax.jit(lambda m: filter_loss.filter_loss(m, labels, 2))
    p = sigmoid(0.5)  # of image 0 given the positive, of image 1 given the negative
    expected = [-0.5 * p * np.log(p / 0.5) * t for t in (0.5, -0.5)]
    grad = jax.grad(loss)(maps)
    np.testing.assert_allclose(np.ravel(grad), expected, rtol=1e-5)
    assert float(loss(maps)) == pytest.approx(reference(maps), rel=1e-5)
    mixed = np.array([[0.8, 0.2], [0.1, 0.9]], np.float32)
    again = jax.grad(lambda m: filter_loss.filter_loss(m, mixed, 2))(maps)
    np.testing.assert_allclose(again, grad)


def test_a_training_tells_the_information_before_and_after(train, caplog):
    """In nats a filter, of the same images; the log has it after each epoch."""
    with caplog.at_level(logging.INFO, "absl"):
        done = train(filter_loss=200.0, epochs=2, keep_best=False)
    before = float(re.search(r"before the training: (\S+) nats", caplog.text)[1])
    after = [row["filter_information"] for row in done.rows]
    assert len(after) == 2 and 0 < before < after[0] < after[1]
    batch = next(done.training.epoch(0))
    maps = keras.Model(done.model.input, done.model.get_layer("top").output)
    found = reference(maps.predict_on_batch(batch.images).astype(float)) / -6
    assert after[1] == pytest.approx(found, rel=1e-3)
    assert "filter_information" not in train(epochs=1).rows[0]


def test_maps_must_be_square():
    with pytest.raises(UserError, match="square maps, found 2 x 3"):
        filter_loss.filter_loss(np.zeros((1, 2, 3, 1), np.float32))
