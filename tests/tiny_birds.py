"""A network of three convolutions and eighty birds, on which a run takes seconds.

Shared by the tests of modes, training and main.py, also by those in other processes.
"""

import importlib
import textwrap
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

SIZE = 48  # px, so that the map has 6 x 6 cells


def register() -> None:
    """Makes `config.model.backbone=tiny` known."""
    from hiercam_keras.models.backbones import BACKBONES, Backbone

    BACKBONES["tiny"] = Backbone(_build, "last_activation")


def _build(image: Any) -> Any:
    import keras

    x = keras.layers.Rescaling(1 / 127.5, -1, name="rescale")(image)
    for number, filters in enumerate((8, 12, 16), 1):
        x = keras.layers.Conv2D(
            filters, 3, 2, "same", use_bias=False, name=f"conv{number}"
        )(x)
        x = keras.layers.BatchNormalization(name=f"bn{number}")(x)
        name = "last_activation" if number == 3 else f"activation{number}"
        x = keras.layers.Activation("relu", name=name)(x)
    return keras.Model(image, x, name="tiny")


def make_config(folder: Path, data: Path) -> ConfigDict:
    """The default experiment, small: runs in `folder`/runs, birds in `data`."""
    config = importlib.import_module("configs.synthetic_birds").get_config()
    config.name = "mini"
    config.runs_dir = str(folder / "runs")
    config.data.root = str(data)
    config.data.cache_dir = str(data.parent / "cache")
    config.data.image_size = SIZE
    config.data.batch_size = 16
    config.data.pipeline = "arrays"
    config.data.workers = 1
    config.data.synthetic.update(
        {
            "orders": 2,
            "families": 2,
            "genera": 1,
            "species": 2,
            "images_per_species": 10,
            "image_size": (64, 72),
        }
    )
    config.model.backbone = "tiny"
    config.model.weights = "none"
    config.model.output_stride = 32
    config.train.epochs = 2
    config.train.keep_best_images = 0  # of 8 val images
    config.cam.batch_size = 8
    config.cam.num_overlays = 2
    config.compare.num_images = 4
    config.compare.num_extreme = 2
    config.compare.faithfulness_images = 4
    config.faithfulness.steps = 3
    config.coherence.faithfulness_images = 1
    return config


def run(mode: str, config: Any, *, fields: dict | None = None, **flags: Any) -> str:
    """Runs a mode as main.py does.

    Args:
      mode: as --mode.
      config: of the experiment.
      fields: what --config.x would override, by dotted path.
      **flags: fields of Settings.
    """
    from hiercam_keras.modes.settings import Settings

    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields or {})
    settings = Settings(
        mode=mode, config=FrozenConfigDict(config), overrides=fields or {}, **flags
    )
    return importlib.import_module(settings.module).run(settings)


_ROOT = Path(__file__).parent.parent
# main.py with the tiny network known to it: a program for `python -c`. What replaces
# HOOK runs when the process is prepared; the tests' own settings come first.
MAIN = f"""
import sys
sys.path[:0] = [{str(_ROOT)!r}, {str(_ROOT / "tests")!r}]
from hiercam_keras import runtime, signals
signals.hold()
prepare = runtime.prepare_process
def prepare_and_register():
    prepare()
    import tiny_birds
    tiny_birds.register()
    HOOK
runtime.prepare_process = prepare_and_register
import runpy
sys.argv[0] = {str(_ROOT / "main.py")!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def program(hook: str = "") -> str:
    """The text of main.py with the tiny network, and with more lines of code."""
    return MAIN.replace("    HOOK\n", textwrap.indent(hook, "    ") + "\n")


def command_line(data: Path) -> list[str]:
    """Flags that make the experiment of `make_config`."""
    small = {"orders": 2, "families": 2, "genera": 1, "species": 2}
    fields = {f"data.synthetic.{name}": value for name, value in small.items()}
    fields |= {
        "data.synthetic.images_per_species": 10,
        "data.synthetic.image_size": "(64,72)",
        "data.root": str(data),
        "data.cache_dir": str(data.parent / "cache"),
        "data.image_size": SIZE,
        "data.batch_size": 16,
        "data.pipeline": "arrays",
        "data.workers": 1,
        "model.backbone": "tiny",
        "model.weights": "none",
        "model.output_stride": 32,
        "train.keep_best_images": 0,
        "cam.batch_size": 8,
        "cam.num_overlays": 0,
    }
    return [f"--config.{name}={value}" for name, value in fields.items()]
