"""What TensorStore says after a checkpoint could not be written.

Orbax closes its event loop at the first write that fails, while hundreds of others are
still under way. Each of these then reports to the closed loop from a thread of
TensorStore, which fails, and Python prints a traceback of six lines (orbax 0.12.8,
tensorstore 0.1.86). The failure itself is raised, so nothing is missed without them.
"""

import sys


class _Filter:
    """An unraisable hook that passes on all but reports to a closed event loop."""

    def __init__(self, before):
        self._before = before

    def __call__(self, found) -> None:
        closed = isinstance(found.exc_value, RuntimeError) and (
            str(found.exc_value) == "Event loop is closed"
        )
        # Native code without an object: what Python's own destructors lose has one.
        if not (closed and found.object is None):
            self._before(found)


def ignore_late_writes() -> None:
    """Drops such reports from now on, as they come after the checkpoints are closed."""
    if not isinstance(sys.unraisablehook, _Filter):
        sys.unraisablehook = _Filter(sys.unraisablehook)
