"""One Markdown page of tables, with the settings and versions that made them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from hiercam_keras import processor, runtime, wording, workdir
from hiercam_keras.experiments import results
from hiercam_keras.experiments.results import Result
from hiercam_keras.experiments.training_grid import TrainingSpec
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder


def write(
    path: Path,
    title: str,
    intro: str,
    found: Sequence[Result],
    about: Sequence[str],
    command: str = "",
) -> None:
    """Writes the page, and the tables as CSV and JSON in the folder of its name.

    Args:
      path: of the page.
      title, intro: at its top.
      found: the tables, in order.
      about: settings and versions, one line each.
      command: shell command that recomputes every table; printed below each.
    """
    folder = path.parent / path.stem.lower()
    for table in found:
        results.write(table, folder)
    parts = [f"# {title}", intro, "\n".join(f"- {line}" for line in about)]
    short = [f"- {table.short}" for table in found if table.short]
    if short:
        parts.append("\n".join(["## In short", "", *short]))
    missing = [f"- {line}" for table in found for line in table.missing]
    if missing:
        parts.append("\n".join(["## Not confirmed", "", *missing]))
    made = f"; `{command}` recomputes it from the kept models" if command else ""
    for table in found:
        files = f"Result: `{folder.name}/{table.name}.csv`, `.json`{made}."
        parts.append(f"{results.markdown(table)}\n\n{files}")
    workdir.write_text(path, "\n\n".join(parts) + "\n")


def out_folder(settings: Settings) -> Path:
    """--out, else the folder of the runs on this data set."""
    config = settings.config
    return Path(settings.out or run_folder.data_folder(config.runs_dir, config.name))


def about(
    settings: Settings, specs: Sequence[TrainingSpec], command: str, images: int
) -> list[str]:
    """Settings and versions that reproduce the page, one line each."""
    first = specs[0]
    config = first.config
    seeds = sorted({spec.seed for spec in specs})
    versions = runtime.versions()
    named = ", ".join(
        f"{name} {versions[name]}"
        for name in ("hiercam_keras", "python", "keras", "jax", "numpy")
    )
    return [
        f"Made by `{command_line(settings, command)}`; every table and "
        "figure below comes from this command. Finished trainings are kept.",
        f"{wording.count(len(specs), 'training')} of "
        f"{wording.count(config.train.epochs, 'epoch')}: "
        f"{config.model.backbone} at {config.data.image_size} px, output stride "
        f"{config.model.output_stride}, weights {_weights(specs)}, seeds "
        f"{', '.join(map(str, seeds))}.",
        f"{wording.count(images, 'image')} of the {settings.split} split, the same for "
        "all seeds.",
        f"Versions: {named}. Maps and tables made on {runtime.device_name()}, "
        f"{wording.count(processor.num_cores(), 'core')}.",
    ]


def command_line(settings: Settings, command: str) -> str:
    """The command with the flags that were given."""
    given = {
        "--config": settings.config_file,
        "--data_dir": settings.data_dir or "",
        "--split": settings.split if settings.chosen_split else "",
        "--out": settings.out or "",
    }
    given |= {f"--config.{name}": value for name, value in settings.overrides.items()}
    flags = [
        shlex.quote(f"{name}={value}") for name, value in given.items() if value != ""
    ]
    return " ".join([command, *flags])


def _weights(specs: Sequence[TrainingSpec]) -> str:
    return ", ".join(dict.fromkeys(spec.config.model.weights for spec in specs))
