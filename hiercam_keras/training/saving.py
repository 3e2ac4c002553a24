"""When checkpoints are written, and what they say of where the training is."""

import math
import time
from typing import Any

import jax
import keras

from hiercam_keras.errors import UserError
from hiercam_keras.training.checkpoint import Checkpoints, Saved
from hiercam_keras.training.stopping import StopSignals


class LossWatch(keras.callbacks.Callback):
    """Records the first step of an epoch with a NaN loss.

    Keras calls the ends of batches in threads of their own, so this costs the training
    nothing; `Saving` asks for the note before the next step.
    """

    async_safe = True

    def __init__(self):
        super().__init__()
        self.first_bad: int | None = None

    def on_train_batch_end(self, batch, logs=None):
        """`loss` is the mean so far: once it is no number, it stays none."""
        if not math.isfinite(logs["loss"]):
            known = self.first_bad
            self.first_bad = batch if known is None else min(batch, known)


class Saving(keras.callbacks.Callback):
    """Saves every so many steps and minutes, at the end of each epoch, and at a stop.

    It comes before the callback of the validation and `end` after that of the log.

    Attributes:
      epoch, step: where the training is: `step` steps of epoch `epoch` (from 0) are
        done. With `step` that of a whole epoch its validation is still to come.
      rows: the log so far.
      figures: of the training part of an epoch, before its validation.
      end: the callback for the end of an epoch.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        num_batches: int,
        options: Any,
        signals: StopSignals,
        saved: Saved | None,
    ):
        super().__init__()
        where = saved.meta if saved else {}
        if where.get("num_batches", num_batches) != num_batches:
            raise UserError(
                f"{saved.path} counts {where['num_batches']} steps an epoch, and this "
                f"training has {num_batches}: --resume needs the batch size and the "
                "images of the first call. --overwrite starts over."
            )
        self.epochs = options.epochs
        self.epoch: int = where.get("epoch", 0)
        self.step: int = where.get("step", 0)
        self.rows: list[dict[str, float]] = where.get("log", [])
        self.figures: dict[str, float] = where.get("figures", {})
        self.checkpoints = checkpoints
        self.num_batches = num_batches
        self.signals = signals
        self.watch = LossWatch()
        self.end = _EpochEnd(self)
        self._steps = options.checkpoint_steps
        # Processes may not decide by their own clocks what they do together.
        several = jax.process_count() > 1
        self._seconds = math.inf if several else options.checkpoint_minutes * 60
        self._resumed = saved
        self._first = 0  # step that the present call of `fit` began with
        self._told = self.position()  # of the newest checkpoint
        self._time = time.monotonic()  # no clock that may go back

    def position(self) -> tuple[int, int]:
        """Epoch and step, from 0."""
        return self.epoch, self.step

    def save(self, best: bool = False) -> None:
        """Saves the present state, unless a checkpoint has it."""
        self.model.jax_state_sync()
        meta = {
            "epoch": self.epoch,
            "step": self.step,
            "num_batches": self.num_batches,
            "epochs": self.epochs,
            "log": list(self.rows),  # written while the training goes on
            "figures": self.figures,
        }
        if self.checkpoints.save(self.model, meta, best):
            self._told, self._time = self.position(), time.monotonic()
        else:
            self.refuse(self.step)

    def save_at_stop(self) -> str:
        """Saves unless that was just done; logs where the training stopped."""
        if self._told != self.position():
            self.save()
        self.checkpoints.wait()
        return f"stopped at step {self.step} of epoch {self.epoch + 1}"

    def refuse(self, step: int) -> None:
        """Ends a training with a NaN loss."""
        epoch, good = self._told
        raise UserError(
            f"the loss became nan or infinite at step {step} of epoch "
            f"{self.epoch + 1}. Lower config.train.learning_rate and start over with "
            "--overwrite. The last state that was saved and is good is that after "
            f"step {good} of epoch {epoch + 1}, in {self.checkpoints.folder}."
        )

    def on_epoch_begin(self, epoch, logs=None):
        """Restores what a new epoch would reset."""
        self.epoch, self._first = epoch, self.step
        self.watch.first_bad = None
        if self._resumed is not None and self.step:
            self._resumed.assign_running(self.model)
        self._resumed = None

    def on_train_batch_begin(self, batch, logs=None):
        """Saves the state after the step before, when it is time."""
        self.step = self._first + batch
        self._check_loss()
        self.signals.check(self.epoch * self.num_batches + self.step)
        if self._told == self.position():
            return
        total = self.epoch * self.num_batches + self.step
        late = time.monotonic() - self._time >= self._seconds
        if late or (self._steps and total % self._steps == 0):
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        """All steps are done; validation comes next."""
        self._check_loss()
        self.step = self.num_batches
        self.figures = {name: float(value) for name, value in logs.items()}
        self.check_stop()

    def check_stop(self) -> None:
        """Raises Stopped if a signal came; for work between steps."""
        if jax.process_count() == 1:
            self.signals.check(0)

    def _check_loss(self):
        if self.watch.first_bad is not None:
            self.refuse(self._first + self.watch.first_bad + 1)


class _EpochEnd(keras.callbacks.Callback):
    def __init__(self, saving: Saving):
        super().__init__()
        self.saving = saving

    def on_epoch_end(self, epoch, logs=None):
        saving = self.saving
        saving.epoch, saving.step, saving.figures = epoch + 1, 0, {}
        losses = [row.get("val_loss", 0.0) for row in saving.rows]
        saving.save(best=losses[-1] <= min(losses))
