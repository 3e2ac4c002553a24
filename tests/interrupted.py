"""Trainings that are killed at a step, and whether they end the same as whole ones."""

import numpy as np

from hiercam_keras.training.saving import Saving


class Killed(Exception):
    """Ends a training where a SIGKILL would."""


def same(one, other):
    """The same weights, seeds and optimizer state to the bit, and the same log."""
    for name in ("trainable_variables", "non_trainable_variables"):
        pairs = zip(getattr(one.model, name), getattr(other.model, name), strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), a.path)
    pairs = zip(
        one.model.optimizer.variables, other.model.optimizer.variables, strict=True
    )
    for a, b in pairs:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), a.path)
    assert one.rows == other.rows
    logs = [(done.folder / "log.csv").read_bytes() for done in (one, other)]
    assert logs[0] == logs[1]


def stop_before(step, act):
    """A patch of Saving that calls `act` before the step of this number, once."""
    begin, left = Saving.on_train_batch_begin, [step]

    def on_train_batch_begin(self, batch, logs=None):
        if self.epoch * self.num_batches + self._first + batch == left[0]:
            left[0] = None
            act(self)
        begin(self, batch, logs)

    return on_train_batch_begin


def kill(saving):
    saving.checkpoints.wait()  # what is half written is the business of other tests
    raise Killed
