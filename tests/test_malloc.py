"""Settings of malloc: what they do in a process, and where they are left alone.

Settings hold for a whole process, so each test that makes them starts one.
"""

import os
import subprocess
import sys
import threading

import own_process
import pytest

import hiercam_keras as hc
from hiercam_keras import malloc
from hiercam_keras.errors import UserError

GLIBC = sys.platform.startswith("linux") and malloc._is_glibc()
linux = pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
MIB = 2**20

# Arrays that are made and dropped at each step, as XLA does: a large one, and small
# ones during its life of which some are kept; and the memory that is used for it.
STEPS = """
import ctypes, json, os, resource, sys, threading
import hiercam_keras as hc
from hiercam_keras import malloc

MIB = 2**20
malloc._ROOMY = 0
malloc.machine_memory = lambda: 2**31  # chunks up to 512 MiB
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def touch(size):
    at = libc.malloc(size)
    ctypes.memset(at, 1, size)
    return at

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def steps(found):
    kept = []
    before = resident()
    for step in range(12):
        now = faults()
        large = touch(80 * MIB)
        kept.append(touch(MIB))
        if len(kept) > 4:
            libc.free(kept.pop(0))
        libc.free(large)
        found["faults"].append(faults() - now)
    found["grown"] = (resident() - before) / MIB

where = "second"
# Threads of a notebook.
said = SETTINGS
found = {"said": said, "faults": []}
if where == "main":
    steps(found)
else:
    malloc.second_thread().submit(steps, found).result()
found["heap"] = malloc.second_thread().submit(malloc.uses_heap).result()
found["threads"] = threading.active_count()
print(json.dumps(found))
"""


@linux
@pytest.mark.parametrize("where", ["main", "second"])
@pytest.mark.parametrize("others", [0, 3, 40])
def test_large_arrays_get_the_same_memory_at_every_step(where, others):
    """In the main thread and in the second one, alone and in a notebook."""
    code = STEPS.replace("SETTINGS", "hc.fast_memory()").replace(
        'where = "second"', f"where = {where!r}"
    )
    notebook = NOTEBOOK.replace("range(3)", f"range({others})")
    found = own_process.result(code.replace("# Threads of a notebook.", notebook))
    assert found["said"].startswith("malloc keeps freed memory")
    assert found["heap"]
    assert found["threads"] == others + 2  # those that were tried have ended
    assert max(found["faults"][6:]) < 100  # of 20,480 pages of the large array
    assert found["grown"] < 100  # MiB, not twice the large array


@linux
def test_importing_the_library_sets_nothing():
    found = own_process.result(STEPS.replace("SETTINGS", "hc.UserError.__name__"))
    assert min(found["faults"][1:]) > 30  # huge pages or small ones, at every step


OTHERS = """
import threading
ready = threading.Barrier(5)
found["others"] = []
def other():
    found["others"].append(malloc.uses_heap())
    ready.wait()
for _ in range(4):
    threading.Thread(target=other).start()
ready.wait()
print(json.dumps(found))
"""


@linux
def test_other_threads_leave_the_heap_alone():
    """As those of compilers, which would fragment it."""
    code = STEPS.replace("SETTINGS", "hc.fast_memory()")
    code = code.replace("malloc.second_thread().submit(steps, found).result()", "pass")
    code = code[: code.index('found["heap"]')] + OTHERS
    assert own_process.result(code)["others"] == [False] * 4


SEARCH = """
import json, threading
from hiercam_keras import malloc
malloc.uses_heap = lambda: False
found = malloc._thread_of_heap()
print(json.dumps([found is None, threading.active_count()]))
"""


@linux
def test_no_thread_is_better_than_one_with_slow_memory():
    assert own_process.result(SEARCH) == [True, 1]


NOTEBOOK = """
import threading
stop = threading.Event()
def busy():
    kept = [bytes(600 + n) for n in range(50)]
    stop.wait()
for _ in range(3):
    threading.Thread(target=busy, daemon=True).start()
"""


CALLS = """
import numpy as np
import jax, jax.numpy as jnp
from hiercam_keras import malloc

@jax.jit
def large(images):  # temporary arrays of 256 MB
    whole = jnp.sin(jnp.broadcast_to(images.mean(), (32_000_000,)))
    return jax.lax.optimization_barrier(jax.lax.optimization_barrier(whole) * 2).sum()

found["calls"] = []
for _ in range(6):
    now = faults()
    images = np.ones((300, 300, 3), np.float32)
    large(malloc.complete(images)).block_until_ready()
    found["calls"].append(faults() - now)
print(json.dumps(found))
"""


@linux
def test_a_process_with_threads_uses_the_main_thread():
    """As in a notebook: JAX computes in it, with arrays that are complete."""
    code = STEPS.replace("SETTINGS", "hc.fast_memory()").replace(
        "# Threads of a notebook.", NOTEBOOK
    )
    found = own_process.result(code + CALLS)
    assert max(found["faults"][6:]) < 100
    assert max(found["calls"][3:]) < 100


