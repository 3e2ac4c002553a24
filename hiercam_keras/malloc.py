"""Settings of glibc's malloc that make JAX fast on a CPU. Standard library only.

XLA on a CPU allocates the temporary arrays of a program as one piece at each call and
frees it afterwards: 1.03 GiB for a train step of EfficientNetB0 at 224 px, batch 16.
By default malloc maps and unmaps a piece of this size, so the kernel clears all its
pages at every step. `keep_memory` makes malloc keep freed memory instead, in a heap
that does not fragment:

- M_MMAP_MAX = 0: large pieces come from the heap.
- M_TRIM_THRESHOLD = -1: `free` returns nothing to the kernel.
- `_shape_heap`: free chunks of 64 MiB, 128 MiB and so on, on huge pages.

This is the heap of the main thread. Other threads have arenas of their own, with at
most 64 MiB in one piece (glibc maps what is larger in spite of M_MMAP_MAX): what a
compiler leaves there does not fragment the heap. `second_thread` uses the heap.

docs/PERFORMANCE.md has measurements; `runtime.fast_memory` is for library users.
"""

import concurrent.futures
import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# malloc.h and sys/mman.h of Linux
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 14, 23

_ROOMY = 20 * 10**9  # bytes of memory from which on freed memory is kept
_SMALLEST = 64 * 2**20  # bytes of the smallest free chunk of the shaped heap
_PIN = 2**20  # bytes of an allocated chunk between two free ones
_MOST_ARENAS = 16  # from then on new threads share arenas in turns, the heap's too
_MOST_THREADS = 64  # that are started in search of one that uses the heap
_NOT_MAIN = 4  # flag in the size field of a chunk of another arena (malloc.c)
_BEYOND_CACHE = 4000  # bytes that malloc does not take from a cache of the thread
_PIECE = 4 * 2**20  # bytes that are touched at once, see `touch`
_LEAST = 2**20  # bytes of a part that `used` reports

