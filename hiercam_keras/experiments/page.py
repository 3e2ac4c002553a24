"""experiments: one Markdown page of tables, with what made them."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from hiercam_keras import runtime, workdir
from hiercam_keras.experiments import tables
from hiercam_keras.experiments.pieces import Piece
from hiercam_keras.experiments.tables import Table
from hiercam_keras.modes.settings import Settings


def write(
    path: Path, title: str, intro: str, found: Sequence[Table], about: Sequence[str]
) -> None:
    """Writes the page, and the tables as CSV and JSON in the folder of its name."""
    folder = path.parent / path.stem.lower()
    for table in found:
        tables.write(table, folder)
    parts = [f"# {title}", intro, "\n".join(f"- {line}" for line in about)]
    short = [f"- {table.short}" for table in found if table.short]
    if short:
        parts.append("\n".join(["## In short", "", *short]))
    for table in found:
        files = f"Table: `{folder.name}/{table.name}.csv`, `.json`."
        parts.append(f"{tables.markdown(table)}\n\n{files}")
    workdir.write_text(path, "\n\n".join(parts) + "\n")


def about(
    settings: Settings, pieces: Sequence[Piece], command: str, images: int
) -> list[str]:
    """What a reader needs to make the page again: one line each."""
    first = pieces[0]
    config = first.config
    seeds = sorted({piece.seed for piece in pieces})
    given = {"--config": settings.config_file, "--data_dir": settings.data_dir or ""}
    given |= {f"--config.{name}": value for name, value in settings.overrides.items()}
    flags = [
        shlex.quote(f"{name}={value}") for name, value in given.items() if value != ""
    ]
    versions = runtime.versions()
    named = ", ".join(
        f"{name} {versions[name]}"
        for name in ("hiercam_keras", "python", "keras", "jax", "numpy")
    )
    return [
        f"Made by `{' '.join([command, *flags])}`; every table and "
        "figure below comes from this command. Pieces that are finished are kept.",
        f"{len(pieces)} trainings of {config.train.epochs} epochs: "
        f"{config.model.backbone} at {config.data.image_size} px, output stride "
        f"{config.model.output_stride}, weights {_weights(pieces)}, seeds "
        f"{', '.join(map(str, seeds))}.",
        f"{images} images of the {settings.split} split, the same for all seeds.",
        f"Versions: {named}. Maps and tables made on {runtime.device_name()}, "
        f"{_cores()} {'core' if _cores() == 1 else 'cores'}.",
    ]


def _weights(pieces: Sequence[Piece]) -> str:
    return ", ".join(dict.fromkeys(piece.config.model.weights for piece in pieces))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
