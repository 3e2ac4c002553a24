"""Memory that a process touches early because an earlier one has used as much.

Settings of malloc hold for a whole process, so tests that need them start one.
"""

import dataclasses
import errno
import itertools
import json
import os
import sys
import types
from importlib import metadata

import own_process
import pytest
from ml_collections import FrozenConfigDict

from hiercam_keras import config_files, first_touch, malloc, trace_cache

GLIBC = sys.platform.startswith("linux") and malloc._is_glibc()
linux = pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
MIB = 2**20

# A program with temporary arrays of 160 MB, as a first step; pages that it touched.
STEP = """
import json, resource
from hiercam_keras import first_touch, malloc

malloc._ROOMY = 0
malloc.machine_memory = lambda: 2**31  # chunks up to 512 MiB
malloc.keep_memory()
thread = first_touch.begin("a step")

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


def process(cache):
    """What a process of STEP found."""
    return own_process.result(STEP, JAX_COMPILATION_CACHE_DIR=str(cache))


@linux
def test_a_later_process_has_touched_the_memory_of_its_first_step(tmp_path):
    first = process(tmp_path)  # compiles nothing that is kept
    (place,) = (tmp_path / "memory").iterdir()
    used = json.loads(place.read_text())
    ((begin, end),) = used[str(256 * MIB)]
    assert begin == 0 and 150 * MIB < end <= 256 * MIB
    again = process(tmp_path)
    assert first["faults"] > 70  # huge pages, or as many thousands of small ones
    assert again["faults"] < first["faults"] / 4
    assert again["peak"] < first["peak"] + 20


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A process with the settings, of which nothing is touched: sizes are noted."""
    touched = []
    monkeypatch.setattr(first_touch, "_state", first_touch._State())
    monkeypatch.setattr(malloc, "is_kept", lambda: True)
    monkeypatch.setattr(malloc, "uses_heap", lambda: True)
    monkeypatch.setattr(malloc, "used", lambda: {64: [(0, 9)]})
    monkeypatch.setattr(malloc, "touch", lambda used: touched.append(used) or "done")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE", raising=False)
    return touched


def begin(*about):
    """A process of its own: the file that it will write."""
    first_touch._state = first_touch._State()
    thread = first_touch.begin(*about)
    if thread is not None:
        thread.join()
    return first_touch._state.place


def test_the_record_is_found_by_the_key(kept, monkeypatch, device):
    about = "a", {"size": 224}
    place = begin(*about)
    assert kept == []
    first_touch.record()
    assert begin(*about) is None and kept == [{64: [(0, 9)]}]
    others = {begin("a", {"size": 225}), begin("b", {"size": 224})}
    for change in (
        lambda patched: patched.setenv("XLA_FLAGS", "--others"),
        lambda patched: patched.setattr(trace_cache, "source", lambda: "edited"),
        lambda patched: patched.setattr(metadata, "version", lambda name: "0"),
    ):
        with monkeypatch.context() as patched:
            change(patched)
            others.add(begin(*about))
    assert len(others - {None, place}) == 5 and len(kept) == 1


@pytest.mark.parametrize(
    "text", ["", "12 GB", "3", "[1]", '{"a": []}', '{"1": 2}', '{"1": [[2]]}']
)
def test_a_damaged_record_is_written_again(kept, device, text):
    place = begin("a")
    first_touch.record()
    whole = place.read_text()
    place.write_text(text)
    assert begin("a") == place and kept == []
    first_touch.record()
    assert place.read_text() == whole


def test_it_begins_once_in_a_process(kept):
    assert begin("a")
    assert first_touch.begin("a") is None
    assert first_touch._state.place is None  # two trainings would be mixed up


def test_a_heap_that_was_used_before_is_not_recorded(kept, monkeypatch):
    monkeypatch.setattr(malloc, "used", lambda: {64: [(5, 2**30)]})
    assert begin("a") is None


