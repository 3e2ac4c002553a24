"""Orderly stop at Ctrl-C and SIGTERM.

Python runs signal handlers between two bytecodes of the main thread, which is not
sufficient in two cases. An exception that a handler raises in a callback of the garbage
collector or of ctypes, or in `__del__`, is discarded; therefore a thread repeats the
signal until an exception propagates. No handler runs while the main thread executes
native code, such as a compilation of minutes; therefore the same thread ends the
process at a second Ctrl-C. During imports no exception is raised, see `at_once`.
"""

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

from hiercam_keras.errors import TRY_AGAIN, Stopped

# Exit statuses that shells and schedulers expect.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: TRY_AGAIN}
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}

_REPEAT = getattr(signal, "SIGURG", None)  # ignored by default, so a late one is safe
_PERIOD = 0.3  # seconds between two repetitions
_NOTICE = 1.5  # seconds until a message that the stop takes longer
_TOGETHER = 0.5  # seconds in which several Ctrl-C count as one: launchers forward them
_PATIENCE = 5.0  # seconds during which a live Stopped counts as propagating
_POSIX = hasattr(signal, "pthread_sigmask")


class _State:
    """The signal state of this process; a singleton.

    Attributes:
      received: the first signal that requested a stop; None if there was none.
      advice: advice for the message of a stop.
      postponed: whether signals are only recorded.
      starting: whether a child process is being started.
      at_once: whether a signal ends the process without an exception.
      say: whether the end by a signal is reported.
      installed: whether `orderly` has set the handlers.
      pipe: file descriptor; a byte written to it wakes the watching thread.
      cleanups: functions registered by `at_exit`.
      raised, raised_at: weak reference to the last Stopped, and its time.monotonic().
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self.advice = ""
        self.postponed = False
        self.starting = False
        self.at_once = False
        self.say = True
        self.installed = False
        self.pipe: int | None = None
        self.cleanups: list[Callable[[], None]] = []
        self.raised = lambda: None
        self.raised_at = 0.0

    def message(self) -> str:
        name = NAMES[self.received or signal.SIGINT]
        return f"{name}. {self.advice}".strip()

    def is_stopping(self) -> bool:
        """Whether a Stopped is propagating, or its cleanup is running."""
        error = sys.exception()
        while error is not None:
            if isinstance(error, Stopped):
                return True
            error = error.__context__
        # In destructors the exception is alive, but not visible to sys.exception().
        recent = time.monotonic() - self.raised_at < _PATIENCE
        return recent and self.raised() is not None


_state = _State()


def hold() -> None:
    """Blocks the signals until `orderly` or `unhold`.

    Blocked signals remain pending, and child processes inherit the mask. No effect on
    systems without POSIX signals.
    """
    if _POSIX:
        signal.pthread_sigmask(signal.SIG_BLOCK, STATUS)


def unhold() -> None:
    """Unblocks the signals; pending ones are delivered."""
    if _POSIX:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STATUS)


@contextlib.contextmanager
def children_hold() -> Iterator[None]:
    """Starts multiprocessing children in the block with Ctrl-C blocked.

    A terminal sends Ctrl-C to all processes, including children that are still
    importing modules. A child then calls `orderly` or `leave_to_parent`. Until then
    SIGTERM ends it.
    """
    if not _POSIX:
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Another thread may get the signal, and Python would handle it here: a child would
    # wait for what its parent has not sent yet, and print the end of its input.
    _state.starting = True
    try:
        yield
    finally:
        _state.starting = False
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A signal in the block ends the process where it is, as `orderly` does.

    For imports, which have nothing to save. Native code that calls Python while a
    module is initialized may abort the process at an exception, as nanobind does where
    jaxlib creates enumerations.
    """
    _state.at_once = True
    try:
        yield
    finally:
        _state.at_once = False


