"""Trains the pieces that are missing, each in a process of its own.

A process of its own gives every training the same start whatever was trained before,
and its memory back to the machine. A piece that was stopped goes on from its last
checkpoint; one that is finished is not touched.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from hiercam_keras import runtime, signals
from hiercam_keras.errors import UserError
from hiercam_keras.experiments.training_grid import Piece, settings_for
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.run_folder import Run

# What a trained model depends on; how fast it came about is no matter.
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
    pieces: Sequence[Piece],
    settings: Settings,
    train: Callable[[Settings], None] | None = None,
) -> list[Run]:
    """Trains what is not finished yet, in order.

    Args:
      pieces: of the experiment.
      settings: of the experiment; `data_dir` is given on.
      train: trains one piece; default `in_own_process`.

    Returns:
      The finished runs, in the order of the pieces.

    Raises:
      UserError: a training failed, or a run folder holds a run with other settings.
    """
    train = train or in_own_process
    missing = [piece for piece in pieces if not _finished(piece)]
    logging.info(
        "%d of %d trainings are finished", len(pieces) - len(missing), len(pieces)
    )
    for number, piece in enumerate(missing, 1):
        logging.info("training %d of %d: %s", number, len(missing), piece.path)
        start = time.monotonic()
        train(settings_for(piece, settings))
        logging.info("%s took %.0f s", piece.path, time.monotonic() - start)
    return [run_folder.read_finished(piece.path) for piece in pieces]


def _finished(piece: Piece) -> bool:
    """Whether the piece is there; a UserError if what is there is another one."""
    if not (piece.path / "config.json").exists():
        return False
    run = run_folder.read(piece.path)
    changed = differences(
        {name: run.record["config"].get(name) for name in _TRAINING},
        {name: as_json(piece.config.to_dict())[name] for name in _TRAINING},
    )
    changed = [name for name in changed if name not in _SPEED]
    if run.ranks != piece.ranks or changed:
        raise UserError(
            f"{piece.path} holds a run with other settings: "
            f"{', '.join(changed) or 'its ranks'} differ. Remove that folder, or give "
            "the experiment another --config.name or --config.runs_dir."
        )
    return run.finished


def differences(before: Any, now: Any, path: str = "config") -> list[str]:
    """Dotted names of the fields that a run has otherwise; a field that came into the
    program after the run was trained is none."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            found
            for name in sorted(before)
            for found in differences(before[name], now.get(name), f"{path}.{name}")
        ]
    return [] if before == now else [path]


def as_json(value: Any) -> Any:
    """Tuples as lists, as the record of a run has them."""
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, tuple) else value


def in_own_process(settings: Settings) -> None:
    """Trains in a new process and waits for it.

    Raises:
      UserError: the training's own error, or that its process was killed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(settings, sender))
    with signals.children_hold():
        process.start()
    sender.close()
    try:
        message = receiver.recv()
    except EOFError:
        message = None  # it died without a word
    except KeyboardInterrupt:
        process.terminate()  # it saves first; a terminal's Ctrl-C has reached it, too
        raise
    finally:
        process.join()
        receiver.close()
    if message:
        raise UserError(f"{settings.workdir}: {message}")
    if process.exitcode:
        raise UserError(
            f"the training of {settings.workdir} ended with exit status "
            f"{process.exitcode}. The same command goes on where it was."
        )


def _train(settings: Settings, sender: Any) -> None:
    """In the new process: sends "" or what the user did wrong.

    Once a signal has stopped it, it ends with the status of the signal.
    """
    with signals.orderly(say=False):  # the parent does
        runtime.prepare_process()
        from hiercam_keras.modes import train

        try:
            settings.use_modules()
            train.run(settings)
        except UserError as error:
            sender.send(str(error))
        else:
            sender.send("")
        finally:
            sender.close()
