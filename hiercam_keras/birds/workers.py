"""Distributes numbered steps over processes, with results in order.

Worker w computes the steps w, w + workers, ... and sends each result through its own
pipe, which blocks until the result is read. Results therefore come in order, no worker
runs more than two steps ahead, and a worker ends at its next result if its parent was
killed, even by SIGKILL.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from hiercam_keras import signals
from hiercam_keras.errors import UserError


class OrderedSteps:
    """Iterator of `function(step, *args)` for step = start, start + 1, ... in order.

    Use it as a context manager, or call `close()`.

    Args:
      function: importable by name, a pure function of its arguments.
      args: further arguments, picklable; they are sent once.
      start: first step.
      stop: the step after the last one; None never ends.
      workers: processes; 0 computes in this one.
    """

    def __init__(
        self,
        function: Callable,
        args: tuple,
        *,
        start: int = 0,
        stop: int | None = None,
        workers: int = 1,
    ):
        if workers < 0:
            raise UserError(f"workers must be 0 or more, found {workers}.")
        self.step = start
        self._start, self._stop = start, stop
        self._function, self._args = function, args
        self._pipes: list[Connection] = []
        self._processes: list = []
        self._closed = False
        # A fork would copy the locks of JAX' threads, held or not.
        context = multiprocessing.get_context("spawn")
        for worker in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_work,
                args=(theirs, function, args, (start + worker, stop, workers)),
                daemon=True,
                name=f"birds-{worker}",
            )
            with signals.children_hold():
                process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self):
        if self._closed or (self._stop is not None and self.step >= self._stop):
            raise StopIteration
        if self._processes:
            turn = (self.step - self._start) % len(self._pipes)
            try:
                result, error = self._pipes[turn].recv()
            except (EOFError, OSError) as cause:
                raise RuntimeError(
                    f"the process that draws the birds of step {self.step} has ended. "
                    "In a script of yours, put what follows its imports below `if "
                    '__name__ == "__main__":`, as such a process imports the script. '
                    "Otherwise the system ended it, for want of memory perhaps: start "
                    "the run again."
                ) from cause
            if error is not None:
                raise error
        else:
            result = self._function(self.step, *self._args)
        self.step += 1
        return result

    def __enter__(self) -> "OrderedSteps":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers and the iteration. Calling it again does nothing."""
        self._closed = True
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
            process.close()
        self._pipes.clear()
        self._processes.clear()


def _work(pipe: Connection, function: Callable, args: tuple, steps) -> None:
    """Body of a worker; `steps` is (start, stop or None, stride)."""
    signals.leave_to_parent()
    step, stop, stride = steps
    while stop is None or step < stop:
        try:
            answer = (function(step, *args), None)
        except Exception as error:  # sent to the parent and raised there
            answer = (None, error)
        try:
            pipe.send(answer)
        except OSError:  # the parent has ended
            return
        if answer[1] is not None:
            return
        step += stride
    # The parent may not have read the last result yet.
    with contextlib.suppress(OSError):
        pipe.close()
