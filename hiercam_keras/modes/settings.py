"""What a person asked for on the command line, as one frozen value.

Only main.py reads flags; every mode takes `Settings`. Imports nothing heavy, so that
`--help` answers at once.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict, config_flags

DEFAULT_CONFIG = "synthetic_birds.py"
MODES = (
    "prepare",
    "pretrain",
    "train",
    "eval",
    "predict",
    "cam",
    "compare",
)


@dataclass(frozen=True)
class Settings:
    """Flags with the resolved config; fields are the flags' names.

    `config` holds the flags that have a field there (`method`, `num_overlays`,
    `overlay_format`): a flag beats `--config.x`, which beats the file. `overrides` are
    all of these that the command line named, by dotted path. `chosen_config` tells
    whether --config was given.
    """

    mode: str
    config: FrozenConfigDict
    overrides: Mapping[str, Any] = field(default_factory=dict)
    chosen_config: bool = False
    rank: tuple[str, ...] = ("family",)
    ranks: tuple[str, ...] = ("species", "family")
    data_dir: str | None = None
    workdir: str | None = None
    runs: tuple[str, ...] = ()
    out: str | None = None
    image: str | None = None
    split: str = "test"
    target: str = "predicted"
    target_rank: str | None = None
    top_k: int = 5
    resume: bool = False
    overwrite: bool = False

    @classmethod
    def from_flags(cls, flags: Any) -> "Settings":
        """Reads the parsed absl flags of main.py."""
        overrides = dict(config_flags.get_override_values(flags["config"]))
        for name in ("method", "num_overlays", "overlay_format"):
            if flags[name].value is not None:
                overrides[f"cam.{name}"] = flags[name].value
        config = flags.config.copy_and_resolve_references()
        config.update_from_flattened_dict(overrides)
        values = {name: flags[name].value for name in _FLAGS}
        for name in ("rank", "ranks", "runs"):
            values[name] = tuple(part.strip() for part in values[name] if part.strip())
        return cls(
            mode=flags.mode,
            config=FrozenConfigDict(config),
            overrides=overrides,
            chosen_config=os.path.basename(flags["config"].config_filename)
            != DEFAULT_CONFIG,
            **values,
        )

    def config_of(self, run_config: Mapping[str, Any]) -> FrozenConfigDict:
        """The config of a run, with what this command line overrides."""
        config = ConfigDict(run_config)
        config.update_from_flattened_dict(self.overrides)
        return FrozenConfigDict(config)


_FLAGS = (
    "rank",
    "ranks",
    "data_dir",
    "workdir",
    "runs",
    "out",
    "image",
    "split",
    "target",
    "target_rank",
    "top_k",
    "resume",
    "overwrite",
)