def test_nothing_begins_without_the_settings(kept, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(malloc, "uses_heap", lambda: False)
        assert begin("a") is None
    monkeypatch.setattr(malloc, "is_kept", lambda: False)
    assert begin("a") is None
    first_touch.record()  # nothing to write


def test_nothing_is_kept_where_programs_are_not(kept, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/cache")
    assert begin("a") is None
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(first_touch.cache_folder, "user_cache", lambda: None)
    assert begin("a") is None
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "cache")
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    assert begin("a") is None


@pytest.fixture
def device(monkeypatch):
    """The only device of JAX."""
    import jax

    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")


def test_it_is_recorded_once(kept, device):
    place = begin("a")
    first_touch.record()
    assert json.loads(place.read_text()) == {"64": [[0, 9]]}
    place.unlink()
    first_touch.record()
    assert not place.exists()


@pytest.mark.parametrize("change", ["gpu", "devices", "compiled", "traced", "folder"])
def test_where_nothing_is_recorded(kept, device, monkeypatch, tmp_path, change):
    import jax

    place = begin("a")
    if change == "gpu":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    elif change == "devices":
        monkeypatch.setattr(jax, "device_count", lambda: 2)
    elif change == "compiled":
        (tmp_path / "jit_step-0a1b-cache").touch()
    elif change == "traced":
        (tmp_path / "traced").mkdir()
        (tmp_path / "traced" / "0a1b.program").touch()
    else:
        place.parent.write_text("a file in place of the folder")
    first_touch.record()
    assert not place.exists()


@pytest.fixture
def chunks(monkeypatch):
    """Chunks of 64 and 128 MiB, and the calls of madvise."""
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


def test_parts_of_chunks_are_touched(chunks):
    _, calls = chunks
    page = os.sysconf("SC_PAGE_SIZE")
    parts = {128 * MIB: [(0, 10 * MIB), (20 * MIB, 21 * MIB)], 64 * MIB: [(0, page)]}
    found = malloc.touch({**parts, 256 * MIB: [(0, MIB)]})
    assert found == f"{12 * MIB + page} bytes of memory are touched"
    assert calls[0] == (5 * MIB + page, page, 23)
    start = 1024 * MIB + page
    assert calls[-1] == (start + 20 * MIB, MIB, 23)
    pieces = [(at, at + length) for at, length, _ in calls[1:-1]]
    assert pieces[0][0] == start and pieces[-1][1] == start + 10 * MIB
    assert all(one[1] == two[0] for one, two in itertools.pairwise(pieces))


def test_runs_of_pages_that_are_present():
    for text, expected in (
        (b"", []),
        (b"\0\0", []),
        (b"\1\1", [(0, 2)]),
        (b"\0\1\1\0\0\1", [(1, 3), (5, 6)]),
        (b"\1\0\1\0", [(0, 1), (2, 3)]),
    ):
        assert list(malloc._runs(text)) == expected


def test_no_page_outside_of_a_chunk_is_touched(chunks):
    _, calls = chunks
    malloc.touch({64 * MIB: [(0, 512 * MIB)]})
    start, length, _ = calls[-1]
    page = os.sysconf("SC_PAGE_SIZE")
    assert 69 * MIB - page <= start + length <= 69 * MIB + 16


def test_memory_that_others_need_is_left(chunks, monkeypatch):
    _, calls = chunks
    monkeypatch.setattr(malloc, "available_memory", lambda: 150 * MIB)
    assert malloc.touch({128 * MIB: [(0, 80 * MIB)]}).startswith("too little memory")
    assert calls == []


def test_a_kernel_that_cannot_touch(chunks, monkeypatch):
    madvise, calls = chunks
    madvise.status = -1
    monkeypatch.setattr(malloc.ctypes, "get_errno", lambda: errno.EINVAL)
    assert "Invalid argument" in malloc.touch({128 * MIB: [(0, 80 * MIB)]})
    assert len(calls) == 1


def test_available_memory(tmp_path, monkeypatch):
    file = tmp_path / "meminfo"
    monkeypatch.setattr(malloc, "_MEMINFO", file)
    assert malloc.available_memory() == 0
    file.write_text("MemTotal: 9 kB\nMemAvailable:   3 kB\n")
    assert malloc.available_memory() == 3072
    file.write_text("MemTotal: 9 kB\n")
    assert malloc.available_memory() == 0


@pytest.fixture
def begun(monkeypatch):
    """What `begin` was called with."""
    calls = []
    monkeypatch.setattr(first_touch, "begin", lambda *about: calls.append(about))
    return calls


def test_a_training_begins_with_its_config(begun, monkeypatch):
    from hiercam_keras import api, cli
    from hiercam_keras.modes.settings import Settings

    config = config_files.load("synthetic_birds")
    monkeypatch.setattr(api.train_mode, "train", lambda settings: (None, ""))
    monkeypatch.setattr(api, "Run", lambda folder: folder)
    api.train(config, "family", data_dir="birds")
    settings = Settings("train", FrozenConfigDict(config), data_dir="birds")
    monkeypatch.setattr(cli, "FLAGS", types.SimpleNamespace(multihost=True))
    cli._begin_training(settings)
    cli.FLAGS.multihost = False
    cli._begin_training(settings)
    cli._begin_training(dataclasses.replace(settings, mode="eval"))
    first, second = begun
    assert first == second == settings.of_training()
    config.train.epochs += 1
    other = dataclasses.replace(settings, config=FrozenConfigDict(config))
    found = [trace_cache.digest(one.of_training()) for one in (settings, other)]
    assert found[0] != found[1]


def test_the_first_step_of_a_training_is_recorded(monkeypatch, tmp_path):
    from hiercam_keras.training import fit

    calls = []
    monkeypatch.setattr(first_touch, "record", lambda: calls.append(1))
    options = types.SimpleNamespace(epochs=1, tensorboard=False)
    config = types.SimpleNamespace(seed=0, train=options)
    saving = types.SimpleNamespace(watch=None, end=None, check_stop=None, rows=[])
    every = fit._callbacks(config, saving, None, ("species",), [], tmp_path)
    (found,) = (one for one in every if isinstance(one, fit.callbacks.FirstStep))
    assert found.async_safe  # Keras would turn the figures into numbers at every step
    found.on_train_batch_end(0, {})
    assert calls
