"""Ctrl-C and SIGTERM in separate processes, at any place of the program."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from hiercam_keras.modes import usage

ROOT = pathlib.Path(__file__).parent.parent
NOTICE = "stopping as soon as possible; Ctrl-C once more stops at once\n"
BEGIN = """
import ctypes, gc, os, signal, sys, threading, time
from hiercam_keras import signals
from hiercam_keras.errors import Stopped
interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)
def work(seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    print("worked on")
signals.advise("Try again.")
with signals.orderly():
"""


@pytest.fixture
def start(tmp_path):
    """Starts lines of code inside `orderly`; they say "ready" for a signal."""
    started = []

    def start(code, begin=BEGIN, **options):
        path = tmp_path / f"program{len(started)}.py"
        path.write_text(begin + "".join(f"    {one}\n" for one in code.split("\n")))
        process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process, status=130, told="stopped: Ctrl-C. Try again.\n"):
    """Waits for the end of a process and returns what it printed."""
    said, found = process.communicate(timeout=60)
    # A busy machine may take long enough for the notice.
    assert (process.returncode, found.replace(NOTICE, "")) == (status, told)
    return said


# Places where Python discards the exception of a signal handler.
SWALLOWED = {
    "a callback of the garbage collector": """
def callback(phase, info):
    gc.callbacks.clear()
    interrupt()
gc.callbacks.append(callback)
gc.collect()
print("swallowed", flush=True)
work()""",
    "a destructor": """
class Gone:
    def __del__(self):
        interrupt()
Gone()
print("swallowed", flush=True)
work()""",
    "a callback of ctypes": """
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def compare(a, b):
    interrupt()
    return 0
numbers = (ctypes.c_int * 2)(2, 1)
ctypes.CDLL(None).qsort(numbers, 2, 4, kind(compare))
print("swallowed", flush=True)
work()""",
    "a library that catches everything": """
try:
    interrupt()
    time.sleep(1)
except BaseException:
    pass
print("swallowed", flush=True)
work()""",
    "an error of another kind": """
try:
    interrupt()
    time.sleep(1)
except BaseException:
    raise ValueError("cannot read the file") from None""",
}


@pytest.mark.parametrize("place", SWALLOWED)
def test_a_swallowed_interrupt_comes_again(start, place):
    process = start(SWALLOWED[place].strip())
    said = end(process)
    assert said == ("" if "another kind" in place else "swallowed\n")


@pytest.mark.parametrize(
    ("number", "status", "name"),
    [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 75, "SIGTERM")],
)
def test_a_signal_during_work(start, number, status, name):
    """A daemon thread with native memory does not crash the process at the end."""
    process = start(
        "threading.Thread(target=work, daemon=True).start()\n"
        "print('ready', flush=True)\nwork()"
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert end(process, status, f"stopped: {name}. Try again.\n") == ""


def test_the_main_thread_waits_for_a_lock(start):
    process = start("print('ready', flush=True)\nlock = threading.Lock()\n"
                    "lock.acquire()\nlock.acquire()")  # fmt: skip
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert end(process) == ""


def test_cleanup_is_not_broken_by_the_repetitions(start):
    """Cleanup continues during four repetitions of the signal."""
    process = start(
        """
class Slow:
    def __del__(self):
        time.sleep(0.7)
        print("destructor", flush=True)
def numbers():
    held = Slow()
    try:
        yield 1
    finally:
        time.sleep(0.7)
        print("generator", flush=True)
def clean():
    for number in numbers():
        try:
            interrupt()
            work()
        finally:
            try:
                int("x")
            except ValueError:
                time.sleep(0.7)
                print("finally", flush=True)
clean()""".strip()
    )
    said, told = process.communicate(timeout=60)
    assert said == "finally\ngenerator\ndestructor\n"
    assert process.returncode == 130
    assert told == f"{NOTICE}stopped: Ctrl-C. Try again.\n"


def test_a_second_ctrl_c_ends_native_code(start):
    """No handler can run during one native call that hashes for minutes."""
    process = start("import hashlib\nprint('ready', flush=True)\n"
                    "hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)")  # fmt: skip
    process.stdout.readline()
    time.sleep(0.5)
    for _ in range(2):  # a launcher that sends the terminal's once more
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    time.sleep(1)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "stopped: second Ctrl-C. Try again."


def test_signals_wait_during_the_imports(start):
    """Signals before main.py handles them are delivered once it does."""
    begin = BEGIN.replace(
        "signals.advise",
        "signals.hold()\ninterrupt()\nprint('imported', flush=True)\nsignals.advise",
        1,
    )
    assert end(start("work()", begin)) == "imported\n"


# Ctrl-C where an extension of jaxlib creates its first enumeration: an exception there
# aborts the process.
IN_JAXLIB = """
import enum, os, runpy, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "jaxlib.mlir._mlir_libs._mlir":
            enum.EnumType._check_for_existing_members_ = stop
def stop(*args):
    print("in jaxlib", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_signal_while_native_modules_are_imported(tmp_path):
    main = str(ROOT / "main.py")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv.pop(0){IN_JAXLIB}", main]
        + ["--mode=guide", "--workdir=nowhere"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (130, "in jaxlib\n"), done.stderr
    advice = usage.USAGE["guide"].after_stop
    assert done.stderr == f"stopped: Ctrl-C. {advice}\n"


def test_an_ignored_ctrl_c_stays_ignored(start):
    """Ignored signals remain ignored, as in a background job of a script."""
    process = start(
        "print('ready', flush=True)\nwork(1)",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert end(process, 0, "") == "worked on\n"


def test_a_note_is_kept_until_the_end_of_the_block(start):
    process = start(
        """
with signals.postponed():
    interrupt()
    print(signals.received().name, flush=True)
    work(1)
print("not reached")""".strip()
    )
    told = "Ctrl-C: saving before the stop\nstopped: Ctrl-C. Try again.\n"
    assert end(process, 130, told) == "SIGINT\nworked on\n"


def test_what_is_done_is_done(start):
    """A signal after the end changes nothing; an error of the program stays one."""
    process = start("signals.ignore()\ninterrupt()\nprint('done')")
    assert end(process, 0, "") == "done\n"
    process = start("sys.exit('a user error')")
    end(process, 1, "a user error\n")
    process = start("raise RuntimeError('a fault')")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1 and told.endswith("RuntimeError: a fault\n")


def test_what_was_registered_is_called_once_at_any_end(start):
    code = "signals.at_exit(lambda: print('cleaned', flush=True))\n"
    assert end(start(code + "interrupt()\nwork()")) == "cleaned\n"
    assert end(start(code + "pass"), 0, "") == "cleaned\n"


CHILD = """
from hiercam_keras.birds.workers import OrderedSteps
def step(number):
    import time
    time.sleep(0.05)
    return number
if __name__ == "__main__":
    print("ready", flush=True)
    with OrderedSteps(step, (), workers=2) as steps:
        for number in steps:
            pass
"""


def test_the_start_of_a_child_is_not_interrupted(start):
    """Although another thread gets the signal that this one has blocked."""
    code = """
import signal, threading
from hiercam_keras import signals
def wait():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    time.sleep(30)
threading.Thread(target=wait, daemon=True).start()
time.sleep(0.2)
with signals.children_hold():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
    print("whole", flush=True)
time.sleep(30)
print("never", flush=True)"""
    assert end(start(code)) == "whole\n"


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.6])
def test_worker_processes_say_nothing(start, tmp_path, delay):
    """The whole group gets the signal, also children that Python has not begun in."""
    begin, _, _ = BEGIN.rpartition("with signals.orderly")
    code = CHILD.replace('if __name__ == "__main__":', "def run():") + (
        'if __name__ == "__main__":\n    with signals.orderly():\n        run()\n'
    )
    process = start("pass", begin + code + "if False:\n", start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    end(process)


def test_a_notebook_gets_its_handlers_back():
    from hiercam_keras import signals
    from hiercam_keras.errors import Stopped

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped) as stop:
        with signals.postponed():
            signal.raise_signal(signal.SIGINT)
            assert signals.received() == signal.SIGINT
    assert stop.value.status == 130
    assert signal.getsignal(signal.SIGINT) is before and signals.received() is None