def leave_to_parent() -> None:
    """Ignores Ctrl-C in a worker process; the parent ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unhold()


def received() -> signal.Signals | None:
    """The signal that requested a stop; None if there was none."""
    return _state.received


def advise(words: str) -> None:
    """Sets the text after the name of the signal in the message of a stop."""
    _state.advice = words


def at_exit(function: Callable[[], None]) -> None:
    """Registers a function to call at process exit, also after a stop.

    `atexit` alone does not cover a stop.
    """
    atexit.register(function)
    _state.cleanups.append(function)


@contextlib.contextmanager
def orderly(say: bool = True) -> Iterator[None]:
    """Context of the whole program, in which a signal raises Stopped.

    After a stop the process exits with the status in `STATUS`, without Python's
    shutdown: threads of XLA and of thread pools may still run and would crash during
    the shutdown of the interpreter. Functions of `atexit` are not called, only those of
    `at_exit`. Ignored signals remain ignored, as in a background job of a shell.

    Args:
      say: whether to write a line to stderr at a stop, and another if it takes long.
    """
    try:
        _install(say)
        yield
    except BaseException as error:
        # An error after a signal is attributed to it: C++ code converts a Stopped from
        # a callback to errors of its own.
        asked = _state.received is not None or isinstance(error, KeyboardInterrupt)
        done = isinstance(error, SystemExit) and not error.code
        if done or not asked:
            raise
        ignore()
        stop = error if isinstance(error, Stopped) else None
        _state.received = _state.received or signal.SIGINT
        status = stop.status if stop else STATUS[_state.received]
        _stop(str(stop or _state.message()), status)
    finally:
        ignore()


def ignore() -> None:
    """Ignores all later signals, when the work is done or a stop is in progress.

    No effect outside the main thread.
    """
    if threading.current_thread() is threading.main_thread():
        for number in STATUS:
            signal.signal(number, signal.SIG_IGN)
        _state.installed = False


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Only records signals in the block; see `received`.

    Without `orderly`, as in a notebook, the block sets its own handlers, and a second
    Ctrl-C raises KeyboardInterrupt. No effect outside the main thread.

    Raises:
      Stopped: at the end of the block, if a signal arrived and there is no other error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    if not _state.installed:
        _state.received = None
        before = {number: signal.signal(number, _handle) for number in STATUS}
    _state.postponed = True
    try:
        yield
    finally:
        _state.postponed = False
        for number, handler in before.items():
            signal.signal(number, handler)
        found = _state.received
        if before:
            _state.received = None
    if found is not None:
        raise Stopped(_state.message(), STATUS[found])


def _install(say: bool) -> None:
    _state.say = say
    for number in STATUS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)
    _state.installed = True
    _quiet_hooks()
    if _POSIX:
        signal.signal(_REPEAT, _handle)
        read, _state.pipe = os.pipe()
        os.set_blocking(_state.pipe, False)
        signal.set_wakeup_fd(_state.pipe, warn_on_full_buffer=False)
        watch = threading.Thread(target=_watch, args=(read, say), daemon=True)
        watch.name = "signals"
        watch.start()
    unhold()


def _handle(number, frame) -> None:
    """Records the signal, and raises Stopped unless one is propagating."""
    again = _state.received is not None
    if number in STATUS and not again:
        _state.received = signal.Signals(number)
        if _state.pipe is not None:  # an event loop may have replaced the wakeup fd
            with contextlib.suppress(OSError):
                os.write(_state.pipe, bytes([_REPEAT]))
    if _state.received is None or not (_state.installed or _state.postponed):
        return  # SIGURG from another source, or after the end
    if _state.starting:
        return  # `_watch` repeats it
    if _state.at_once:
        _stop(_state.message(), STATUS[_state.received])
    if _state.postponed:
        if not again:
            _say(f"{NAMES[_state.received]}: saving before the stop")
        elif not _state.installed and number == signal.SIGINT == _state.received:
            raise KeyboardInterrupt
        return
    if _state.is_stopping():
        return
    stop = Stopped(_state.message(), STATUS[_state.received])
    _state.raised, _state.raised_at = weakref.ref(stop), time.monotonic()
    try:
        raise stop
    finally:
        del stop  # its traceback refers to this frame, which would keep it alive


def _watch(read: int, say: bool) -> None:
    """Repeats the signal until the process ends; ends it at a second Ctrl-C.

    Args:
      read: file descriptor of a pipe with one byte for each signal, from Python's C
        handler.
      say: whether to report a stop that takes long.
    """
    main = threading.main_thread().ident
    asked = pressed = noticed = None  # times, in seconds
    while True:
        ready, _, _ = select.select([read], [], [], asked and _PERIOD)
        now = time.monotonic()
        numbers = os.read(read, 4096) if ready else b""
        if not _state.installed:
            continue
        if _state.received or any(number in STATUS for number in numbers):
            asked = asked or now
        if signal.SIGINT in numbers:
            pressed = pressed or now
            if now - pressed > _TOGETHER:
                _say(f"stopped: second {_state.message()}")
                os._exit(STATUS[signal.SIGINT])
        if asked is None or ready:
            continue
        if say and now - asked > _NOTICE and not noticed:
            noticed = now
            _say("stopping as soon as possible; Ctrl-C once more stops at once")
        if not _state.postponed:
            signal.pthread_kill(main, _REPEAT)


def _say(words: str) -> None:
    """Writes a line to stderr; unlike print it is safe in a signal handler."""
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode())


def _stop(words: str, status: int) -> None:
    """Reports a stop, and ends the process."""
    if _state.say:
        _say(f"stopped: {words}")
    _end(status)


def _end(status: int) -> None:
    """Ends the workers, runs the functions of `at_exit`, and ends the process."""
    for stream in (sys.stdout, sys.stderr):
        # RuntimeError: a signal handler has interrupted a write to the stream.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            stream.flush()
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.terminate()
    for function in _state.cleanups:
        with contextlib.suppress(Exception):
            function()
    os._exit(status)


def _quiet_hooks() -> None:
    """Silences errors in callbacks and threads after a stop, which causes them."""
    unraisable, thread = sys.unraisablehook, threading.excepthook

    def in_callback(found):
        if _state.received is None:
            unraisable(found)

    def in_thread(found):
        if _state.received is None:
            thread(found)

    sys.unraisablehook, threading.excepthook = in_callback, in_thread
