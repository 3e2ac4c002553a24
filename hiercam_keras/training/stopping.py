"""Signals that ask a training to stop: it saves first, and says how to continue."""

import contextlib
import signal

import jax

from hiercam_keras import signals
from hiercam_keras.errors import Stopped


class StopSignals:
    """While it is entered, SIGTERM and the first Ctrl-C only leave a note.

    Preemptible machines send SIGTERM some seconds before they go. A second Ctrl-C stops
    at once. With several processes all of them have to stop at the same step, which
    JAX's preemption service sees to; Ctrl-C is then an ordinary one.
    """

    def __init__(self):
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "StopSignals":
        if jax.process_count() == 1:
            self._stack.enter_context(signals.postponed())
        return self

    def __exit__(self, *error) -> bool | None:
        return self._stack.__exit__(*error)

    @property
    def received(self) -> signal.Signals | None:
        """The signal that came first; None if there was none."""
        return signals.received()

    def check(self, step: int) -> None:
        """Raises Stopped if a signal came.

        Args:
          step: of the whole training, the same in every process.
        """
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                number = signal.SIGTERM
                raise Stopped(signals.NAMES[number], signals.STATUS[number])
        elif self.received is not None:
            raise Stopped(signals.NAMES[self.received], signals.STATUS[self.received])
