"""Suppresses the tracebacks of TensorStore after a failed checkpoint.

Orbax closes its event loop at the first failed write, while hundreds of writes are
still running. Each of these then reports to the closed loop from a thread of
TensorStore, which fails, and Python prints a traceback of six lines (orbax 0.12.8,
tensorstore 0.1.86). A write that fails while the loop is open leaves a Future or a Task
that nobody asks, which asyncio logs when it is collected. The failure itself is raised
separately, so no information is lost.
"""

import logging as python_logging
import sys

_NOBODY_ASKED = tuple(
    f"{kind} exception was never retrieved" for kind in ("Future", "Task")
)


class _Filter:
    """An unraisable hook that drops reports to a closed event loop only."""

    def __init__(self, before):
        self._before = before

    def __call__(self, found) -> None:
        closed = isinstance(found.exc_value, RuntimeError) and (
            str(found.exc_value) == "Event loop is closed"
        )
        # Reports from native code have no object, those of Python's destructors do.
        if not (closed and found.object is None):
            self._before(found)


def _was_asked(record: python_logging.LogRecord) -> bool:
    """Whether a message of asyncio is another one than of a failure nobody asks."""
    return not record.getMessage().startswith(_NOBODY_ASKED)


def ignore_late_writes() -> None:
    """Installs the filters for the rest of the process, as reports may come late."""
    python_logging.getLogger("asyncio").addFilter(_was_asked)
    if not isinstance(sys.unraisablehook, _Filter):
        sys.unraisablehook = _Filter(sys.unraisablehook)
