"""Checkpoints: the whole state of a training, written by Orbax in the background.

A checkpoint is a folder, checkpoints/<number>, that holds the weights, the optimizer's
state, the seed generators, the metrics so far and, as JSON, where the training was. It
is written in the background under another name and renamed when it is whole; its sum is
checked when it is read, so that a damaged one is never gone on from.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from absl import logging

from hiercam_keras import multihost, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.training.checkpoint_damage import first_line, is_damage, set_aside
from hiercam_keras.training.late_writes import ignore_late_writes

Arrays = dict[str, dict[str, np.ndarray]]
METRICS = "metrics"


@dataclass(frozen=True)
class Saved:
    """A checkpoint in memory: its folder, what it says, and its arrays by group."""

    path: Path
    meta: dict[str, Any]
    arrays: Arrays

    def assign(self, model: keras.Model) -> None:
        """Puts weights, seeds and optimizer state into a compiled model.

        Raises:
          UserError: the checkpoint holds another model.
        """
        model.optimizer.build(model.trainable_variables)
        for group, variables in _groups(model).items():
            if group != METRICS:  # they exist only once `fit` has begun
                self._assign(group, variables)

    def assign_running(self, model: keras.Model) -> None:
        """Puts seeds and metrics into a model at the beginning of an epoch."""
        groups = _groups(model)
        for group in ("state", METRICS):
            self._assign(group, groups[group])

    def _assign(self, group: str, variables: list) -> None:
        values = [self.arrays[group][name] for name in sorted(self.arrays[group])]
        if [v.shape for v in values] != [tuple(v.shape) for v in variables]:
            raise UserError(
                f"{self.path} holds another model than this config makes. Resume with "
                "the flags of the first call, or start over with --overwrite."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


class Checkpoints:
    """The checkpoints of one training.

    Args:
      folder: of the checkpoints.
      keep: how many of the latest are kept; the best is kept besides.

    Raises:
      UserError: the folder cannot be made.
    """

    def __init__(self, folder: Path, keep: int = 3):
        import orbax.checkpoint as ocp  # takes two seconds, and only trainings need it

        ignore_late_writes()
        self.folder = workdir.make_dir(folder).resolve()
        self.keep = keep
        self.best: int | None = None
        self._args = ocp.args
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self,
            cleanup_tmp_directories=True,
            save_root_metadata=False,
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise UserError(
                f"cannot use the folder {self.folder}: {error.strerror or error}."
            ) from error

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        """Orbax asks this after each commit: the last ones and the best one stay."""
        numbers = [one.step for one in checkpoints]
        wanted = {*numbers[-self.keep :], self.best}
        return [number in wanted for number in numbers]

    def numbers(self) -> list[int]:
        """Numbers of the whole checkpoints, the oldest first."""
        return sorted(self._manager.all_steps())

    def save(
        self, model: keras.Model, meta: dict[str, Any], best: bool = False
    ) -> Path | None:
        """Starts to write the state of a compiled model; waits for the one before.

        Args:
          model: its state is copied to the host before this returns.
          meta: what JSON can hold; comes back with the state.
          best: none before was better, so it is kept.

        Returns:
          The folder; None, and nothing is written, where a value is not finite.

        Raises:
          UserError: this one, or the one before, cannot be written.
        """
        arrays = host_copy(model)
        if not _finite(arrays):
            return None
        number = max(self.numbers(), default=0) + 1
        kept = number if best else self.best
        everything = {"meta": meta, "best": kept, "sum": _sum(arrays)}
        self._guarded(
            lambda: self._manager.save(
                number,
                args=self._args.Composite(
                    state=self._args.StandardSave(arrays),
                    meta=self._args.JsonSave(everything),
                ),
            )
        )
        self.best = kept
        return self.folder / str(number)

    def wait(self) -> None:
        """Returns when everything is on disk; raises what `save` would."""
        self._guarded(self._manager.wait_until_finished)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, error_type, *error) -> None:
        """Waits for what is being written, and frees Orbax's threads."""
        # Other processes may have ended, and would be waited for.
        if error_type is None or jax.process_count() == 1:
            self._guarded(self._manager.close)

    def latest(self) -> Saved | None:
        """The newest checkpoint that is whole; None if there are none.

        A damaged one is logged and set aside under another name.

        Raises:
          UserError: there are some, and all of them are damaged.
        """
        numbers = self.numbers()
        for number in reversed(numbers):
            saved = self._read(number)
            if saved is not None:
                return saved
        if numbers:
            raise UserError(
                f"cannot go on: every checkpoint in {self.folder} is damaged. Start "
                "over with --overwrite."
            )
        return None

    def load_best(self, model: keras.Model) -> dict[str, Any] | None:
        """Puts the best checkpoint into the model and returns what it says."""
        if self.best not in self.numbers():
            return None
        saved = self._read(self.best)
        if saved is None:
            return None
        saved.assign(model)
        return saved.meta

    def _read(self, number: int) -> Saved | None:
        path = self.folder / str(number)
        try:
            found = self._manager.restore(
                number,
                args=self._args.Composite(
                    state=self._args.StandardRestore(), meta=self._args.JsonRestore()
                ),
            )
            arrays, everything = found.state, found.meta
            if _sum(arrays) != everything["sum"]:
                raise ValueError("its sum is wrong")
            saved, why = Saved(path, everything["meta"], arrays), ""
        except Exception as error:  # Orbax and TensorStore raise many kinds
            if told := multihost.lost(error):
                raise told from error
            if not is_damage(error):
                raise UserError(
                    f"cannot read the checkpoint {path} now "
                    f"({first_line(error)}). It stays as it is: try "
                    "again when the disk can be read. If that does not help, move it "
                    "away, and the one before it is used."
                ) from error
            saved, why = None, first_line(error)
        if not multihost.all_of(saved is not None):
            self._set_aside(path, why or "another process cannot read it")
            return None
        self.best = everything["best"]
        return saved

    def _set_aside(self, path: Path, why: str) -> None:
        """By one process, while the others wait: they share the folder."""
        if multihost.is_primary():
            target = set_aside(path)
            logging.warning(
                "the checkpoint %s is damaged (%s): it is set aside as %s, and the one "
                "before it is used",
                path,
                why,
                target.name,
            )
        multihost.barrier(f"set aside {path.name}")
        self._manager.reload()

    def _guarded(self, act: Any) -> None:
        try:
            act()
        except Exception as error:
            raise multihost.lost(error) or UserError(
                f"cannot write a checkpoint in {self.folder}: {first_line(error)}. "
                "Free some space, or choose another folder with --workdir; the "
                "checkpoints before it are whole, and --resume goes on from them."
            ) from error


def host_copy(model: keras.Model) -> Arrays:
    """Copies of all that a training changes, by group."""
    return {
        group: {f"{i:05d}": np.array(v.value) for i, v in enumerate(variables)}
        for group, variables in _groups(model).items()
    }


def _groups(model: keras.Model) -> dict[str, list]:
    return {
        "trainable": model.trainable_variables,
        "state": model.non_trainable_variables,  # seed generators are among them
        "optimizer": model.optimizer.variables,
        METRICS: model.metrics_variables,
    }


def _finite(arrays: Arrays) -> bool:
    return all(
        np.isfinite(value).all()
        for group in arrays.values()
        for value in group.values()
        if np.issubdtype(value.dtype, np.floating)
    )


def _sum(arrays: Arrays) -> int:
    """CRC-32 over names and values, in order."""
    total = 0
    for group in sorted(arrays):
        for name in sorted(arrays[group]):
            value = np.ascontiguousarray(arrays[group][name])
            total = zlib.crc32(f"{group}/{name}{value.dtype}".encode(), total)
            total = zlib.crc32(value.tobytes(), total)
    return total