LATE = """
import json, os
import jax.numpy as jnp
import hiercam_keras as hc
from hiercam_keras import malloc
malloc._ROOMY = 0
jnp.zeros(2).block_until_ready()
try:
    hc.fast_memory()
except hc.UserError as error:
    print(json.dumps([str(error), malloc._state.said]))
"""


@linux
def test_it_refuses_after_jax_has_started():
    message, said = own_process.result(LATE)
    assert "after JAX had started its threads" in message and said is None


@pytest.fixture
def unset(monkeypatch):
    """A process in which nothing was set; `_apply` is recorded and sets nothing."""
    applied = []
    monkeypatch.setattr(malloc, "_state", malloc._State())
    monkeypatch.setattr(malloc, "_apply", lambda huge: applied.append(huge) or "done.")
    monkeypatch.setattr(malloc, "_is_glibc", lambda: True)
    monkeypatch.setattr(malloc, "machine_memory", lambda: 64 * 10**9)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in [n for n in os.environ if n.startswith(malloc._VARIABLES)]:
        monkeypatch.delenv(name)
    return applied


def test_it_is_done_once(unset):
    assert malloc.keep_memory() == malloc.keep_memory() == "done."
    assert unset == [True]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("platform", "darwin", "does not use the malloc of glibc"),
        ("libc", False, "does not use the malloc of glibc"),
        ("MALLOC_ARENA_MAX", "2", "MALLOC_ARENA_MAX has settings of its own"),
        ("GLIBC_TUNABLES", "", "GLIBC_TUNABLES has settings of its own"),
        ("memory", 16 * 10**9, "from 20 GB of memory on, and there are 16.0 GB"),
    ],
)
def test_where_it_changes_nothing_it_says_why(unset, monkeypatch, name, value, why):
    if name == "platform":
        monkeypatch.setattr(sys, "platform", value)
    elif name == "libc":
        monkeypatch.setattr(malloc, "_is_glibc", lambda: value)
    elif name == "memory":
        monkeypatch.setattr(malloc, "machine_memory", lambda: value)
    else:
        monkeypatch.setenv(name, value)
    said = hc.fast_memory()
    assert said.startswith("malloc is unchanged: ") and why in said
    assert unset == []


def test_a_container_limits_the_memory(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limits = {"": (tmp_path, "memory.max"), "memory": (tmp_path / "v1", "limit")}
    monkeypatch.setattr(malloc, "_LIMITS", limits)
    limit.write_text("max\n")
    whole = malloc.machine_memory()
    limit.write_text(f"{whole // 2}\n")
    assert malloc.machine_memory() == whole // 2


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        ("0::/system.slice/job_7/step\n", "system.slice/job_7/memory.max"),
        ("3:cpu:/\n7:memory:/slurm/job_7\n0::/\n", "v1/slurm/limit"),
    ],
)
def test_a_job_of_a_cluster_limits_the_memory(tmp_path, monkeypatch, lines, file):
    (tmp_path / "cgroup").write_text(lines)
    monkeypatch.setattr(malloc, "_MEMBER", tmp_path / "cgroup")
    limits = {"": (tmp_path, "memory.max"), "memory": (tmp_path / "v1", "limit")}
    monkeypatch.setattr(malloc, "_LIMITS", limits)
    whole = malloc.machine_memory()
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{whole // 3}\n")
    assert malloc.machine_memory() == whole // 3


@linux
def test_ulimit_limits_the_memory():
    code = "from hiercam_keras import malloc; print(malloc.machine_memory())"
    ran = subprocess.run(
        ["bash", "-c", f"ulimit -v 4000000; exec {sys.executable} -c '{code}'"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stdout) == 4000000 * 1024


def test_memory_that_is_reserved_at_once_is_left_alone(tmp_path, monkeypatch):
    place = tmp_path / "overcommit_memory"
    monkeypatch.setattr(malloc, "_OVERCOMMIT", place)
    place.write_text("2\n")
    assert "vm.overcommit_memory" in malloc.obstacle()
    place.write_text("0\n")
    assert "overcommit" not in (malloc.obstacle() or "")


def test_another_thread_cannot_make_the_settings(unset):
    found = []

    def call():
        try:
            hc.fast_memory()
        except UserError as error:
            found.append(str(error))

    # JAX has started in the process of the tests: that is another refusal.
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "jax._src.xla_bridge", raising=False)
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert "called in a thread" in found[0]
    assert unset == []


@linux
def test_another_allocator_is_noticed(monkeypatch):
    import ctypes

    whole = ctypes.CDLL

    class Other:
        malloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(lambda size: None)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: whole(name) if name else Other)
    assert not malloc._is_glibc()


def test_without_glibc_s_library(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert not malloc._is_glibc()
