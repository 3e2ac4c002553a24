"""How work is shared among devices, measured; time and cost of big data, estimated.

    python -m benchmarks.scaling           # EfficientNetB0's train step on 1..8 devices
    python -m benchmarks.scaling --model   # the table of docs/SCALING.md

The first compiles the train step for 1, 2, 4 and 8 virtual CPU devices with the same
number of images on each, and reads from the compiled program what one device computes
and what it sends. Time on virtual devices would say nothing: they share the cores.
"""

import argparse
import json
import os
import re
from dataclasses import dataclass

_BYTES = {"f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f64": 8, "pred": 1}


@dataclass(frozen=True)
class Assumptions:
    """What the estimate takes for granted; change it to your machines.

    Attributes:
      images_per_second: of one chip in training at 224 px, mixed precision. 2,489 is
        what NVIDIA's PyTorch example of EfficientNet-B0 reaches on one A100 80GB.
      images_per_chip: of each step.
      parameters: that are trained, sent as float32 each step.
      near, far: bytes/s of a ring between the chips of one host, and between hosts.
      chips_per_host: chips that share a host.
      decode_per_core: images/s that a core decodes, resizes and augments.
      cores_per_host: that decode.
      dollars_per_chip_hour: a round number, not anybody's price.
      epochs: of the recipe.
    """

    images_per_second: float = 2489
    images_per_chip: int = 128
    parameters: float = 6.0e6
    near: float = 100e9
    far: float = 12.5e9
    chips_per_host: int = 8
    decode_per_core: float = 300
    cores_per_host: int = 96
    dollars_per_chip_hour: float = 2.0
    epochs: int = 14


def step_seconds(chips: int, given: Assumptions) -> float:
    """Seconds of a step: compute, a ring all-reduce after it, and never faster than
    the hosts decode. Ring: 2 (n - 1)/n times the gradient's bytes over the slowest
    link (Patarasuk and Yuan 2009)."""
    compute = given.images_per_chip / given.images_per_second
    link = given.near if chips <= given.chips_per_host else given.far
    reduce = 2 * (chips - 1) / chips * 4 * given.parameters / link
    on_host = min(chips, given.chips_per_host) * given.images_per_chip
    decode = on_host / (given.decode_per_core * given.cores_per_host)
    return max(compute + reduce, decode)


def estimate(images: int, chips: int, given: Assumptions) -> tuple[float, float]:
    """Hours and dollars of the whole recipe."""
    rate = chips * given.images_per_chip / step_seconds(chips, given)
    hours = images * given.epochs / rate / 3600
    return hours, hours * chips * given.dollars_per_chip_hour


def table(given: Assumptions) -> str:
    """Markdown: a row per data set and number of chips."""
    lines = ["| images | chips | hours | dollars |", "|---|---|---|---|"]
    for images in (74_000, 2_700_000, 100_000_000):
        for chips in (1, 8, 64, 256):
            hours, dollars = estimate(images, chips, given)
            lines.append(f"| {images:,} | {chips} | {hours:.3g} | {dollars:.3g} |")
    return "\n".join(lines)


def sent_bytes(program: str) -> int:
    """Bytes of the results of all all-reduces in a compiled program's text."""
    total = 0
    for line in program.splitlines():
        left, _, right = line.partition(" all-reduce(")
        if not right:
            continue
        for kind, dims in re.findall(r"(\w+)\[([\d,]*)\]", left.partition("=")[2]):
            size = _BYTES.get(kind, 0)
            for dim in filter(None, dims.split(",")):
                size *= int(dim)
            total += size
    return total


def measure(
    devices: int, image_size: int, per_device: int, backbone: str = "efficientnet_b0"
) -> dict:
    """Compiles one train step and reads what a device computes and sends."""
    import jax
    import keras
    import numpy as np

    from configs import default
    from hiercam_keras import runtime
    from hiercam_keras.models.from_config import build
    from hiercam_keras.models.xla_layers import shards
    from hiercam_keras.training import fit

    runtime.start(0, "float32", devices)
    config = default.get_config()
    config.model.update(backbone=backbone, weights="none")
    config.data.image_size = image_size
    model = build(config, {"species": 1486})
    fit.compile_model(model, {"species": 1486}, config.train, 10)
    model.optimizer.build(model.trainable_variables)
    count = devices * per_device
    batch = shards.place(
        (
            np.zeros((count, image_size, image_size, 3), np.uint8),
            np.zeros((count,), np.int32),
        )
    )
    model._symbolic_build(data_batch=batch)
    state = model._get_jax_state(
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
    )
    compiled = jax.jit(model.train_step).lower(state, batch).compile()
    cost = compiled.cost_analysis()
    text = compiled.as_text()
    return {
        "devices": devices,
        "images": count,
        "gflop_per_device": float(f"{cost['flops'] / 1e9:.4g}"),
        "all_reduce_mb": float(f"{sent_bytes(text) / 1e6:.4g}"),
        "all_gathers": len(re.findall(r" all-gather(?:-start)?\(", text)),
        "keras": keras.__version__,
        "jax": jax.__version__,
    }


def main() -> None:
    """Prints the measurement as JSON lines, or the estimate's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--per_device", type=int, default=4)
    options = parser.parse_args()
    if options.model:
        print(table(Assumptions()))
        return
    os.environ["KERAS_BACKEND"] = "jax"
    count = "--xla_force_host_platform_device_count=8"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}"
    for devices in (1, 2, 4, 8):
        found = measure(devices, options.image_size, options.per_device)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
