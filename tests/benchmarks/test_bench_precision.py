"""Products that round their factors, emulated on the CPU."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from benchmarks import precision
from hiercam_keras.cam import Explainer


def factors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 32, 32)).astype(np.float32)


def test_parts_add_up_and_have_few_bits():
    one = jnp.float32(1 + 2**-6 + 2**-12 + 2**-20)
    assert [float(part) for part in precision.parts(one, 7, 3)] == [
        *(1 + 2**-6, 2**-12, 2**-20)
    ]
    (part,) = precision.parts(one, 10, 1)
    assert float(part) == 1 + 2**-6


# Relative to the sum of absolute products: a part has 8 or 11 bits, rounded to half.
@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("TPU default, 1 product", 2**-11, 2**-8),
        ("TPU high, 3 products", 2**-21, 2**-15),
        ("TPU highest, 6 products", 0, 2**-20),
        ("GPU default, TensorFloat-32", 2**-14, 2**-11),
        ("float32", 0, 2**-20),
    ],
)
def test_errors_are_those_of_the_bits(kind, least, most):
    left, right = factors()
    exact = left.astype(np.float64) @ right.astype(np.float64)
    found = precision.product_of(kind)(jnp.matmul, left, right)
    scale = np.abs(left).astype(np.float64) @ np.abs(right)
    assert least <= np.abs((found - exact) / scale).max() <= most


def test_products_inside_of_functions_are_computed_so():
    left, right = factors()

    def program(left, right):
        return jax.nn.relu(jax.jit(jnp.matmul)(left, right)) + 1

    traced = jax.make_jaxpr(program)(left, right)
    exact = precision.product_of("float32")
    (same,) = precision.evaluate(traced, [left, right], exact)
    np.testing.assert_allclose(same, program(left, right), rtol=1e-6)
    (doubled,) = precision.evaluate(traced, [left, right], lambda f, *x: 2 * f(*x))
    np.testing.assert_allclose(doubled, 2 * program(left, right) - 1, rtol=1e-5)


def test_a_table_of_a_network(monkeypatch):
    few = {name: precision.KINDS[name] for name in list(precision.KINDS)[:3]}
    monkeypatch.setattr(precision, "KINDS", few)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    explain = Explainer(keras.Model(image, keras.layers.Dense(3)(x)), "maps")
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    largest, found = precision.deviations(explain, images)
    assert largest > 0 and list(found) == [*few][1:]
    one, three = (
        found[f"TPU {name}"] for name in ("default, 1 product", "high, 3 products")
    )
    assert one[0] > 10 * three[0] > 0 and one[1] > three[1]
    assert len(precision.table(found).splitlines()) == 2 + 2
