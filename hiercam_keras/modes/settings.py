"""What a person asked for on the command line, as one frozen value.

Only cli.py reads flags; every mode takes `Settings`. Imports nothing heavy, so that
`--help` answers at once.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from hiercam_keras.errors import UserError
from hiercam_keras.modes import usage
from hiercam_keras.runs import recorded_config

DETECTIONS = "detections.file"
TAXONOMY = "data.taxonomy"


@dataclass(frozen=True)
class Settings:
    """Flags with the resolved config; fields are the flags' names.

    `config` holds the flags that have a field there (`method`, `num_overlays`,
    `overlay_format`, `detections`): a flag beats `--config.x`, which beats the file.
    `overrides` are all of these that the command line named, by dotted path.
    `chosen_config`, `chosen_rank` and `chosen_split` are whether --config, --rank and
    --split were given;
    `config_file` is --config as it was given.
    """

    mode: str
    config: FrozenConfigDict
    overrides: Mapping[str, Any] = field(default_factory=dict)
    chosen_config: bool = False
    config_file: str = ""
    chosen_rank: bool = False
    chosen_split: bool = False
    rank: tuple[str, ...] = ("family",)
    ranks: tuple[str, ...] = ("species", "family")
    data_dir: str | None = None
    model: str | None = None
    labels: str | None = None
    allowed_taxa: str | None = None
    taxonomy: str | None = None
    workdir: str | None = None
    runs: tuple[str, ...] = ()
    out: str | None = None
    image: str | None = None
    split: str = "test"
    target: str = "predicted"
    target_rank: str | None = None
    top_k: int = 5
    search: bool | None = None
    format: str = "onnx"
    weights_dtype: str = "float32"
    runtime: str | None = None
    webgpu: bool = False
    resume: bool = False
    overwrite: bool = False
    device: str | None = None
    classes: str | None = None
    num_images: int | None = None
    prices: str | None = None

    def __post_init__(self):
        for name, size in _batch_sizes(self.config):
            if isinstance(size, int) and size < 1:
                raise UserError(
                    f"--config.{name} is {size}, expected 1 or more images."
                )

    @property
    def module(self) -> str:
        """Where the mode's `run` is, imported when it is asked for."""
        room = "experiments" if self.mode in usage.EXPERIMENTS else "modes"
        return f"hiercam_keras.{room}.{usage.MODULES.get(self.mode, self.mode)}"

    def of_training(self) -> tuple[Any, ...]:
        """What the size of a train step depends on, for `first_touch.begin`."""
        named = {name: self.config.get(name) for name in ("model", "data", "train")}
        return named, self.rank, self.data_dir

    def use_modules(self) -> None:
        """Imports the user's modules of `config.model.modules`, for this process.

        They are those of --config and the command line. Those in the record of a run
        are never imported: a run folder may come from elsewhere.

        Raises:
          UserError: a module cannot be imported.
        """
        modules = self.config.get("model", {}).get("modules", ())
        if modules:
            from hiercam_keras import runtime
            from hiercam_keras.models import user_code

            runtime.set_keras_defaults()
            user_code.use_modules(modules)

    @classmethod
    def from_flags(cls, flags: Any, chosen_config: bool) -> "Settings":
        """Reads the parsed absl flags of cli.py.

        Args:
          flags: parsed.
          chosen_config: whether --config was given.

        Raises:
          UserError: --rank names no rank, a batch has no images, or a flag is not of
            the mode.
        """
        given = {name for name in usage.FLAGS if flags[name].present}
        usage.check_flags(flags.mode, given)
        overrides = dict(config_flags.get_override_values(flags["config"]))
        for name in ("method", "num_overlays", "overlay_format"):
            if flags[name].value is not None:
                overrides[f"cam.{name}"] = flags[name].value
        if flags["detections"].value is not None:
            overrides[DETECTIONS] = flags["detections"].value
        if overrides.get(DETECTIONS):  # a run is used from other folders, too
            path = os.path.expanduser(overrides[DETECTIONS])
            overrides[DETECTIONS] = os.path.abspath(path)
        table = os.path.expanduser(overrides.get(TAXONOMY, ""))
        if os.path.isfile(table):  # else the name of one that comes with the program
            overrides[TAXONOMY] = os.path.abspath(table)
        usage.check_fields(flags.mode, overrides)
        config = flags.config.copy_and_resolve_references()
        config.update_from_flattened_dict(overrides)
        values = {name: flags[name].value for name in _FLAGS}
        for name in ("rank", "ranks", "runs"):
            parts = [part.strip() for part in values[name] if part.strip()]
            if name != "runs":  # letter case is no matter of ranks, but of paths
                parts = [part.lower() for part in parts]
            values[name] = tuple(dict.fromkeys(parts))
        if not values["rank"]:
            raise UserError("--rank is empty, expected a rank as in --rank=family.")
        if values["search"] and not flags["split"].present:
            values["split"] = "val"  # a choice by results never sees the test split
        file = flags["config"].config_filename
        return cls(
            mode=flags.mode,
            config=FrozenConfigDict(config),
            overrides=overrides,
            chosen_config=chosen_config,
            config_file=file if chosen_config else "",
            chosen_rank=bool(flags["rank"].present),
            chosen_split=bool(flags["split"].present),
            **values,
        )

    def config_of(self, run_config: Mapping[str, Any]) -> FrozenConfigDict:
        """The config of a run, with what this command line overrides.

        Raises:
          UserError: the run has no such field, or an override cannot take effect.
        """
        config = ConfigDict(_tuples(run_config))
        for name in _ANALYSIS:
            # A run that was trained before there was such a field is measured as this
            # command says.
            config[name] = {**self.config[name].to_dict(), **config.get(name, {})}
        for name, values in _LATER.items():
            own = {**self.config[name].to_dict(), **values}
            config[name] = {**own, **config.get(name, {})}
        # Runs of earlier versions lack the field.
        config.data.noun = config.data.get("noun", "object")
        config.data.groups = config.data.get("groups", "")
        config.data.taxonomy = config.data.get("taxonomy", "")
        config.data.taxonomy_ranks = config.data.get("taxonomy_ranks", ())
        config.data.partial = config.data.get("partial", "drop")
        trained = config.copy_and_resolve_references()
        for name in recorded_config.EXPERIMENTS:  # which no run records
            if name in self.config and name not in config:
                config[name] = self.config[name].to_dict()
        try:
            config.update_from_flattened_dict(self.overrides)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"--config.{', --config.'.join(self.overrides)} do not fit the config "
                f"that the run was trained with ({error}). Leave out what it lacks."
            ) from error
        self._check_used(trained, config)
        return FrozenConfigDict(config)

    def _check_used(self, trained: ConfigDict, config: ConfigDict) -> None:
        """Refuses overrides that the mode does not read, unless the run has them."""
        mode = usage.USAGE[self.mode]
        for name in self.overrides if mode.takes_run else ():
            was, now = _value(trained, name), _value(config, name)
            if mode.reads(name) or was == now:
                continue
            if name.partition(".")[0] not in trained:
                raise usage.no_effect(self.mode, name)
            raise UserError(
                f"--config.{name}={now} has no effect with --mode={self.mode}: the "
                f"run was trained with {was!r} and keeps it. Leave it out, or train "
                f"another run. Modes that read it: {usage.users_of(name)}."
            )


