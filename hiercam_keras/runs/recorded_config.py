"""The config in the record of a run: what it holds, and how it differs from another."""

from collections.abc import Mapping
from typing import Any

# Sections that one experiment reads. They do not affect a trained model.
EXPERIMENTS = ("study", "curves", "sweep", "causes", "pretrain")


def of_training(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config as JSON has them, without the sections of experiments."""
    return {
        name: as_json(value)
        for name, value in config.items()
        if name not in EXPERIMENTS
    }


def as_json(value: Any) -> Any:
    """Converts tuples to lists, at any depth."""
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, tuple) else value


def differences(before: Any, now: Any, path: str = "config") -> list[str]:
    """Dotted names of the fields with another value in the run; fields that are newer
    than the run are ignored."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [
            found
            for name in sorted(before)
            for found in differences(before[name], now.get(name), f"{path}.{name}")
        ]
    return [] if before == now else [path]
