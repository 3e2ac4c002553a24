"""The schedule of checkpoints, and the position of the training in them."""

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

    Keras calls `on_train_batch_end` in separate threads, so this does not slow down the
    training; `Saving` reads the record before the next step.
    """

    async_safe = True

    def __init__(self):
        super().__init__()
        self.first_bad: int | None = None

    def on_train_batch_end(self, batch, logs=None):
        """`loss` is a running mean: once NaN, it stays NaN."""
        if not math.isfinite(logs["loss"]):
            known = self.first_bad
            self.first_bad = batch if known is None else min(batch, known)


class Saving(keras.callbacks.Callback):
    """Saves at intervals of steps and minutes, at the end of each epoch, and at a stop.

    It must be listed before the validation callback, and `end` after the log callback.

    Attributes:
      epoch, step: position of the training: `step` steps of epoch `epoch` (from 0) are
        done. If `step` is that of a whole epoch, only its validation remains.
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
        # Collective decisions must not depend on the clocks of the processes.
        several = jax.process_count() > 1
        self._seconds = math.inf if several else options.checkpoint_minutes * 60
        self._resumed = saved
        self._first = 0  # first step of the present call of `fit`
        self._saved = self.position()  # of the newest checkpoint
        self._time = time.monotonic()  # monotonic

    def position(self) -> tuple[int, int]:
        """Epoch and step, from 0."""
        return self.epoch, self.step

    def save(self, best: bool = False) -> None:
        """Saves the present state, unless the newest checkpoint holds it."""
        self.model.jax_state_sync()
        meta = {
            "epoch": self.epoch,
            "step": self.step,
            "num_batches": self.num_batches,
            "epochs": self.epochs,
            "log": list(self.rows),  # a copy, as it is written in the background
            "figures": self.figures,
        }
        if self.checkpoints.save(self.model, meta, best):
            self._saved, self._time = self.position(), time.monotonic()
        else:
            self.refuse(self.step)

    def save_at_stop(self) -> str:
        """Saves if necessary, and returns a text with the position of the training."""
        if self._saved != self.position():
            self.save()
        self.checkpoints.wait()
        return f"stopped at step {self.step} of epoch {self.epoch + 1}"

    def refuse(self, step: int) -> None:
        """Ends a training with a NaN loss."""
        epoch, good = self._saved
        raise UserError(
            f"the loss became nan or infinite at step {step} of epoch "
            f"{self.epoch + 1}. Lower config.train.learning_rate and start over with "
            "--overwrite. The last good checkpoint is that after "
            f"step {good} of epoch {epoch + 1}, in {self.checkpoints.folder}."
        )

    def on_epoch_begin(self, epoch, logs=None):
        """Restores the metrics and seeds that a new epoch resets."""
        self.epoch, self._first = epoch, self.step
        self.watch.first_bad = None
        if self._resumed is not None and self.step:
            self._resumed.assign_running(self.model)
        self._resumed = None

    def on_train_batch_begin(self, batch, logs=None):
        """Saves the state after the previous step, if an interval has passed."""
        self.step = self._first + batch
        self._check_loss()
        self.signals.check(self.epoch * self.num_batches + self.step)
        if self._saved == self.position():
            return
        total = self.epoch * self.num_batches + self.step
        late = time.monotonic() - self._time >= self._seconds
        if late or (self._steps and total % self._steps == 0):
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        """Saves the state after the last step, before the validation."""
        self._check_loss()
        self.step = self.num_batches
        self.figures = {name: float(value) for name, value in logs.items()}
        self.check_stop()

    def check_stop(self) -> None:
        """Raises Stopped if a signal arrived; for work between steps."""
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
