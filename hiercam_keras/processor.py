"""The processor of this machine: its cores, and what it can do with bfloat16."""

import functools
import importlib.metadata
import os
import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def features() -> frozenset[str]:
    """Vendor and feature flags of the first core, as Linux names them; else empty."""
    if platform.system() != "Linux" or not _CPUINFO.is_file():
        return frozenset()
    found: set[str] = set()
    for line in _CPUINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features", "vendor_id"):
            found |= set(value.split())
        if found and not line.strip():
            break  # the other cores have the same
    return frozenset(found)


def has_bfloat16(found: frozenset[str] | None = None) -> bool:
    """Whether the processor has instructions for bfloat16 (AVX512-BF16, AMX, Arm's)."""
    found = features() if found is None else found
    return not found.isdisjoint({"avx512_bf16", "avx_bf16", "amx_bf16", "bf16"})


# XLA multiplies bfloat16 by AMX from this jaxlib on; before it by vdpbf16ps.
_AMX_JAXLIB = (0, 11, 2)


def multiplies_bfloat16_fast(
    found: frozenset[str] | None = None, jaxlib: str | None = None
) -> bool:
    """Whether products of bfloat16 factors may be faster than those of float32.

    Not on Intel's processors without AMX: vdpbf16ps has half of the FLOP/s of a float32
    vfmadd there, 88 against 174 GFLOP/s on one core of a Xeon of 2023 (family 6, model
    207). With AMX they are three to four times as fast (benchmarks.bfloat16).

    Args:
      found: `features`; None: those of this processor.
      jaxlib: version of jaxlib; None: the installed one.
    """
    found = features() if found is None else found
    if "GenuineIntel" not in found:
        return has_bfloat16(found)
    version = jaxlib or importlib.metadata.version("jaxlib")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    return "amx_bf16" in found and numbers >= _AMX_JAXLIB
