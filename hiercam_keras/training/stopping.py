"""Signals that ask a training to stop: it saves first, and says how to go on."""

import signal
import threading
from typing import Any

import jax
from absl import logging

from hiercam_keras.errors import TRY_AGAIN, Stopped

# What shells and schedulers expect.
STATUS = {signal.SIGTERM: TRY_AGAIN, signal.SIGINT: 130}


class StopSignals:
    """While it is entered, SIGTERM and the first Ctrl-C only leave a note.

    Preemptible machines send SIGTERM some seconds before they go. A second Ctrl-C stops
    at once. With several processes all of them have to stop at the same step, which
    JAX's preemption service sees to; Ctrl-C is then an ordinary one.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        alone = jax.process_count() == 1
        if alone and threading.current_thread() is threading.main_thread():
            for number in STATUS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        logging.info("%s: saving before the stop", self.received.name)

    def check(self, step: int) -> None:
        """Raises Stopped if a signal came.

        Args:
          step: of the whole training, the same in every process.
        """
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                raise Stopped("SIGTERM", STATUS[signal.SIGTERM])
        elif self.received is not None:
            raise Stopped(self.received.name, STATUS[self.received])