_MEMINFO = Path("/proc/meminfo")
_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_STRICT = "2"  # every page counts, whether used or not
# Groups of processes whose memory is limited, as of a container or a job of a cluster:
# by the controllers of a line in the first file, a folder and a file in it and below.
_MEMBER = Path("/proc/self/cgroup")
_LIMITS = {
    "": (Path("/sys/fs/cgroup"), "memory.max"),
    "memory": (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
}
# Prefixes of variables by which a user sets malloc.
_VARIABLES = ("GLIBC_TUNABLES", "MALLOC_")


class _State:
    """What `keep_memory` did in this process; a singleton.

    Attributes:
      said: its sentence; None where no settings were made.
      second: see `second_thread`; None where there is none; False before it is known.
      chunks: addresses of the free chunks of the heap, by their sizes in bytes.
    """

    def __init__(self):
        self.said: str | None = None
        self.second: concurrent.futures.Executor | None | bool = False
        self.chunks: dict[int, int] = {}


_state = _State()


def keep_memory(huge_pages: bool = True) -> str:
    """Makes the settings, for the whole process; later calls change nothing.

    The heap is that of the main thread, which has to call it. Nothing is changed
    without glibc (macOS, Windows, musl), under another allocator, with less than 20 GB
    of memory, and where GLIBC_TUNABLES or a variable MALLOC_... is set.

    Args:
      huge_pages: whether to ask the kernel for huge pages.

    Returns:
      A sentence that says what was done, or why nothing was done.
    """
    if _state.said is None:
        if reason := obstacle():
            return f"malloc is unchanged: {reason}."
        _state.said = _apply(huge_pages)
    return _state.said


def is_kept() -> bool:
    """Whether `keep_memory` made its settings in this process."""
    return _state.said is not None


def second_thread() -> concurrent.futures.Executor | None:
    """One thread for all calls that has memory as fast as that of the main thread.

    Where memory is kept it uses the heap of the main thread. glibc gives new threads
    arenas of their own up to a limit, and further ones an arena in turns, from that of
    the main thread on.

    Returns:
      An executor; None where no thread uses the heap.
    """
    if _state.second is False:
        _state.second = _thread_of_heap() if is_kept() else _thread()
    return _state.second


def _thread() -> concurrent.futures.Executor:
    return concurrent.futures.ThreadPoolExecutor(1, "second")


def _thread_of_heap() -> concurrent.futures.Executor | None:
    """Starts threads until one uses the heap; the others end.

    They wait for it, since the arena of a thread that ends is given to the next one.
    """
    tried, found = [], None
    while found is None and len(tried) < _MOST_THREADS:
        tried.append(_thread())
        if tried[-1].submit(uses_heap).result():
            found = tried.pop()
    for one in tried:
        one.shutdown()
    return found


def uses_heap() -> bool:
    """Whether the memory of the calling thread is the heap of the main thread."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    chunk = libc.malloc(_BEYOND_CACHE)
    size = ctypes.c_size_t.from_address(chunk - ctypes.sizeof(ctypes.c_size_t)).value
    libc.free(chunk)
    return not size & _NOT_MAIN


def complete(arrays: Any) -> Any:
    """Copies arrays to a CPU's only device and waits for it, if malloc keeps memory.

    JAX then computes in the calling thread, with one piece of memory for all calls
    (docs/PERFORMANCE.md), but only if all arguments are complete. The copy of a NumPy
    array above 100 KB, which a call makes, is made in another thread.

    Args:
      arrays: arguments of a jitted function, in any nesting.

    Returns:
      The same as arrays of JAX; `arrays` itself where JAX uses other threads.
    """
    if not is_kept():
        return arrays
    import jax

    if jax.default_backend() != "cpu":
        return arrays
    if jax.device_count() > 1:
        return arrays
    return jax.block_until_ready(jax.device_put(arrays))


# Parts of the chunks of the shaped heap, by the chunks' sizes: pairs of begin and end,
# in bytes from the first page of a chunk.
Parts = Mapping[int, Sequence[Sequence[int]]]


def used() -> Parts:
    """The parts that were touched, of at least 1 MiB; `mincore` says which."""
    libc = ctypes.CDLL(None)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    found = {}
    page = _page()
    for size in _state.chunks:
        start, end = _pages(size)
        present = ctypes.create_string_buffer((end - start) // page)
        if libc.mincore(start, end - start, present):
            continue
        parts = [(first * page, last * page) for first, last in _runs(present.raw)]
        parts = [(first, last) for first, last in parts if last - first >= _LEAST]
        if parts:
            found[size] = parts
    return found


def _runs(present: bytes) -> Iterator[tuple[int, int]]:
    """Begins and ends of runs of ones, of what mincore writes; the rest are zeros."""
    last = 0
    while (first := present.find(1, last)) >= 0:
        last = present.find(0, first)
        last = len(present) if last < 0 else last
        yield first, last


def size_of(parts: Parts) -> int:
    """Bytes in parts."""
    return sum(last - first for some in parts.values() for first, last in some)


def touch(parts: Parts) -> str:
    """Touches parts of the shaped heap, those of small chunks first.

    Pages become present and keep their content, so any thread may call this at any
    time. It takes no more than half of the memory that is available, and stops where
    the kernel cannot do it (Linux before 5.14).

    While the kernel works on a piece of memory, other threads wait for it in `mmap`: so
    the pieces are small.

    Args:
      parts: as of `used`.

    Returns:
      A sentence that says what was done.
    """
    total = size_of(parts)
    if total > available_memory() // 2:
        return f"too little memory is available to touch {total} bytes"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for size in sorted(_state.chunks.keys() & parts.keys()):
        start, end = _pages(size)
        for first, last in parts[size]:
            last = min(start + last, end)
            for at in range(start + first, last, _PIECE):
                if libc.madvise(at, min(_PIECE, last - at), _MADV_POPULATE_WRITE):
                    return f"memory is not touched: {os.strerror(ctypes.get_errno())}"
    return f"{total} bytes of memory are touched"


def _pages(size: int) -> tuple[int, int]:
    """Begin and end of the whole pages of the chunk of `size` bytes."""
    chunk, page = _state.chunks[size], _page()
    return -(-chunk // page) * page, (chunk + size) // page * page


def _page() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def available_memory() -> int:
    """Memory in bytes that Linux can give without swapping; 0 where it is not known."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        (line,) = (one for one in lines if one.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return 0


def obstacle() -> str | None:
    """Why the settings do not apply here, or None."""
    if not sys.platform.startswith("linux") or not _is_glibc():
        return "this process does not use the malloc of glibc"
    for name in sorted(os.environ):
        if name.startswith(_VARIABLES):
            return f"the environment variable {name} has settings of its own"
    if _first_word(_OVERCOMMIT) == _STRICT:
        return "the kernel reserves memory that is not used yet (vm.overcommit_memory)"
    memory = machine_memory()
    if memory < _ROOMY:
        return (
            f"freed memory is kept from {_ROOMY / 1e9:.0f} GB of memory on, and there "
            f"are {memory / 1e9:.1f} GB"
        )
    return None


def _is_glibc() -> bool:
    """Whether malloc is glibc's, and not that of a preloaded library."""
    try:
        used, glibc = ctypes.CDLL(None), ctypes.CDLL("libc.so.6")
        functions = [ctypes.cast(one.malloc, ctypes.c_void_p) for one in (used, glibc)]
        return hasattr(glibc, "gnu_get_libc_version") and (
            functions[0].value == functions[1].value
        )
    except (OSError, AttributeError):
        return False


def machine_memory() -> int:
    """Memory in bytes of the machine, or the lowest limit of this process if lower.

    Limits are those of its container, of its job, and of `ulimit` (-v, -d).
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    words = map(_first_word, _limits())
    found += [int(word) for word in words if word.isdigit()]  # others: none, or "max"
    try:
        import resource
    except ImportError:  # Windows
        return min(found)
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    return min(found)


def _limits() -> Iterator[Path]:
    """Files with the limits of the groups that this process is in, of all levels."""
    for folder, name in _LIMITS.values():
        yield folder / name  # in a container, the group of the container
    try:
        lines = _MEMBER.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in _LIMITS:
                folder, name = _LIMITS[controller]
                group = folder / place.lstrip("/")
                yield from (
                    level / name
                    for level in (group, *group.parents)
                    if level.is_relative_to(folder)
                )


def _first_word(path: Path) -> str:
    """Of a file of the kernel; "" where there is none."""
    try:
        return (path.read_text().split() or [""])[0]
    except OSError:
        return ""


def _apply(huge_pages: bool) -> str:
    """Makes the settings; returns what they are in a sentence."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    libc.mallopt(_M_ARENA_MAX, _MOST_ARENAS)
    huge = _shape_heap(machine_memory() // 4, huge_pages)
    return "malloc keeps freed memory" + (", on huge pages." if huge else ".")


def _shape_heap(largest: int, huge_pages: bool) -> bool:
    """Adds free chunks of 64 MiB, 128 MiB and so on up to `largest` bytes to the heap.

    malloc serves a request from the smallest free chunk that holds it. In a heap with
    one large free chunk a small array that outlives a step splits the chunk that the
    step's temporary arrays left, and the next step takes new memory, three times or
    more. Here small arrays use the small chunks, and a large piece gets the same
    place at every step. An allocated chunk between each two keeps `free` from merging
    them. Pages of the chunks take no memory until they are used.

    Returns:
      Whether the chunks are on huge pages.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    huge = huge_pages and _has_huge_pages()
    chunks = _state.chunks
    size = _SMALLEST
    while size <= largest:
        chunk = libc.malloc(size)
        if chunk is None:  # a limit on the address space, as of `ulimit -v`
            break
        chunks[size] = chunk
        libc.malloc(_PIN)
        if huge:
            start, end = _pages(size)
            huge = libc.madvise(start, end - start, _MADV_HUGEPAGE) == 0
        size *= 2
    for chunk in chunks.values():
        libc.free(chunk)
    return huge and bool(chunks)


def _has_huge_pages() -> bool:
    try:
        return "[never]" not in _THP.read_text()
    except OSError:
        return False
