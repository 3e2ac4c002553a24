"""A forward pass in two halves: the same rows, in two threads."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras import halves, malloc, processor

IMAGES = np.arange(8 * 3 * 3 * 2, dtype="uint8").reshape(8, 3, 3, 2)
WEIGHTS = [jnp.array([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]])]


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(processor, "num_cores", lambda: 2)
    monkeypatch.setattr(halves, "_LEAST_VALUES", IMAGES.size)
    monkeypatch.setattr(malloc, "_state", malloc._State())


@pytest.fixture
def forward():
    """A jitted pass, and the shapes that it was traced with."""
    shapes = []

    def outputs(trainable, state, images):
        shapes.append(images.shape)
        means = images.astype("float32").mean((1, 2))
        return {"species": means @ trainable[0], "family": means + state[0]}

    return jax.jit(outputs), shapes


def expected(images):
    means = images.astype("float64").mean((1, 2))
    return {"species": means @ np.asarray(WEIGHTS[0]), "family": means + 1}


def run(forward, images):
    return halves.run(forward, (WEIGHTS, [jnp.ones(2)]), (images,))


def test_rows_are_in_their_order_and_one_program_is_compiled(two_cores, forward):
    function, shapes = forward
    for images in (IMAGES, 255 - IMAGES):
        got = run(function, images)
        for rank, rows in expected(images).items():
            assert isinstance(got[rank], np.ndarray)
            np.testing.assert_allclose(got[rank], rows, rtol=1e-6)
    assert shapes == [(4, 3, 3, 2)]


def test_small_pictures_are_computed_as_they_are(two_cores, forward, monkeypatch):
    monkeypatch.setattr(halves, "_LEAST_VALUES", IMAGES.size + 1)
    function, shapes = forward
    run(function, IMAGES)
    assert shapes == [(8, 3, 3, 2)]


@pytest.mark.parametrize("count", [1, 6, 7, 9])
def test_few_and_odd_batches_are_computed_as_they_are(two_cores, forward, count):
    function, shapes = forward
    images = np.concatenate([IMAGES, IMAGES])[:count]
    got = run(function, images)
    np.testing.assert_allclose(got["species"], expected(images)["species"], rtol=1e-6)
    assert shapes == [(count, 3, 3, 2)]


def test_one_core_computes_the_batch_as_it_is(two_cores, forward, monkeypatch):
    monkeypatch.setattr(processor, "num_cores", lambda: 1)
    function, shapes = forward
    run(function, IMAGES)
    assert shapes == [(8, 3, 3, 2)]


def test_threads_without_the_fast_memory_are_not_used(two_cores, forward, monkeypatch):
    monkeypatch.setattr(malloc, "second_thread", lambda: None)
    function, shapes = forward
    run(function, IMAGES)
    assert shapes == [(8, 3, 3, 2)]


def test_the_halves_run_at_the_same_time(two_cores):
    # Each half waits for the other one; in turns they would wait forever.
    both = threading.Barrier(2, timeout=30)

    def outputs(trainable, state, images):
        wait = jax.pure_callback(meet, jax.ShapeDtypeStruct((), "float32"))
        return images.astype("float32").sum((1, 2, 3)) + wait

    def meet():
        both.wait()
        return np.float32(0)

    got = run(jax.jit(outputs), IMAGES)
    np.testing.assert_array_equal(got, IMAGES.astype("float32").sum((1, 2, 3)))


def test_settings_of_jax_are_those_of_the_calling_thread(two_cores):
    def outputs(trainable, state, images):
        return images.astype(float)[:, 0, 0]

    function = jax.jit(outputs)
    assert run(function, IMAGES).dtype == "float32"
    with jax.enable_x64(True):
        assert run(function, IMAGES).dtype == "float64"
