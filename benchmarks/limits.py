"""Benchmarks: what EfficientNetB0 needs, and what this machine can give.

    python -m benchmarks.limits --size=224 --batch=16

FLOPs and bytes are counted layer by layer from the stock Keras model; the machine's
rates of matrix products and of copies are measured with JAX. The forward pass cannot be
faster than its FLOPs at the measured matrix rate. The bytes are those of a model in
which every layer reads its input from memory and writes its output there: fusion and
caches save many of them, so their rate is a yardstick and no limit.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.case import Case, launch  # noqa: E402
from benchmarks.peers.keras_common import stock_model  # noqa: E402

_BYTES = 4
# (pixels, in, out) of B0's matrix products at 224 px, batch 16, from early to late.
PRODUCTS = (
    (16 * 112 * 112, 32, 16),
    (16 * 56 * 56, 24, 144),
    (16 * 14 * 14, 480, 80),
    (16 * 7 * 7, 1152, 192),
    (16 * 7 * 7, 320, 1280),
    (2048, 2048, 2048),
)


def _size(shape: tuple) -> int:
    return int(np.prod([n for n in shape if n is not None]))


def _kind(layer: keras.layers.Layer) -> str:
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return "depthwise"
    if isinstance(layer, keras.layers.Conv2D):
        return "1x1" if set(layer.kernel_size) == {1} else "stem"
    names = {"BatchNormalization": "batch norm", "Activation": "activation"}
    return names.get(type(layer).__name__, "other")


def _flops(layer: keras.layers.Layer, inputs: tuple, outputs: tuple) -> int:
    """Of one image; a multiply-add is two."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return 2 * _size(outputs) * int(np.prod(layer.kernel_size))
    if isinstance(layer, keras.layers.Conv2D):
        return 2 * _size(outputs) * int(np.prod(layer.kernel_size)) * inputs[-1]
    if isinstance(layer, keras.layers.Dense):
        return 2 * inputs[-1] * layer.units
    return 2 * _size(outputs)


def needs(model: keras.Model) -> dict[str, dict[str, float]]:
    """GFLOP and GB of one image's forward pass by kind of layer."""
    found: dict = defaultdict(lambda: {"gflop": 0.0, "gb": 0.0})
    for layer in model.layers:
        if not layer._inbound_nodes or isinstance(layer, keras.layers.InputLayer):
            continue
        inputs, outputs = layer.input, layer.output
        several = inputs if isinstance(inputs, list) else [inputs]
        row = found[_kind(layer)]
        row["gflop"] += _flops(layer, several[0].shape, outputs.shape) / 1e9
        moved = sum(_size(one.shape) for one in several) + _size(outputs.shape)
        row["gb"] += _BYTES * moved / 1e9
    return dict(found)


def best(run: Callable[[], object], seconds: float = 1.0) -> float:
    """The shortest of the calls that fit into some seconds."""
    jax.block_until_ready(run())
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        started = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - started)
    return min(times)


def product_rates() -> dict[str, dict[str, float]]:
    """GFLOP/s of float32 products of B0's shapes: x w, dy w^T and x^T dy."""
    products = {
        "forward": jax.jit(lambda x, w, dy: x @ w),
        "input gradient": jax.jit(lambda x, w, dy: dy @ w.T),
        "weight gradient": jax.jit(
            lambda x, w, dy: jax.lax.dot_general(x, dy, (((0,), (0,)), ((), ())))
        ),
    }
    found: dict[str, dict[str, float]] = {}
    for rows, inputs, outputs in PRODUCTS:
        shapes = ((rows, inputs), (inputs, outputs), (rows, outputs))
        arrays = [jnp.ones(shape, jnp.float32) for shape in shapes]
        flops = 2 * rows * inputs * outputs
        rates = found.setdefault(f"{rows}x{inputs}x{outputs}", {})
        for name, multiply in products.items():
            seconds = best(partial(multiply, *arrays), 0.5)
            rates[name] = flops / seconds / 1e9
    return found


def copy_rate(mib: int = 512) -> float:
    """GB/s read and written by x += 1 on an array far larger than any cache.

    In place, as the kernel would otherwise clear new pages at each call.
    """
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    state = [jnp.ones(mib * 2**20 // 4, jnp.float32)]

    def run():
        state[0] = add(state[0])
        return state[0]

    return 2 * state[0].nbytes / best(run) / 1e9


def main(arguments: list[str] | None = None) -> None:
    """Writes one JSON to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    flags = parser.parse_args(arguments)
    kinds = needs(stock_model(Case(flags.size, flags.batch)))
    gflop = sum(row["gflop"] for row in kinds.values())
    gigabytes = sum(row["gb"] for row in kinds.values())
    products, copies = product_rates(), copy_rate()
    peak = max(rates["forward"] for rates in products.values())
    found = {
        "one_image_forward": kinds,
        "gflop": gflop,
        "gb": gigabytes,
        "product_gflop_per_s": products,
        "copy_gb_per_s": copies,
        "img_per_s_by_flops": peak / gflop,
        "img_per_s_by_bytes": copies / gigabytes,
    }
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    launch("benchmarks.limits", ".cache/benchmarks")
    main()
