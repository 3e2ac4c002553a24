"""Networks of Flax NNX and Equinox, with dropout and batch normalization in evaluation
mode, against the Keras model of the same weights and plain jax.grad in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx

from hiercam_keras import cam
from hiercam_keras.cam import targets
from hiercam_keras.errors import UserError

METHODS = ["gradcam", "layercam", "scorecam", "integrated_gradients"]
OPTIONS = cam.Options(scorecam_channels=3, ig_steps=2)
ASKED = [targets.predicted(), targets.step("species"), targets.marginal("order", "A")]
EPSILON = 1e-3  # Keras' default; those of the others differ


@pytest.fixture(scope="module")
def model():
    """Convolution, batch normalization, ReLU, convolution, dropout, linear head."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(epsilon=EPSILON, name="norm"),
            layers.Activation("relu", name="explained"),
            layers.Conv2D(5, 2, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(7, name="logits"),
        ]
    )
    rng = np.random.default_rng(11)
    for weight in model.weights:
        values = rng.normal(0, 0.6, weight.shape)
        weight.assign(np.abs(values) + 0.1 if "variance" in weight.path else values)
    return model


def weights_of(model, name):
    return [np.asarray(weight) for weight in model.get_layer(name).get_weights()]


class Flax(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(4, epsilon=EPSILON, rngs=rngs)
        self.second = nnx.Conv(4, 5, (2, 2), padding="VALID", rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.logits = nnx.Linear(5, 7, rngs=rngs)

    def features(self, images):
        return nnx.relu(self.norm(self.first(images / 255)))

    def classify(self, activations):
        x = nnx.relu(self.second(activations)).mean((1, 2))
        return self.logits(self.dropout(x))


def flax_network(model):
    """f, g and the weights of a Flax network in evaluation mode."""
    network = Flax(nnx.Rngs(0))
    for name in ("first", "second", "logits"):
        layer = getattr(network, name)
        kernel, bias = map(jnp.asarray, weights_of(model, name))
        layer.kernel, layer.bias = nnx.Param(kernel), nnx.Param(bias)
    scale, bias, mean, variance = map(jnp.asarray, weights_of(model, "norm"))
    norm = network.norm
    norm.scale, norm.bias = nnx.Param(scale), nnx.Param(bias)
    norm.mean, norm.var = nnx.BatchStat(mean), nnx.BatchStat(variance)
    network.eval()
    graph, state = nnx.split(network)
    return (
        lambda state, images: nnx.merge(graph, state).features(images),
        lambda state, activations: nnx.merge(graph, state).classify(activations),
        state,
    )


class Equinox(eqx.Module):
    """One image at a time, channels first, as Equinox's layers work."""

    first: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    second: eqx.nn.Conv2d
    dropout: eqx.nn.Dropout
    logits: eqx.nn.Linear

    def __init__(self, key):
        first, second, logits = jax.random.split(key, 3)
        self.first = eqx.nn.Conv2d(3, 4, 3, key=first)
        self.norm = eqx.nn.BatchNorm(4, "batch", eps=EPSILON, mode="ema")
        self.second = eqx.nn.Conv2d(4, 5, 2, key=second)
        self.dropout = eqx.nn.Dropout(0.5)
        self.logits = eqx.nn.Linear(5, 7, key=logits)

    def features(self, image, state):
        x = jnp.moveaxis(image, -1, 0).astype(self.first.weight.dtype) / 255
        x, _ = self.norm(self.first(x), state)
        return jnp.moveaxis(jax.nn.relu(x), 0, -1)

    def classify(self, activations):
        x = jax.nn.relu(self.second(jnp.moveaxis(activations, -1, 0)))
        return self.logits(self.dropout(x.mean((1, 2))))


def equinox_network(model):
    """f, g and the weights of an Equinox network in evaluation mode."""
    network, state = eqx.nn.make_with_state(Equinox)(jax.random.key(0))
    for name in ("first", "second", "logits"):
        kernel, bias = weights_of(model, name)
        kernel = kernel.T if name == "logits" else kernel.transpose(3, 2, 0, 1)
        layer = getattr(network, name)
        network = eqx.tree_at(
            lambda tree, name=name: (
                getattr(tree, name).weight,
                getattr(tree, name).bias,
            ),
            network,
            (jnp.asarray(kernel), jnp.asarray(bias).reshape(layer.bias.shape)),
        )
    scale, bias, mean, variance = map(jnp.asarray, weights_of(model, "norm"))
    network = eqx.tree_at(
        lambda tree: (tree.norm.weight, tree.norm.bias), network, (scale, bias)
    )
    state = state.set(network.norm.ema_state_index, (mean, variance))
    arrays, rest = eqx.partition(eqx.nn.inference_mode(network), eqx.is_array)

    def f(variables, images):
        arrays, state = variables
        features = eqx.combine(arrays, rest).features
        return jax.vmap(features, (0, None), axis_name="batch")(images, state)

    def g(variables, activations):
        return jax.vmap(eqx.combine(variables[0], rest).classify)(activations)

    return f, g, (arrays, state)


NETWORKS = pytest.mark.parametrize("network", [flax_network, equinox_network])


@NETWORKS
def test_maps_are_those_of_the_keras_model(network, model, tree, images):
    settings = {"taxonomy": tree, "options": OPTIONS, "layer": "explained"}
    f, g, variables = network(model)
    explain = cam.FunctionExplainer(f, g, variables=variables, **settings)
    found = explain.explain_many(images, ASKED, METHODS)
    expected = cam.Explainer(model, **settings).explain_many(images, ASKED, METHODS)
    for key, one in expected.items():
        scale = np.abs(one.cams).max()
        np.testing.assert_allclose(found[key].cams, one.cams, atol=1e-4 * scale)
        np.testing.assert_allclose(found[key].logits, one.logits, rtol=1e-4, atol=1e-5)
        assert found[key].names == one.names


@NETWORKS
def test_gradients_are_those_of_jax_grad_in_float64(network, model, images):
    f, g, variables = network(model)
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, variables
        )
        explain = cam.FunctionExplainer(f, g, variables=wide)
        found = explain(images.astype(np.float64), [3, 1, 4, 1, 5], "hirescam")
        a = f(wide, images.astype(np.float64))
        labels = np.array([3, 1, 4, 1, 5])
        slope = jax.grad(lambda a: g(wide, a)[np.arange(5), labels].sum())(a)
        expected = np.asarray((a * slope).sum(-1))
    assert found.cams.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(
        found.cams[:, 0], expected, atol=1e-12 * np.abs(expected).max()
    )


@NETWORKS
def test_an_image_has_the_map_that_it_has_alone(network, model, images):
    """Results do not depend on dropout or on batch statistics."""
    f, g, variables = network(model)
    explain = cam.FunctionExplainer(f, g, variables=variables)
    together = explain(images, [2] * 5)
    alone = explain(images[3:4], [2])
    np.testing.assert_allclose(together.cams[3], alone.cams[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(explain(images, [2] * 5).cams, together.cams)


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_a_flax_network_in_training_mode_is_refused(images, method):
    """As an argument, or closed over; by a method that takes no gradient, too."""
    network = Flax(nnx.Rngs(0))
    graph, state = nnx.split(network)
    with pytest.raises(UserError, match="batch normalization in evaluation mode"):
        cam.explain_function(network.features, network.classify, images, None, method)
    with pytest.raises(UserError, match="batch normalization in evaluation mode"):
        cam.explain_function(
            lambda state, images: nnx.merge(graph, state).features(images),
            lambda state, found: nnx.merge(graph, state).classify(found),
            images,
            None,
            method,
            variables=state,
        )


def test_an_equinox_network_as_weights_is_refused():
    """Its leaves are arrays and functions."""
    network = eqx.nn.Sequential(
        [eqx.nn.Conv2d(3, 4, 3, key=jax.random.key(0)), eqx.nn.Lambda(jax.nn.relu)]
    )
    with pytest.raises(UserError, match="no array.*equinox.partition"):
        cam.FunctionExplainer(lambda w, x: x, lambda w, a: a, variables=network)
