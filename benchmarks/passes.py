"""Benchmarks: how often a train step goes through memory, as the compiled program says.

    python -m benchmarks.passes --kernel=3 --layers=auto
    python -m benchmarks.passes --forward             # inference
    python -m benchmarks.passes --forward --folded    # batch norm folded into kernels

Compiles forward and backward of one inverted residual block (stride 1) and counts, in
XLA's program, the arrays as large as its expanded activations that fusions read and
write, and the fusions that compute the depthwise convolution's taps. Nothing is run, so
the figures are the same on every machine with the same jaxlib and processor features.
What loops read is not counted.
"""

import argparse
import json
import math
import os
import re
import sys

os.environ["KERAS_BACKEND"] = "jax"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402

from benchmarks.case import launch  # noqa: E402
from hiercam_keras.models import xla_layers  # noqa: E402

_FUSION = re.compile(
    r"\s+(?:ROOT )?%[\w.-]+ = f32\[([\d,]*)\]\S* fusion\(.*?\), kind=\w+, "
    r"calls=%([\w.-]+)"
)
_BRANCHES = re.compile(
    r" conditional\(.*(?:true_computation=%([\w.-]+), false_computation=%([\w.-]+)"
    r"|branch_computations=\{%([\w.-]+), %([\w.-]+)\})"
)
_BODY = re.compile(r"\n%([\w.-]+) \([^\n]*\{\n(.*?)\n\}", re.DOTALL)
_PARAMETER = re.compile(r"= f32\[([\d,]+)\]\S* parameter")
_SLICE = re.compile(r"slice=\{\[0:\d+\], \[(\d+):\d+\], \[(\d+):\d+\]")


def block(size: int, filters: int, kernel: int, folded: bool = False) -> keras.Model:
    """One block as EfficientNet's: image (B, size, size, filters) -> the same.

    Folded, convolutions have the biases that batch normalization would leave.
    """
    L = keras.layers

    def normalized(x):
        return x if folded else L.BatchNormalization()(x)

    image = keras.Input((size, size, filters))
    x = L.Conv2D(6 * filters, 1, use_bias=folded)(image)
    x = L.Activation("swish")(normalized(x))
    x = L.DepthwiseConv2D(kernel, 1, "same", use_bias=folded)(x)
    x = L.Activation("swish")(normalized(x))
    gate = L.GlobalAveragePooling2D(keepdims=True)(x)
    gate = L.Conv2D(filters // 4, 1, activation="swish")(gate)
    gate = L.Conv2D(6 * filters, 1, activation="sigmoid")(gate)
    x = L.Conv2D(filters, 1, use_bias=folded)(L.Multiply()([x, gate]))
    return keras.Model(image, L.Add()([normalized(x), image]))


def compiled(
    model: keras.Model, batch: int, forward_only: bool = False
) -> jax.stages.Compiled:
    """The float32 program of forward and backward in training mode, or of inference."""

    def inference(trainable, state, x, dy):
        return model.stateless_call(trainable, state, x, training=False)[0]

    def step(trainable, state, x, dy):
        def forward(trainable, x):
            return model.stateless_call(trainable, state, x, training=True)

        _, pull, state = jax.vjp(forward, trainable, x, has_aux=True)
        return pull(dy), state

    def shapes(variables):
        return [jax.ShapeDtypeStruct(v.shape, jnp.float32) for v in variables]

    x = jax.ShapeDtypeStruct((batch, *model.input_shape[1:]), jnp.float32)
    variables = shapes(model.trainable_variables), shapes(model.non_trainable_variables)
    program = jax.jit(inference if forward_only else step)
    return program.lower(*variables, x, x).compile()


def count(program: str, whole: int, kernel: int) -> dict[str, int]:
    """Passes over arrays of `whole` elements or more, and fusions with all the taps.

    Of a condition the branch with fewer passes counts, which is the usual one.
    """
    bodies = dict(_BODY.findall(program))

    def large(shape: str) -> bool:
        return math.prod(map(int, shape.split(","))) >= whole if shape else False

    def inside(lines: str) -> tuple[int, int]:
        passes = depthwise = 0
        for line in lines.splitlines():
            if match := _FUSION.match(line):
                body = bodies.get(match[2], "")
                touched = sum(map(large, _PARAMETER.findall(body))) + large(match[1])
                taps = len(set(_SLICE.findall(body)))
                passes += touched
                depthwise += touched > 0 and taps >= kernel**2
            elif match := _BRANCHES.search(line):
                branches = [inside(bodies[name]) for name in match.groups() if name]
                passes += min(branches)[0]
                depthwise += min(branches)[1]
        return passes, depthwise

    passes, depthwise = inside(program[program.index("\nENTRY") :])
    return {"passes": passes, "depthwise": depthwise}


def main(arguments: list[str] | None = None) -> None:
    """Writes one JSON to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passes")
    add = parser.add_argument
    add("--size", type=int, default=56)
    add("--filters", type=int, default=24)
    add("--kernel", type=int, default=3)
    add("--batch", type=int, default=16)
    add("--layers", default="auto", help="auto, none, or kinds with +")
    add("--forward", action="store_true", help="inference instead of a train step")
    add("--folded", action="store_true", help="biases instead of batch norm")
    flags = parser.parse_args(arguments)
    model = block(flags.size, flags.filters, flags.kernel, flags.folded)
    model = xla_layers.accelerate(model, flags.layers)
    program = compiled(model, flags.batch, flags.forward)
    whole = flags.batch * flags.size**2 * 6 * flags.filters
    found = count(program.as_text(), whole, flags.kernel)
    found["temporary_mib"] = round(program.memory_analysis().temp_size_in_bytes / 2**20)
    json.dump({**vars(flags), **found}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    launch("benchmarks.passes", ".cache/benchmarks")
    main()
