"""Runs the missing trainings of an experiment, each in its own process.

In its own process every training starts from the same state, and its memory is freed at
the end. A stopped training resumes from its last checkpoint; a finished one is not
changed. What the maps are asked for afterwards is checked before the first training, in
a process of its own, too: this one leaves the memory of a GPU to the trainings.
"""

import functools
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from hiercam_keras import runtime, signals
from hiercam_keras.errors import UserError
from hiercam_keras.experiments import map_fields
from hiercam_keras.experiments.map_fields import MapFields
from hiercam_keras.experiments.training_grid import TrainingSpec, settings_for
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.recorded_config import differences, of_training
from hiercam_keras.runs.run_folder import Run

# The config fields that determine a trained model.
_TRAINING = ("seed", "data", "augment", "model", "train")
_SPEED = {
    "config.data.pipeline",
    "config.data.workers",
    "config.data.cache_dir",
    "config.data.cache_mb",
    "config.data.max_bad_share",
    "config.model.fast_layers",
    "config.model.modules",
}


def train_missing(
    specs: Sequence[TrainingSpec],
    settings: Settings,
    train: Callable[[Settings], None] | None = None,
    maps: MapFields | None = None,
) -> list[Run]:
    """Runs the trainings that are not finished, in order.

    Args:
      specs: the trainings of the experiment.
      settings: of the experiment; `data_dir` is passed to each training.
      train: runs one training; default `in_own_process`.
      maps: what maps will be asked for, checked before the first training.

    Returns:
      The finished runs, in the order of `specs`.

    Raises:
      UserError: a training failed, a run folder holds a run with other settings, or the
        network that would be trained has no such layer.
    """
    train = train or in_own_process
    if maps:
        maps.check_methods()
    missing = [spec for spec in specs if not _finished(spec)]
    logging.info(
        "%d of %d trainings are finished", len(specs) - len(missing), len(specs)
    )
    if missing and maps and maps.any_layer:
        work = functools.partial(map_fields.check_layers, fields=maps)
        in_own_process(settings_for(missing[0], settings), work)
    for number, spec in enumerate(missing, 1):
        logging.info("training %d of %d: %s", number, len(missing), spec.path)
        start = time.monotonic()
        train(settings_for(spec, settings))
        logging.info("%s took %.0f s", spec.path, time.monotonic() - start)
    return [run_folder.read_finished(spec.path) for spec in specs]


def _finished(spec: TrainingSpec) -> bool:
    """Whether the run is finished.

    Raises:
      UserError: the folder holds a run with other settings.
    """
    if not (spec.path / "config.json").exists():
        return False
    run = run_folder.read(spec.path)
    before = {name: run.record["config"].get(name) for name in _TRAINING}
    now = of_training(spec.config.to_dict())
    changed = differences(_with_split(before), _with_split(now))
    changed = [name for name in changed if name not in _SPEED]
    if run.ranks != spec.ranks or changed:
        raise UserError(
            f"{spec.path} holds a run with other settings: "
            f"{', '.join(changed) or 'its ranks'} differ. Remove that folder, or give "
            "the experiment another --config.name or --config.runs_dir."
        )
    return run.finished


def _with_split(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the seed of its split, which below 0 is that of all else: so a run
    of --mode=train is one of an experiment with the same images."""
    data = dict(config["data"])
    if data.get("split_seed", -1) < 0:
        data["split_seed"] = config["seed"]
    return {**config, "data": data}


def train_one(settings: Settings) -> None:
    """One training, as --mode=train; its UserError names the run folder."""
    with signals.at_once():
        from hiercam_keras.modes import train

    try:
        train.run(settings)
    except UserError as error:
        raise UserError(f"{settings.workdir}: {error}") from error


def in_own_process(
    settings: Settings, work: Callable[[Settings], None] = train_one
) -> None:
    """Does the work of one training in a new process and waits for it.

    Args:
      settings: of the training.
      work: what is done, a function that can be pickled.

    Raises:
      UserError: the work's own error, or that its process was killed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, settings, sender))
    with signals.children_hold():
        process.start()
    sender.close()
    try:
        message = receiver.recv()
    except EOFError:
        message = None  # the process died without a message
    except KeyboardInterrupt:
        process.terminate()  # it saves first; a terminal's Ctrl-C reaches it, too
        raise
    finally:
        process.join()
        receiver.close()
    if message:
        raise UserError(message)
    if process.exitcode:
        raise UserError(
            f"the process of the training of {settings.workdir} ended with exit status "
            f"{process.exitcode}. The same command resumes it."
        )


def _work(work: Callable[[Settings], None], settings: Settings, sender: Any) -> None:
    """Works in the new process; sends "" or the text of a UserError.

    After a signal the process ends with the status of the signal.
    """
    with signals.orderly(say=False):  # the parent does
        runtime.prepare_process()
        try:
            settings.use_modules()
            work(settings)
        except UserError as error:
            sender.send(str(error))
        else:
            sender.send("")
        finally:
            sender.close()
