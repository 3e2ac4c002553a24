"""Handling of stop signals: the training saves its state first."""

import contextlib
import signal

import jax

from hiercam_keras import signals
from hiercam_keras.errors import Stopped


class StopSignals:
    """A context in which SIGTERM and the first Ctrl-C are only recorded.

    Preemptible machines send SIGTERM some seconds before they shut down. A second
    Ctrl-C stops at once. Several processes must stop at the same step, for which JAX's
    preemption service is used; Ctrl-C then has its default effect.
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
        """The first signal; None if there was none."""
        return signals.received()

    def check(self, step: int) -> None:
        """Raises Stopped if a signal arrived.

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
