"""Several processes, one run: they find each other, deal out the work, and one writes.

Each process reads its part of every batch; JAX adds up the gradients over all devices
of all processes. The first process alone writes what there is one of (the log, the
checkpoints, the model); maps are written by the process that made them.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from absl import logging

from hiercam_keras import wording, workdir
from hiercam_keras.errors import UserError

MODES = ("train", "eval", "predict", "cam")
LOST_SECONDS = 30  # until a process that says nothing any more is given up
_LOST = ("gloo", "heartbeat", "coordination", "connection", "unavailable", "peer")
_joined = False


def join(mode: str) -> None:
    """Makes this process one of several, before anything asks for devices.

    On Slurm, Open MPI, GKE and TPU pods JAX finds the others by itself. Elsewhere the
    variables JAX_COORDINATOR_ADDRESS (host:port of the first process),
    JAX_NUM_PROCESSES and JAX_PROCESS_ID say who they are.

    Raises:
      UserError: a mode that one process does alone, or the others cannot be found.
    """
    if mode not in MODES:
        raise UserError(
            f"--multihost is for --mode={', '.join(MODES)}; run {mode} in one process."
        )
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
    """Number of this process, from 0, and how many there are."""
    if not _joined:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_primary() -> bool:
    """Whether this process writes what there is one of."""
    return part()[0] == 0


def barrier(name: str) -> None:
    """Waits until every process has come here."""
    if part()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def all_of(mine: bool) -> bool:
    """Whether it is true in every process; all of them have to ask."""
    if part()[1] == 1:
        return mine
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(mine)).all())


@contextlib.contextmanager
def primary_first(name: str) -> Iterator[None]:
    """The block runs in the first process, then in all others, which find its files."""
    if not is_primary():
        barrier(name)
    yield
    if is_primary():
        barrier(name)


@contextlib.contextmanager
def as_one() -> Iterator[None]:
    """The block ends in all processes, or the loss of one is a UserError in the others.

    The first process has more to do at the end, as it draws and writes alone. Who is
    through waits for it here: JAX would give it up after LOST_SECONDS.
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
    """What to tell if an error comes of another process that failed; else None."""
    if part()[1] == 1 or not any(word in str(error).lower() for word in _LOST):
        return None
    first = str(error).strip().splitlines()[0]
    return UserError(
        f"another process of this run has ended or cannot be reached ({first[:120]}). "
        "Start all of them again, a training with --resume."
    )


def leave(status: int) -> None:
    """Ends this process; of several at once, as the others would be waited for."""
    if part()[1] == 1:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
