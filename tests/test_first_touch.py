"""Memory that a process touches early because an earlier one has used as much.

Settings of malloc hold for a whole process, so tests that need them start one.
"""

import errno
import json
import os
import subprocess
import sys
import types
from importlib import metadata

import pytest

from hiercam_keras import first_touch, malloc, trace_cache

GLIBC = sys.platform.startswith("linux") and malloc._is_glibc()
linux = pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
MIB = 2**20

# A program with temporary arrays of 160 MB, as a first step; pages that it touched.
STEP = """
import json, resource, sys
from hiercam_keras import first_touch, malloc

malloc._ROOMY = 0
malloc.machine_memory = lambda: 2**31  # chunks up to 512 MiB
malloc.keep_memory()
thread = first_touch.begin("a step", *sys.argv[1:])

from hiercam_keras import runtime
import jax, jax.numpy as jnp
runtime.compute_in_calling_thread()

@jax.jit
def step(x):
    whole = jnp.broadcast_to(x, (40_000_000,))
    return jax.lax.fori_loop(0, 2, lambda _, whole: whole + 1, whole).sum()

def used():
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_minflt, found.ru_maxrss / 1024

x = jax.block_until_ready(jnp.float32(1))
run = step.lower(x).compile()
thread.join()
before, _ = used()
run(x).block_until_ready()
after, peak = used()
first_touch.record()
print(json.dumps({"faults": after - before, "peak": peak}))
"""


