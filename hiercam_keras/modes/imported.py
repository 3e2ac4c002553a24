"""What modes do otherwise with a run that holds a network from elsewhere.

Its record says what is known of the network. Images, and how they are measured, are
those of the command line: nobody knows which ones it was trained on.
"""

from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras.data import splits
from hiercam_keras.errors import UserError
from hiercam_keras.modes import usage
from hiercam_keras.modes.settings import Settings
from hiercam_keras.modes.splitting import make_split
from hiercam_keras.runs.run_folder import Run

# Fields that say which images are asked; of a trained run the training decided that.
_SPLIT = ("data.fractions", "data.split_seed")
_OWN = ("model.fast_layers", "model.modules")  # of this process, not of the network


def config_of(settings: Settings, run: Run) -> FrozenConfigDict:
    """The command's config, with what the record says of the network.

    Raises:
      UserError: an override that has no effect.
    """
    config = ConfigDict(settings.config.to_dict())
    own = {name.removeprefix("model."): config.model[name[6:]] for name in _OWN}
    network = run.record["config"]["model"]
    # The type of the layers that are put in front; the file has that of its own.
    source = run.record["imported"]["source"] or {}
    front = {"backbone": source.get("name", ""), "dtype": "float32"}
    config.model = ConfigDict({**front, **network, **own})
    config.data.image_size = run.record["imported"]["image_size"]
    mode = usage.USAGE[settings.mode]
    known = {f"model.{name}": value for name, value in network.items()}
    known["data.image_size"] = config.data.image_size
    for name, value in settings.overrides.items():
        if name in _SPLIT or name in _OWN or mode.reads(name):
            continue
        if known.get(name) != value:
            was = f", and was imported with {known[name]!r}" if name in known else ""
            raise UserError(
                f"--config.{name}={value} has no effect with --mode={settings.mode}: "
                f"{run.path} holds an imported network{was}. Leave it out, or import "
                f"it again. Modes that read it: {usage.users_of(name) or 'none'}."
            )
    return FrozenConfigDict(config)


def check_images(settings: Settings, run: Run) -> None:
    """A UserError where the command line names no images."""
    named = any(name.split(".")[0] == "data" for name in settings.overrides)
    if settings.data_dir or settings.chosen_config or named:
        return
    image = " (or a photo, --image)" if "image" in _flags(settings) else ""
    raise UserError(
        f"{run.path} holds an imported network, which comes without images: name them "
        f"with --data_dir=FOLDER{image}, or a table with "
        "--config.data.source=csv_table --config.data.table=FILE.csv."
    )


def _flags(settings: Settings) -> frozenset[str]:
    return usage.USAGE[settings.mode].flags


def split_of(settings: Settings, config: Any, records: Any) -> splits.Split:
    """All images as test, or split as `data.fractions` of the command line says."""
    if any(name in _SPLIT for name in settings.overrides):
        return make_split(records, config)
    return splits.Split((), (), tuple(sorted(one.example_id for one in records)))
