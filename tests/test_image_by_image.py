"""The first layers one image at a time: the same results, and where it is done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras import image_by_image, processor

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1], np.int32)
_RANDOM = np.random.default_rng(1)
WIDE, NARROW = _RANDOM.normal(size=(3, 40)), _RANDOM.normal(size=(40, 5))
HEAD = _RANDOM.normal(size=(5, 3))
LATER = np.asarray(_RANDOM.normal(size=(5, 4000)), np.float32)
WEIGHTS = [np.asarray(one, np.float32) for one in (WIDE, NARROW, HEAD)]


@pytest.fixture(autouse=True)
def small_caches(monkeypatch):
    """Bounds for which the first product of these networks, and no other, is large."""
    monkeypatch.setattr(processor, "num_cores", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(image_by_image, "_LARGE", 6 * 6 * 39 * 4)
    monkeypatch.setattr(image_by_image, "_SMALL", 6 * 6 * 5 * 4)


def forward(weights, images, labels):
    """A large array, a small one, pooled; scores of the labels and all logits."""
    wide, narrow, head = weights
    small = jnp.tanh(images.astype("float32") / 255 @ wide) @ narrow
    logits = jnp.tanh(small).mean((1, 2)) @ head
    return {"logits": logits, "scores": jnp.take_along_axis(logits, labels[:, None], 1)}


def residual(weights, images, labels):
    """The small array is read twice later, in front of the next large one."""
    wide, narrow, head = weights
    small = jnp.tanh(images.astype("float32") @ wide) @ narrow
    small += jnp.tanh(small @ narrow.T) @ narrow
    return small.mean((1, 2)) @ head


def images_again(weights, images, labels):
    return forward(weights, images, labels), images.mean((1, 2))


def labels_in_between(weights, images, labels):
    """Equations that read both, in front of the last ones that read images alone."""
    wide, narrow, head = weights
    small = jnp.tanh(images.astype("float32") @ wide) @ narrow
    mixed = jnp.tanh(small) * labels[:, None, None, None]
    return (small * 2).mean((1, 2)) @ head, mixed.mean((1, 2))


def labels_first(weights, images, labels):
    return forward(weights, images + labels[:, None, None, None], labels)


def nothing_large(weights, images, labels):
    return images.astype("float32").mean((1, 2)) @ weights[0][:, :3]


def nothing_small(weights, images, labels):
    return (images.astype("float32") @ weights[0])[..., :9]


def both(function, images=IMAGES, labels=LABELS):
    """The number of images that loops go through, and the results compared."""
    changed = image_by_image.of(function, 1)
    jaxpr = jax.make_jaxpr(changed)(WEIGHTS, images, labels).jaxpr
    found = jax.jit(changed)(WEIGHTS, images, labels)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5),
        found,
        function(WEIGHTS, images, labels),
    )
    scans = [one for one in jaxpr.eqns if one.primitive.name == "scan"]
    return [one.params["length"] for one in scans], jaxpr


@pytest.mark.parametrize("function", [forward, residual, labels_in_between])
def test_the_first_layers_are_in_a_loop(function):
    lengths, jaxpr = both(function)
    assert lengths == [4]
    products = [one for one in jaxpr.eqns if one.primitive.name == "dot_general"]
    assert len(products) <= 1  # the head; the large array is made in the loop alone
    sizes = [made.aval.size for one in jaxpr.eqns for made in one.outvars]
    assert max(sizes) <= 4 * 6 * 6 * 5


def test_the_loop_ends_at_the_small_array():
    _, jaxpr = both(forward)
    (loop,) = (one for one in jaxpr.eqns if one.primitive.name == "scan")
    assert [made.aval.shape for made in loop.outvars] == [(4, 6, 6, 5)]


@pytest.mark.parametrize(
    "function", [images_again, labels_first, nothing_large, nothing_small]
)
def test_a_function_without_a_place_for_it_is_left_as_it_is(function):
    assert both(function)[0] == []


def test_few_images_are_left_as_they_are():
    assert both(forward, IMAGES[:3], LABELS[:3])[0] == []


def test_heavy_weights_are_not_read_for_each_image(monkeypatch):
    monkeypatch.setattr(image_by_image, "_MOST_WEIGHTS", 3 * 40 * 4)
    assert both(forward)[0] == []


def test_a_later_large_array_does_not_prevent_it(monkeypatch):
    """Where weights are heavy behind a small array, the loop ends there."""

    def deep(weights, images, labels):
        small = forward([weights[0], weights[1], jnp.eye(5)], images, labels)["logits"]
        return jnp.tanh(small @ LATER).sum(1)

    monkeypatch.setattr(image_by_image, "_MOST_WEIGHTS", 40 * 8 * 4 + 100)
    assert both(deep, labels=LABELS)[0] == [4]


@pytest.mark.parametrize("cores", [3, 64])
def test_more_cores_share_the_loops_of_a_batch(monkeypatch, cores):
    monkeypatch.setattr(processor, "num_cores", lambda: cores)
    assert both(forward)[0] == []


def test_programs_for_other_devices_are_left_as_they_are(monkeypatch):
    with image_by_image.disabled():
        assert both(forward)[0] == []
    assert both(forward)[0] == [4]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert both(forward)[0] == []


def test_a_function_that_differs_for_one_image_is_left_as_it_is():
    def special(weights, images, labels):
        found = forward(weights, images, labels)["logits"]
        return found if len(images) > 1 else found[::-1] * 1

    assert both(special)[0] == []


def test_messages_of_a_program_are_those_of_a_batch():
    def says(weights, images, labels):
        found = forward(weights, images, labels)["logits"]
        jax.debug.callback(lambda value: None, found)
        return found

    assert both(says)[0] == []


def statistics(weights, images, labels):
    """A batch normalization in training mode."""
    wide, narrow, head = weights
    large = images.astype("float32") @ wide
    large = jnp.tanh((large - large.mean((0, 1, 2))) / 99)
    return (large @ narrow).mean((1, 2)) @ head


def draws(weights, images, labels):
    """A dropout in training mode."""
    wide, narrow, head = weights
    large = jnp.tanh(images.astype("float32") / 255 @ wide)
    kept = jax.random.bernoulli(jax.random.key(0), 0.5, large.shape)
    return (jnp.where(kept, large, 0) @ narrow).mean((1, 2)) @ head


def channels_to_the_front(weights, images, labels):
    """The first small array has channels in front, as many as there are images."""
    wide, narrow, head = weights
    moved = jnp.moveaxis(jnp.tanh(images.astype("float32") @ wide), -1, 0)
    return moved.mean((2, 3)).T @ narrow @ head


@pytest.mark.parametrize("function", [statistics, draws])
def test_what_a_batch_does_together_is_not_done_one_by_one(function):
    assert both(function)[0] == []


def test_images_are_on_the_first_axis(monkeypatch):
    images, labels = np.tile(IMAGES, (10, 1, 1, 1)), np.tile(LABELS, 10)
    both(channels_to_the_front, images, labels)
    monkeypatch.setattr(image_by_image, "_row_by_row", lambda *_: True)
    with pytest.raises(AssertionError, match="mismatch"):  # a channel for an image
        both(channels_to_the_front, images, labels)


def test_constants_are_no_draws():
    def filled(weights, images, labels):
        images = jnp.where(images > 9, images, jnp.full(images.shape, 3, "uint8"))
        return forward(weights, images, labels)

    assert both(filled)[0] == [4]
