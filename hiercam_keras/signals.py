"""Ctrl-C and SIGTERM: an orderly stop wherever the program is.

Python runs a signal handler between two bytecodes of the main thread, which leaves two
gaps. An exception that the handler raises inside a callback of the garbage collector or
of ctypes, or inside `__del__`, is dropped; so a thread repeats the signal until the
exception travels. And no handler runs while the main thread is in native code, which
may compile for minutes; so the same thread ends the process at a second Ctrl-C.
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

# What shells and schedulers expect.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: TRY_AGAIN}
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}

_REPEAT = getattr(signal, "SIGURG", None)  # ignored by default, so a late one is safe
_PERIOD = 0.3  # seconds between two repetitions
_NOTICE = 1.5  # seconds until a stop that takes long says so
_TOGETHER = 0.5  # seconds in which several Ctrl-C are one: launchers forward theirs
_PATIENCE = 5.0  # seconds that an exception that something still holds is waited for
_POSIX = hasattr(signal, "pthread_sigmask")


class _State:
    """The one state of this process.

    Attributes:
      received: the first signal that asked for a stop.
      advice: what to do after a stop.
      postponed: whether signals only leave a note.
      installed: whether `orderly` has set the handlers.
      pipe: where a byte wakes the watching thread.
      cleanups: what `at_exit` has registered.
      raised, raised_at: weak reference to the last Stopped, and when it was raised.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self.advice = ""
        self.postponed = False
        self.installed = False
        self.pipe: int | None = None
        self.cleanups: list[Callable[[], None]] = []
        self.raised = lambda: None
        self.raised_at = 0.0

    def message(self) -> str:
        name = NAMES[self.received or signal.SIGINT]
        return f"{name}. {self.advice}".strip()

    def is_stopping(self) -> bool:
        """Whether a Stopped is on its way up, or its cleanup is running."""
        error = sys.exception()
        while error is not None:
            if isinstance(error, Stopped):
                return True
            error = error.__context__
        # While destructors run, the exception on its way is alive but not visible.
        recent = time.monotonic() - self.raised_at < _PATIENCE
        return recent and self.raised() is not None


_state = _State()


def hold() -> None:
    """Blocks the signals until `orderly` or `unhold`.

    Blocked signals wait. The block survives `exec`, and child processes begin with it.
    """
    if _POSIX:
        signal.pthread_sigmask(signal.SIG_BLOCK, STATUS)


def unhold() -> None:
    """Delivers the signals that wait, and all later ones."""
    if _POSIX:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STATUS)


@contextlib.contextmanager
def children_hold() -> Iterator[None]:
    """Processes that the block starts through multiprocessing begin without Ctrl-C.

    A terminal sends it to all processes, also to those that still import Python's own
    modules. The child calls `orderly` or `leave_to_parent`. SIGTERM ends it until then.
    """
    if not _POSIX:
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # when it starts it unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent() -> None:
    """For a worker process: Ctrl-C is ignored, since the parent ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unhold()


def received() -> signal.Signals | None:
    """The signal that asked for a stop, None if there was none."""
    return _state.received


def advise(words: str) -> None:
    """Sets what the message of a stop says after the name of the signal."""
    _state.advice = words


def at_exit(function: Callable[[], None]) -> None:
    """Calls a function when the process ends, as `atexit` does, also after a stop."""
    atexit.register(function)
    _state.cleanups.append(function)


@contextlib.contextmanager
def orderly(say: bool = True) -> Iterator[None]:
    """The block of a whole program: a signal raises Stopped in it and ends the process.

    The process ends with the status in `STATUS`, without Python's own shutdown: threads
    of XLA and of thread pools may still be at work, and crash when the interpreter is
    taken down below them. So functions of `atexit` are not called, only those of
    `at_exit`. Signals that are ignored stay ignored, as for a job in the
    background of a shell.

    Args:
      say: writes one line to stderr at a stop, and one if it takes long.
    """
    try:
        _install(say)
        yield
    except BaseException as error:
        # What fails after a signal, fails because of it: C++ turns a Stopped that comes
        # up in a callback into errors of its own.
        asked = _state.received is not None or isinstance(error, KeyboardInterrupt)
        done = isinstance(error, SystemExit) and not error.code
        if done or not asked:
            raise
        ignore()
        stop = error if isinstance(error, Stopped) else None
        _state.received = _state.received or signal.SIGINT
        status = stop.status if stop else STATUS[_state.received]
        if say:
            _say(f"stopped: {stop or _state.message()}")
        _end(status)
    finally:
        ignore()


def ignore() -> None:
    """From now on signals do nothing: the work is done, or the stop is under way."""
    if threading.current_thread() is threading.main_thread():
        for number in STATUS:
            signal.signal(number, signal.SIG_IGN)
        _state.installed = False


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """In the block signals only leave a note, which `received` gives.

    Without `orderly` around it, as in a notebook, the block has handlers of its own and
    a second Ctrl-C raises KeyboardInterrupt. In another thread than the main one it
    does nothing.

    Raises:
      Stopped: at the end of a block that has no other error, if a signal came.
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
    """Notes the signal, and raises Stopped unless one is on its way."""
    again = _state.received is not None
    if number in STATUS and not again:
        _state.received = signal.Signals(number)
        if _state.pipe is not None:  # an event loop may have lent itself the wakeup
            with contextlib.suppress(OSError):
                os.write(_state.pipe, bytes([_REPEAT]))
    if _state.received is None or not (_state.installed or _state.postponed):
        return  # SIGURG from elsewhere, or after the end
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
        del stop  # its traceback holds this frame, which would keep it alive


def _watch(read: int, say: bool) -> None:
    """Repeats the signal until the process ends; ends it at a second Ctrl-C.

    Args:
      read: pipe with a byte for each signal, from Python's own C handler.
      say: says so when a stop takes long.
    """
    main = threading.main_thread().ident
    asked = pressed = noticed = None  # when
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
    """Writes a line to stderr. A handler may interrupt a print, so it cannot print."""
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode())


def _end(status: int) -> None:
    """Ends the process and its workers at once."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
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
    """Once a stop was asked for, what fails in callbacks and threads is its doing."""
    unraisable, thread = sys.unraisablehook, threading.excepthook

    def in_callback(found):
        if _state.received is None:
            unraisable(found)

    def in_thread(found):
        if _state.received is None:
            thread(found)

    sys.unraisablehook, threading.excepthook = in_callback, in_thread
