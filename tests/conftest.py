"""What all tests share: the backend, the compilation cache, the real data."""

import functools
import gc
import os
import pathlib
import signal

# Before anything imports keras or tensorflow.
os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(__file__).parent.parent / ".cache" / "jax"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("MPLBACKEND", "agg")
# Processes that share the cores need no threads of XLA's next to their own, which took
# a sixth of the processor time. XLA reads NPROC as the number of cores it may use.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("NPROC", "1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from hiercam_keras import trace_cache  # noqa: E402

# Tests replace functions that are traced, and would find the user's programs.
trace_cache.folder = functools.wraps(trace_cache.folder)(lambda: None)

# The same examples in each run, so that a change alone makes a test fail; others with
# HYPOTHESIS_PROFILE=default. `python -m benchmarks.fuzz` looks further.
hypothesis.settings.register_profile("fixed", derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# A shell starts what it puts into the background with Ctrl-C ignored, and processes of
# the tests would begin so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Folder with real names, photographs and metadata, or a skip."""
    folder = os.environ.get("HIERCAM_REAL_DATA", "")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("HIERCAM_REAL_DATA does not name the folder with the real data")
    return pathlib.Path(folder)


def pytest_configure(config):
    """Fast tests compile much and compute little: LLVM need not optimize for them.

    Slow ones compute, and run what a user runs. Traces of JAX and models of Keras are
    many objects of which few are garbage: collecting it took a tenth of the time.
    """
    gc.set_threshold(20_000)
    if not config.getoption("-m"):
        flag = "--xla_backend_optimization_level=0"
        flags = os.environ.get("XLA_FLAGS", "")
        if "xla_backend_optimization_level" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


# Folders of long files first: while the last files run, which are short, no process
# waits long for another one. "" is this folder.
_LONG_FIRST = ("experiments", "modes", "training", "faults", "", "cam", "models")
_SHORT_LAST = ("exchange", "evaluation", "data", "metrics", "taxonomy")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file is run by one process; so are those that share the study's trainings.

    Files are begun in the order of `_turn`.
    """
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            together = "tests/experiments/"
            return together if file.startswith(together) else file

    return Scheduling(config, log)


def _turn(item):
    parts = item.path.relative_to(pathlib.Path(__file__).parent).parts
    folder = parts[0] if len(parts) > 1 else ""
    if folder in _LONG_FIRST:
        return _LONG_FIRST.index(folder) - len(_LONG_FIRST)
    return _SHORT_LAST.index(folder) + 1 if folder in _SHORT_LAST else 0


def pytest_collection_modifyitems(config, items):
    """Slow tests run when they are asked for by mark or by name."""
    items.sort(key=_turn)
    if config.getoption("-m") or any("::" in arg for arg in config.args):
        return
    skip = pytest.mark.skip(reason="slow: run with `make test-slow`")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def pytest_sessionfinish(session, exitstatus):
    """With HIERCAM_NO_SKIPS=1 a skip is a failure: what tests need was installed.

    Words in HIERCAM_MAY_SKIP, separated by spaces, allow the reasons that have one.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("HIERCAM_NO_SKIPS") != "1" or reporter is None:
        return
    reasons = [str(report.longrepr) for report in reporter.stats.get("skipped", ())]
    allowed = ["slow: run with", *os.environ.get("HIERCAM_MAY_SKIP", "").split()]
    unwanted = [why for why in reasons if not any(word in why for word in allowed)]
    if unwanted and exitstatus == 0:
        session.exitstatus = 1
        reporter.write_line(f"HIERCAM_NO_SKIPS: skipped {unwanted}", red=True)
