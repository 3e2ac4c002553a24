"""Errors that are reported to the user in one line, without a traceback."""

import contextlib
from collections.abc import Iterator

from hiercam_keras import wording

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the command can be run again


class UserError(ValueError):
    """An error that the user can correct: a wrong flag, folder, file or config field.

    The message says what was expected, what was found, and what to do. `cli.py` prints
    it after "error: " and exits with status 1.
    """


class Stopped(KeyboardInterrupt):
    """A signal requested a stop of the program.

    Derives from KeyboardInterrupt, not Exception, so `except Exception` does not catch
    it: a checkpoint is not damaged because a signal arrived while it was read. asyncio
    propagates KeyboardInterrupt, but stores other exceptions. `signals.orderly` prints
    the message after "stopped: " and exits with `status`.

    Args:
      message: the signal, and advice on how to continue.
      status: exit status, TRY_AGAIN for SIGTERM, 130 for Ctrl-C.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def explain_out_of_memory(batch_size: int, field: str) -> Iterator[None]:
    """Converts a failed allocation on the device or the host to a UserError.

    Args:
      batch_size: images in a batch within the context.
      field: config field that sets the batch size, for the message.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        short = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        if not short:
            raise
        raise UserError(
            f"out of memory with batches of {wording.count(batch_size, 'image')}. Try "
            f"--config.{field}={max(1, batch_size // 2)}, a smaller "
            "config.data.image_size, or config.model.dtype=mixed_bfloat16 on a GPU or "
            "TPU."
        ) from error
