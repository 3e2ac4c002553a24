"""Compiles the programs of a recipe in a process of its own.

The compilers of TPUs and GPUs need environment variables before JAX is imported, run
for minutes in native code, where no signal is handled, and may end their process. The
process is killed with the block that uses it, at Ctrl-C too.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

from absl import logging

from hiercam_keras import signals, wording
from hiercam_keras.errors import UserError
from hiercam_keras.plan import topology
from hiercam_keras.plan.devices import Device
from hiercam_keras.plan.figures import Compiled

_LOG_SECONDS = 10.0  # between two lines of progress
_TICK = 0.2  # seconds; a signal is handled so soon
_LAST = 800  # characters of a crashed compiler's output that an error shows


class Compiler:
    """Compiles programs for a device; a context manager.

    Args:
      recipe: of the run, a `recipe.Recipe`.
      device: to compile for.

    Raises:
      UserError: a package is missing, see `topology.check`.
    """

    def __init__(self, recipe: Any, device: Device):
        topology.check(device)
        self.device = device
        self._recipe = recipe

    def __enter__(self) -> "Compiler":
        self._output = tempfile.TemporaryFile()
        with signals.children_hold():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hiercam_keras.plan.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._output,
                env={**os.environ, **topology.environment(self.device), **_paths()},
                start_new_session=True,  # Ctrl-C is for this process alone
            )
        try:
            self._answers: SimpleQueue[str] = SimpleQueue()
            threading.Thread(target=self._listen, daemon=True).start()
            work = pickle.dumps((self._recipe, self.device))
            self._send(len(work).to_bytes(8, "big") + work)
            self._wait("start of the compiler", "ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._output.close()

    def __call__(self, program: str, batch: int) -> Compiled:
        """Compiles "train", "eval" or "cam" for a batch over all devices.

        A batch that does not fit into a TPU is an answer, not an error, see
        `Compiled.refused`.

        Raises:
          UserError: the run's config is refused, or the compiler failed or ended.
        """
        what = f"{program}, {wording.count(batch, 'image')}, for {self.device.name}"
        request = json.dumps({"program": program, "batch": batch})
        self._send(request.encode() + b"\n")
        return Compiled.from_json(self._wait(what, "done")["result"])

    def _send(self, data: bytes) -> None:
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which `_wait` reports

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line.decode())
        self._answers.put("")

    def _wait(self, what: str, event: str) -> dict[str, Any]:
        """The answer of this kind; logs what is done, and for how long."""
        begun = last = time.monotonic()
        doing = "tracing"
        while True:
            try:
                line = self._answers.get(timeout=_TICK)
            except Empty:
                now = time.monotonic()
                if now - last >= _LOG_SECONDS:
                    logging.info("%s: %s, %.0f s so far", what, doing, now - begun)
                    last = now
                continue
            if not line:
                raise UserError(self._ended(what))
            answer = json.loads(line)
            if answer["event"] == "failed":
                raise UserError(answer["message"])
            if answer["event"] == event:
                return answer
            if answer["event"] == "warning":
                logging.warning("%s", answer["message"])
            else:
                doing = answer["event"]

    def _ended(self, what: str) -> str:
        status = self._process.wait()
        self._output.seek(0)
        output = self._output.read().decode(errors="replace").strip()
        why = f"status {status}"
        if status < 0:
            why = f"signal {-status}"
            if status == -9:
                why += ", as the system does for want of memory"
        return (
            f"the compiler ended ({why}) at {what}. Its last output: {output[-_LAST:]}"
        )


def _paths() -> dict[str, str]:
    """The child imports this package, and the user's modules, from the same places."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
