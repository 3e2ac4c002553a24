"""Errors that a user can cause, told in one line instead of a traceback."""

import contextlib
from collections.abc import Iterator

from hiercam_keras import wording

TRY_AGAIN = 75  # exit status of sysexits.h: the same command will go on


class UserError(ValueError):
    """What was expected, what was found, and what to do, in one message.

    `cli.py` prints the message after "error: " and exits with status 1. Raise it for
    anything that a user can get wrong: a flag, a folder, a file, a config field.
    """


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop.

    No Exception, so that nobody who handles failures takes it for one: a checkpoint
    that is being read when the signal comes is not damaged. A KeyboardInterrupt, since
    asyncio passes these on and holds back all others. `cli.py` prints the message
    after "stopped: " and exits with `status`: TRY_AGAIN for SIGTERM, 130 for Ctrl-C.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def explain_out_of_memory(batch_size: int, field: str) -> Iterator[None]:
    """Turns an allocation that failed on the device or the host into a UserError.

    Args:
      batch_size: images in a batch of the work inside.
      field: the config field that sets it.
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
