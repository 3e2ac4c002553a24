"""Benchmarks: what machine this is, in words that others can compare with."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def describe() -> dict[str, Any]:
    """Processor, cores, caches, memory, huge pages, load, accelerators."""
    found = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory() / 2**30, 1),
        "transparent_huge_pages": _THP.read_text().strip() if _THP.is_file() else "?",
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
    }
    gpus = _gpus()
    return {**found, "gpus": gpus} if gpus else found


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo")
    if not lines.is_file():
        return platform.processor()
    fields = dict(
        map(str.strip, line.split(":", 1))
        for line in lines.read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    name = fields.get("model name", platform.processor())
    flags = fields.get("flags", "").split()
    kinds = [
        kind for kind in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if kind in flags
    ]
    numbers = f"family {fields.get('cpu family')}, model {fields.get('model')}"
    return f"{name} ({numbers}, {', '.join(kinds)})"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[str]:
    ask = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return told.stdout.split("\n")[:-1] if told.returncode == 0 else []
