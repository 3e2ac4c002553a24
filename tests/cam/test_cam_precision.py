"""Maps and answers ask for the precision of float32 products that is configured."""

import re

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hiercam_keras import precision
from hiercam_keras.cam import Explainer, FunctionExplainer, targets
from hiercam_keras.errors import UserError
from hiercam_keras.models.layers import is_mixed
from hiercam_keras.training import forward

IMAGES = np.zeros((2, 8, 8, 3), np.float32)


def model():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3)(x))


def precisions(lowered):
    """Of all products of a lowered program."""
    lines = lowered.as_text().splitlines()
    products = [
        line for line in lines if "convolution" in line or "dot_general" in line
    ]
    named = [
        re.search(r"precision (\w+)>|precision = \[(\w+)", one) for one in products
    ]
    return ["" if one is None else one.group(1) or one.group(2) for one in named]


def of_maps(name):
    explain = Explainer(model(), "maps", precision=name)
    function, arguments = explain.compiled_call(IMAGES, targets.label(1))
    return precisions(function.lower(*arguments))


def of_answers(name):
    network = model()
    function = forward.forward_function(network, name)
    values = [[v.value for v in network.trainable_variables], []]
    return precisions(function.lower(*values, IMAGES))


@pytest.mark.parametrize("program", [of_maps, of_answers])
def test_products_have_the_precision_that_is_asked_for(program):
    """Those of the gradient, too: it has further products."""
    for name in ("high", "highest"):
        found = program(name)
        assert len(found) >= 2 and set(found) == {name.upper()}
    # On a CPU, where products are exact, nothing is asked for.
    assert {"HIGH", "HIGHEST"}.isdisjoint(program("auto"))


def test_functions_of_arrays_have_it_too():
    kernel = jnp.ones((3, 3, 3, 4))

    def f(images):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    explain = FunctionExplainer(f, lambda maps: maps.mean((1, 2)), precision="highest")
    function, arguments = explain.compiled_call(IMAGES, targets.label(1))
    assert set(precisions(function.lower(*arguments))) == {"HIGHEST"}


def test_auto_is_high_on_tpus_and_the_users_own_setting_elsewhere():
    assert precision.resolved("auto", "tpu") == "high"
    assert precision.resolved("auto", "gpu") == precision.resolved("auto", "cpu") == ""
    assert precision.resolved("default", "tpu") == "default"
    with jax.default_matmul_precision("highest"):
        assert precision.resolved("auto", "tpu") == ""
        assert set(of_maps("auto")) == {"HIGHEST"}


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="'exact', expected one of auto, default"):
        Explainer(model(), "maps", precision="exact")


def test_auto_leaves_mixed_precision_alone(monkeypatch):
    """Its factors are bfloat16 already, and a TPU might multiply them three times."""
    monkeypatch.setattr(precision, "AUTO", {"cpu": "high"})
    assert set(of_maps("auto")) == set(of_answers("auto")) == {"HIGH"}
    half = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    assert not is_mixed(half)
    half.add(keras.layers.Dense(3, dtype="mixed_bfloat16"))
    assert is_mixed(half)
    assert precision.of_network("auto", True) == precision.AS_IT_IS
    assert precision.of_network("high", True) == "high"
    assert precision.of_network("auto", False) == "auto"
