"""How the work of a step is shared among devices, from its compiled program.

    python -m benchmarks.scaling           # EfficientNetB0's train step on 1..8 devices

Compiles the train step for 1, 2, 4 and 8 virtual CPU devices with the same number of
images on each, and reads what one device computes and what it sends. Time on virtual
devices would say nothing: they share the cores. For TPUs and GPUs see --mode=plan.
"""

import argparse
import json
import os


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
    from hiercam_keras.plan import hlo
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
    sent = hlo.collectives(hlo.parse(compiled.as_text()))
    reduced = sum(one.size for one in sent if one.kind == "all-reduce")
    return {
        "devices": devices,
        "images": count,
        "gflop_per_device": float(f"{cost['flops'] / 1e9:.4g}"),
        "all_reduce_mb": float(f"{reduced / 1e6:.4g}"),
        "all_gathers": sum(one.kind == "all-gather" for one in sent),
        "keras": keras.__version__,
        "jax": jax.__version__,
    }


def main() -> None:
    """Prints a line of JSON for each number of devices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--per_device", type=int, default=4)
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "jax"
    count = "--xla_force_host_platform_device_count=8"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}"
    for devices in (1, 2, 4, 8):
        found = measure(devices, options.image_size, options.per_device)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