def _value(config: ConfigDict, field: str) -> Any:
    """The value of a field by dotted path; None where there is no such field."""
    for name in field.split("."):
        config = {} if config is None else config
        config = config.get(name)
    return config


def _batch_sizes(config: Mapping[str, Any], path: str = "") -> Iterator[tuple]:
    """(dotted name, value) of every batch_size in a config."""
    for name in config:
        value = config[name]
        if isinstance(value, Mapping | ConfigDict):
            yield from _batch_sizes(value, f"{path}{name}.")
        elif name == "batch_size":
            yield f"{path}{name}", value


def _tuples(value: Any) -> Any:
    """A run's record with tuples for the lists that JSON has: of a list ml_collections
    makes a tuple that is gone at once, and takes another at its place in memory for the
    same one, which is an error."""
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# Sections of the config that say how maps are measured, and nothing of the training.
_ANALYSIS = (
    "localize",
    "faithfulness",
    "coherence",
    "sanity",
    "search",
    "predict",
    "believe",
)
_LATER = {"detections": {"file": ""}}  # sections that runs of earlier versions lack
_FLAGS = (
    "rank",
    "ranks",
    "data_dir",
    "model",
    "labels",
    "allowed_taxa",
    "taxonomy",
    "workdir",
    "runs",
    "out",
    "image",
    "split",
    "target",
    "target_rank",
    "top_k",
    "search",
    "format",
    "weights_dtype",
    "runtime",
    "webgpu",
    "resume",
    "overwrite",
    "device",
    "classes",
    "num_images",
    "prices",
)
