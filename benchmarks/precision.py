"""Benchmarks: how far answers and maps of a run move when products round their factors.

    python -m benchmarks.precision runs/synthetic_birds/species/seed0
    python -m benchmarks.precision RUN --images=FOLDER --num=8

A TPU multiplies bfloat16: it rounds float32 factors to 8 bits once (JAX's precision
"default"), or splits them into two or three such parts, for three ("high") or six
("highest") products. An NVIDIA GPU rounds to the 11 bits of TensorFloat-32 by default.
Here each convolution and matrix product of a run's own program of maps, forward and
gradient, is computed so on the CPU, with float32 sums, and compared with float32
factors. Layers are those of Keras.

Prints a table of the largest deviation over all images: of the logits, in their own
unit, and of the maps, as a share of the largest absolute value of the map.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from jax.extend import core  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from hiercam_keras import api  # noqa: E402
from hiercam_keras.cam import Explainer, targets  # noqa: E402
from hiercam_keras.runs import network, run_folder  # noqa: E402

_EXPONENT = 8  # bits of the exponent of float32, bfloat16 and TensorFloat-32
# Bits of the stored mantissa of a part, and which parts of two factors are multiplied.
KINDS = {
    "float32": (23, [(0, 0)]),
    "TPU default, 1 product": (7, [(0, 0)]),
    "TPU high, 3 products": (7, [(0, 0), (0, 1), (1, 0)]),
    "TPU highest, 6 products": (7, [(i, j) for i in range(3) for j in range(3 - i)]),
    "GPU default, TensorFloat-32": (10, [(0, 0)]),
}
_CALLS = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "closed_call")
_PRODUCTS = ("dot_general", "conv_general_dilated")


def parts(array: jax.Array, bits: int, count: int) -> list[jax.Array]:
    """Splits float32 into parts of few bits, the largest first; they sum to it."""
    found = []
    for _ in range(count):
        # A conversion there and back would be removed by XLA.
        part = jax.lax.reduce_precision(array, _EXPONENT, bits)
        found.append(part)
        array = array - part
    return found


def product_of(kind: str) -> Callable[[Callable, jax.Array, jax.Array], jax.Array]:
    """How a device multiplies: a function of a product and its two factors."""
    bits, pairs = KINDS[kind]
    count = 1 + max(max(pair) for pair in pairs)

    def computed(product, left, right):
        if kind == "float32":
            return product(left, right)
        left, right = parts(left, bits, count), parts(right, bits, count)
        # The smallest first.
        return sum(product(left[i], right[j]) for i, j in reversed(pairs))

    return computed


def evaluate(traced: Any, arguments: list, computed: Callable) -> list[jax.Array]:
    """Evaluates a traced program with another way to multiply.

    Args:
      traced: of `jax.make_jaxpr`.
      arguments: its arguments, flat.
      computed: of `product_of`.
    """
    known = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    known |= zip(traced.jaxpr.invars, arguments, strict=True)

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for one in traced.jaxpr.eqns:
        values = [read(atom) for atom in one.invars]
        name = one.primitive.name
        if name in _CALLS:
            called = one.params.get("jaxpr") or one.params["call_jaxpr"]
            found = evaluate(called, values, computed)
        elif name in _PRODUCTS:
            found = computed(
                lambda *f, one=one: one.primitive.bind(*f, **one.params), *values
            )
        else:
            found = one.primitive.bind(*values, **one.params)
        several = name in _CALLS or one.primitive.multiple_results
        known |= zip(one.outvars, found if several else [found], strict=True)
    return [read(atom) for atom in traced.jaxpr.outvars]


def deviations(
    explain: Explainer, images: np.ndarray
) -> tuple[float, dict[str, tuple[float, ...]]]:
    """The largest logit, and the largest deviations by kind.

    These are of logits, of maps of the predicted class, of maps of the steps to it, and
    the share of images with a map that moves by more than 0.001.

    Args:
      explain: of a network with layers of Keras.
      images: uint8 (B, S, S, 3).
    """
    function, arguments = explain.compiled_call(images, targets.predicted())
    logits = np.asarray(function(*arguments)[2]["logits"])
    labels = logits.argmax(1)  # those of float32, for every kind
    asked = [targets.label(labels), targets.path(labels)]
    function, arguments = explain.compiled_call(images, asked)
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    flat, structure = jax.tree.leaves(arguments), jax.tree.structure(shapes)
    found = {}
    for kind in KINDS:
        computed = product_of(kind)
        outcome = jax.jit(lambda *given, c=computed: evaluate(traced, given, c))(*flat)
        maps, _, shared, _ = jax.tree.unflatten(structure, outcome)
        (maps,) = maps.values()
        found[kind] = np.asarray(shared["logits"]), np.asarray(maps)
        logging.info("%s is computed", kind)
    exact = found.pop("float32")
    compared = {kind: _compared(exact, other) for kind, other in found.items()}
    return float(np.abs(logits).max()), compared


def _compared(exact: tuple, other: tuple) -> tuple[float, ...]:
    """Deviations of (logits, maps) from exact ones."""
    scale = np.abs(exact[1]).max((2, 3))  # (B, K)
    off = np.abs(other[1] - exact[1]).max((2, 3)) / np.where(scale, scale, 1)
    logits = np.abs(other[0] - exact[0]).max()
    return (
        logits,
        off[:, 0].max(),
        off[:, 1:].max(initial=0),
        (off > 1e-3).any(1).mean(),
    )


def table(found: dict[str, tuple[float, ...]]) -> str:
    """Markdown: a row for each kind."""
    lines = [
        "| factors | logits | maps of classes | maps of steps | images over 0.001 |",
        "|---|---|---|---|---|",
    ]
    for kind, (*numbers, share) in found.items():
        cells = " | ".join(f"{number:.2g}" for number in numbers)
        lines.append(f"| {kind} | {cells} | {100 * share:.0f} % |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision")
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument(
        "--images", help="file, folder or glob; default: the test split"
    )
    parser.add_argument("--num", type=int, default=8, help="images, the first ones")
    flags = parser.parse_args(arguments)
    run = api.load_run(flags.run)
    paths = flags.images or run.records("test")[: flags.num]
    images = run.images(paths)[: flags.num]
    config = ConfigDict(run.config)
    config.model.fast_layers = "none"
    asked = network.load(run_folder.read_finished(run.path), config)
    largest, found = deviations(asked.explainer(config.cam.layer), images)
    sys.stdout.write(
        f"{len(images)} images of {run.image_size} px, logits up to {largest:.3g}; "
        f"keras {keras.__version__}, jax {jax.__version__}\n\n{table(found)}\n"
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
