"""Runs in several processes: initialization, barriers, and handling of lost processes.

Each process reads its part of every batch; JAX sums the gradients over the devices of
all processes. Only the primary process writes shared files (the log, the checkpoints,
the model). Each process writes the maps that it computed.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from absl import logging

from hiercam_keras import signals, wording, workdir
from hiercam_keras.errors import UserError

MODES = ("train", "eval", "predict", "cam")
LOST_SECONDS = 30  # without a heartbeat before a process counts as lost
_LOST = ("gloo", "heartbeat", "coordination", "connection", "unavailable", "peer")
_joined = False


def join(mode: str) -> None:
    """Initializes `jax.distributed`; call it before any use of devices.

    On Slurm, Open MPI, GKE and TPU pods JAX detects the other processes. Elsewhere set
    the environment variables JAX_COORDINATOR_ADDRESS (host:port of the first process),
    JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Args:
      mode: of the program.

    Raises:
      UserError: the mode does not support several processes, or they cannot be found.
    """
    if mode not in MODES:
        raise UserError(
            f"--multihost is for --mode={', '.join(MODES)}; run {mode} in one process."
        )
    with signals.at_once():
        import jax

    numbers = {
        name.lower().removeprefix("jax_"): int(os.environ[name])
        for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        if os.environ.get(name, "").isdigit()
    }
    try:
        jax.distributed.initialize(
            **numbers,
            heartbeat_timeout_seconds=LOST_SECONDS,
            shutdown_timeout_seconds=LOST_SECONDS,
            initialization_timeout=120,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--multihost found no other processes ({str(error).splitlines()[0]}). On "
            "machines that JAX does not know set JAX_COORDINATOR_ADDRESS=host:port, "
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID, or leave --multihost out."
        ) from error
    global _joined
    _joined = True
    if not is_primary():
        workdir.write_nothing()
        logging.set_verbosity(logging.WARNING)
    logging.info(
        "%s, %s",
        wording.count(part()[1], "process"),
        wording.count(jax.device_count(), "device"),
    )


def part() -> tuple[int, int]:
    """Index of this process, from 0, and the number of processes."""
    if not _joined:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_primary() -> bool:
    """Whether this is the process that writes shared files, index 0."""
    return part()[0] == 0


def barrier(name: str) -> None:
    """Waits until all processes have called it with this name."""
    if part()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def all_of(mine: bool) -> bool:
    """Logical AND over all processes. A collective: all processes must call it."""
    if part()[1] == 1:
        return mine
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(mine)).all())


@contextlib.contextmanager
def primary_first(name: str) -> Iterator[None]:
    """Runs the block in the primary process, then in all others.

    The others can use the files that the primary process wrote.
    """
    if not is_primary():
        barrier(name)
    yield
    if is_primary():
        barrier(name)


@contextlib.contextmanager
def as_one() -> Iterator[None]:
    """Waits for all processes at the end of the block.

    The primary process takes longer, as it alone draws figures and writes files.
    Without the barrier JAX would report it as lost after LOST_SECONDS.

    Raises:
      UserError: another process was lost.
    """
    try:
        yield
        barrier("done")
    except RuntimeError as error:
        told = lost(error)
        if told is None:
            raise
        raise told from error


def lost(error: Exception) -> UserError | None:
    """The UserError for an error caused by the failure of another process; else None.

    Recognizes such errors by words of JAX's and Gloo's messages.
    """
    if part()[1] == 1 or not any(word in str(error).lower() for word in _LOST):
        return None
    first = str(error).strip().splitlines()[0]
    return UserError(
        f"another process of this run has ended or cannot be reached ({first[:120]}). "
        "Start all of them again, a training with --resume."
    )


def leave(status: int) -> None:
    """Exits with a status.

    With several processes it exits immediately, as an orderly shutdown of JAX would
    wait for the others.
    """
    if part()[1] == 1:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
