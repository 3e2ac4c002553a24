"""Checkpoints: the whole state of a training, written by Orbax in the background.

A checkpoint is a folder, checkpoints/<number>, that holds the weights, the optimizer's
state, the seed generators, the metrics so far and, as JSON, the position of the
training. It is written in the background under another name and renamed when it is
complete. Its checksum is verified at reading, so training never resumes from a
corrupted checkpoint.
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
    """A checkpoint in memory: its folder, its JSON metadata, and arrays by group."""

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
            if group != METRICS:  # metrics exist only after `fit` has started
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
      keep: number of latest checkpoints that are kept, in addition to the best.

    Raises:
      UserError: the folder cannot be created.
    """

    def __init__(self, folder: Path, keep: int = 3):
        import orbax.checkpoint as ocp  # the import takes two seconds

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
        """Called by Orbax after each commit: keeps the latest and the best ones."""
        numbers = [one.step for one in checkpoints]
        wanted = {*numbers[-self.keep :], self.best}
        return [number in wanted for number in numbers]

    def numbers(self) -> list[int]:
        """Numbers of the complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def save(
        self, model: keras.Model, meta: dict[str, Any], best: bool = False
    ) -> Path | None:
        """Starts writing the state of a compiled model, after waiting for the last
        save.

        Args:
          model: its state is copied to the host before this returns.
          meta: JSON metadata, returned with the state.
          best: whether it is the best so far, which is kept.

        Returns:
          The folder; None if a value is not finite, and then nothing is written.

        Raises:
          UserError: this checkpoint, or the previous one, cannot be written.
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
        """Waits until everything is on disk; raises the errors of `save`."""
        self._guarded(self._manager.wait_until_finished)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, error_type, *error) -> None:
        """Waits for unfinished writes, and frees Orbax's threads."""
        # After an error other processes may have ended, so there is no barrier.
        if error_type is None or jax.process_count() == 1:
            self._guarded(self._manager.close)

    def latest(self) -> Saved | None:
        """The newest intact checkpoint; None if there are no checkpoints.

        Damaged checkpoints are logged and renamed.

        Raises:
          UserError: all checkpoints are damaged.
        """
        numbers = self.numbers()
        for number in reversed(numbers):
            saved = self._read(number)
            if saved is not None:
                return saved
        if numbers:
            raise UserError(
                f"cannot resume: every checkpoint in {self.folder} is damaged. Start "
                "over with --overwrite."
            )
        return None

    def load_best(self, model: keras.Model) -> dict[str, Any] | None:
        """Loads the best checkpoint into the model and returns its metadata."""
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
                raise ValueError("its checksum is wrong")
            saved, why = Saved(path, everything["meta"], arrays), ""
        except Exception as error:  # Orbax and TensorStore raise many exception types
            if lost := multihost.lost(error):
                raise lost from error
            if not is_damage(error):
                raise UserError(
                    f"cannot read the checkpoint {path} now "
                    f"({first_line(error)}). It is unchanged: try "
                    "again when the disk can be read. If that does not help, move it "
                    "away, and the previous one is used."
                ) from error
            saved, why = None, first_line(error)
        if not multihost.all_of(saved is not None):
            self._set_aside(path, why or "another process cannot read it")
            return None
        self.best = everything["best"]
        return saved

    def _set_aside(self, path: Path, why: str) -> None:
        """Renames a damaged checkpoint, in one process, while the others wait."""
        if multihost.is_primary():
            target = set_aside(path)
            logging.warning(
                "the checkpoint %s is damaged (%s): it was renamed to %s, and the "
                "previous one is used",
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
                "earlier checkpoints are intact, and --resume starts from them."
            ) from error


def host_copy(model: keras.Model) -> Arrays:
    """Host copies of all variables that a training changes, by group."""
    return {
        group: {f"{i:05d}": np.array(v.value) for i, v in enumerate(variables)}
        for group, variables in _groups(model).items()
    }


def _groups(model: keras.Model) -> dict[str, list]:
    return {
        "trainable": model.trainable_variables,
        "state": model.non_trainable_variables,  # includes the seed generators
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
