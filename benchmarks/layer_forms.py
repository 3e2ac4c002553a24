"""Bytes of main memory that a train step moves with each form of the layers.

    python -m benchmarks.layer_forms --device=gpu:h100 none one_pass lean
    python -m benchmarks.layer_forms --device=tpu:v5e-1 none one_pass

Compiles EfficientNetB0's train step for a device that need not be here
(`pip install ".[plan-gpu]"` or `".[plan-tpu]"`) and prints a line of JSON for each
form, kinds of `model.fast_layers` as in depthwise+swish. Nothing is run. A compilation
takes half a minute for a GPU and three minutes for a TPU on two idle cores.
"""

import argparse
import json
import sys

from configs import default
from hiercam_keras.plan.compile import Compiler
from hiercam_keras.plan.devices import device
from hiercam_keras.plan.recipe import Recipe


def measure(name: str, kinds: str, options: argparse.Namespace) -> dict:
    """Compiles one form; see the module."""
    config = default.get_config()
    config.model.update(
        backbone=options.backbone,
        weights="none",
        dtype="mixed_bfloat16",
        fast_layers=kinds,
    )
    config.data.image_size = options.image_size
    recipe = Recipe(config.to_dict(), {"species": 1486}, None, {})
    with Compiler(recipe, device(name)) as compiled:
        found = compiled("train", options.batch)
    return {
        "device": name,
        "form": kinds,
        "batch": options.batch,
        "gb_moved": round(found.moved / 1e9, 2),
        "mb_per_image": round(found.moved / found.images / 1e6, 1),
        "temporaries_gib": round(found.memory["temp"] / 2**30, 2),
        "launched": found.launched,
        "repeated": found.repeated,
        "padding": round(found.padding, 3),
    }


def main() -> None:
    """Prints a line for each form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("forms", nargs="+")
    parser.add_argument("--device", default="gpu:h100")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--backbone", default="efficientnet_b0")
    options = parser.parse_args()
    for kinds in options.forms:
        print(json.dumps(measure(options.device, kinds, options)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