def process(cache, *about):
    """What a process of STEP found; the user's settings left out."""
    ours = ("GLIBC_TUNABLES", "MALLOC_", "JAX_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-c", STEP, *about],
        capture_output=True,
        text=True,
        env={**clean, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@linux
def test_a_later_process_has_touched_the_memory_of_its_first_step(tmp_path):
    first = process(tmp_path)
    (place,) = (tmp_path / "memory").iterdir()
    assert 150 * MIB < int(place.read_text()) < 330 * MIB
    again = process(tmp_path)
    assert first["faults"] > 70  # huge pages, or as many thousands of small ones
    assert again["faults"] < first["faults"] / 4
    assert again["peak"] < first["peak"] + 20
    assert process(tmp_path, "another")["faults"] > 70


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A process with the settings, of which nothing is touched: sizes are noted."""
    touched = []
    monkeypatch.setattr(first_touch, "_state", first_touch._State())
    monkeypatch.setattr(malloc, "is_kept", lambda: True)
    monkeypatch.setattr(malloc, "reaches_threads", lambda: True)
    monkeypatch.setattr(malloc, "touch", lambda size: touched.append(size) or "done")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE", raising=False)
    return touched


def begin(*about):
    """A process of its own: whether it began, and the file of its record."""
    first_touch._state = first_touch._State()
    thread = first_touch.begin(*about)
    if thread is not None:
        thread.join()
    return thread is not None, first_touch._state.place


def test_the_size_is_found_by_the_key(kept, monkeypatch):
    _, place = begin("a", {"size": 224})
    place.parent.mkdir()
    place.write_text("123\n")
    assert begin("a", {"size": 224})[1] == place and kept == [123]
    others = {begin("a", {"size": 225})[1], begin("b", {"size": 224})[1]}
    for change in (
        lambda patched: patched.setenv("XLA_FLAGS", "--others"),
        lambda patched: patched.setattr(trace_cache, "source", lambda: "edited"),
        lambda patched: patched.setattr(metadata, "version", lambda name: "0"),
    ):
        with monkeypatch.context() as patched:
            change(patched)
            others.add(begin("a", {"size": 224})[1])
    assert len(others | {place}) == 6 and kept == [123]


@pytest.mark.parametrize("text", ["", "12 GB", "-3", "0", "9" * 40])
def test_a_damaged_record_is_ignored(kept, text):
    _, place = begin("a")
    place.parent.mkdir()
    place.write_text(text)
    assert begin("a") == (True, place) and kept == []


def test_it_begins_once_in_a_process(kept):
    assert begin("a")[0]
    assert first_touch.begin("a") is None
    assert first_touch._state.place is None  # the programs of two would be mixed up


def test_nothing_begins_without_the_settings(kept, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(malloc, "reaches_threads", lambda: False)
        assert begin("a")[0]  # the main thread, which computes
        patched.setattr(first_touch.threading, "main_thread", lambda: None)
        assert not begin("a")[0]
    monkeypatch.setattr(malloc, "is_kept", lambda: False)
    assert begin("a") == (False, None)
    first_touch.record()  # nothing to write


def test_nothing_is_kept_where_programs_are_not(kept, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/cache")
    assert begin("a") == (True, None)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(first_touch.cache_folder, "user_cache", lambda: None)
    assert begin("a") == (True, None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "cache")
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    assert begin("a") == (True, None)


@pytest.fixture
def device(monkeypatch):
    """The only device of JAX."""
    import jax

    client = types.SimpleNamespace(
        live_executables=lambda: [
            types.SimpleNamespace(
                get_compiled_memory_stats=lambda size=size: types.SimpleNamespace(
                    temp_size_in_bytes=size
                )
            )
            for size in (7, 900, 30)
        ]
    )
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    found = types.SimpleNamespace(client=client)
    monkeypatch.setattr(jax, "local_devices", lambda: [found])
    return found


def test_the_largest_program_is_recorded_once(kept, device):
    _, place = begin("a")
    first_touch.record()
    assert place.read_text() == "900\n"
    place.unlink()
    first_touch.record()
    assert not place.exists()


@pytest.mark.parametrize("change", ["gpu", "devices", "interface", "folder"])
def test_where_nothing_is_recorded(kept, device, monkeypatch, tmp_path, change):
    import jax

    _, place = begin("a")
    if change == "gpu":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    elif change == "devices":
        monkeypatch.setattr(jax, "device_count", lambda: 2)
    elif change == "interface":  # of another release of JAX
        del device.client.live_executables
    else:
        place.parent.write_text("a file in place of the folder")
    first_touch.record()
    assert not place.exists()


@pytest.fixture
def chunks(monkeypatch):
    """Free chunks of 64 and 128 MiB in a list of calls of madvise."""
    calls = []

    def madvise(start, size, advice):
        calls.append((start, size, advice))
        return madvise.status

    madvise.status = 0
    libc = types.SimpleNamespace(madvise=madvise)
    state = malloc._State()
    state.chunks = {64 * MIB: 5 * MIB + 16, 128 * MIB: 1024 * MIB + 16}
    monkeypatch.setattr(malloc, "_state", state)
    monkeypatch.setattr(malloc, "available_memory", lambda: 1024 * MIB)
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda *_, **__: libc)
    return madvise, calls


def test_the_smallest_chunk_that_holds_it_is_touched(chunks):
    _, calls = chunks
    size = 70 * MIB + 100
    assert malloc.touch(size) == f"{size} bytes of memory are touched"
    page = os.sysconf("SC_PAGE_SIZE")
    assert calls[0][0] == 1024 * MIB + page
    ends = [start + length for start, length, _ in calls]
    assert [start for start, *_ in calls[1:]] == ends[:-1]  # without a gap
    assert 1024 * MIB + size - page < ends[-1] <= 1024 * MIB + 16 + size
    assert {advice for *_, advice in calls} == {23}


def test_what_is_not_touched(chunks, monkeypatch):
    _, calls = chunks
    for size in (10 * MIB, 128 * MIB, 1024 * MIB):
        assert malloc.touch(size).startswith("no chunk is touched")
    monkeypatch.setattr(malloc, "available_memory", lambda: 150 * MIB)
    assert malloc.touch(80 * MIB).startswith("too little memory is available")
    assert calls == []


def test_a_kernel_that_cannot_touch(chunks, monkeypatch):
    madvise, calls = chunks
    madvise.status = -1
    monkeypatch.setattr(malloc.ctypes, "get_errno", lambda: errno.EINVAL)
    assert "Invalid argument" in malloc.touch(80 * MIB)
    assert len(calls) == 1


def test_available_memory(tmp_path, monkeypatch):
    file = tmp_path / "meminfo"
    monkeypatch.setattr(malloc, "_MEMINFO", file)
    assert malloc.available_memory() == 0
    file.write_text("MemTotal: 9 kB\nMemAvailable:   3 kB\n")
    assert malloc.available_memory() == 3072
    file.write_text("MemTotal: 9 kB\n")
    assert malloc.available_memory() == 0
