"""What a running process and its children hold, how far it is, and its end by a signal.

Everything is read from outside: memory from /proc, progress from the files that the
process writes. So it works for a process that is killed at any moment.
"""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

POLL = 0.02  # seconds


class Kill(NamedTuple):
    """When a process is killed and how: `delay` seconds after `files` new ones."""

    number: signal.Signals
    files: int
    delay: float


@dataclass
class Seen:
    """One process from its start to its end.

    Attributes:
      status: its exit status, negative for a signal.
      sent: the signal that it got, None for none.
      before, after: progress at its start and its end.
      peak: the most memory that it held with its children, KiB: the sum of VmHWM.
      samples: (progress, KiB resident with its children) while it ran.
      orphans: children that outlived it by ten seconds.
      words: what it wrote.
    """

    status: int = 0
    sent: signal.Signals | None = None
    before: int = 0
    after: int = 0
    peak: int = 0
    samples: list[tuple[int, int]] = field(default_factory=list)
    orphans: int = 0
    words: str = ""


def run(
    command: list[str],
    log: Path,
    progress: Callable[[], int],
    kill: Kill | None = None,
    env: dict[str, str] | None = None,
) -> Seen:
    """Runs a command to its end, or until it is killed.

    Args:
      command: the program and its arguments.
      log: file for what it writes.
      progress: a number that grows with its work.
      kill: None for none.
      env: its environment.
    """
    seen = Seen(before=progress())
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env
        )
        family, reached = {process.pid}, None
        while process.poll() is None:
            family |= children(process.pid)
            now = progress()
            memory = [status(pid) for pid in family]
            seen.samples.append((now, sum(one.get("VmRSS", 0) for one in memory)))
            seen.peak = max(seen.peak, sum(one.get("VmHWM", 0) for one in memory))
            if kill is not None and now - seen.before >= kill.files:
                reached = reached or time.monotonic()
                late = time.monotonic() - reached >= kill.delay
                if late and seen.sent is None:
                    seen.sent = kill.number
                    process.send_signal(kill.number)
            time.sleep(POLL)
    seen.status, seen.after = process.returncode, progress()
    seen.orphans = _outlived(family - {process.pid})
    seen.words = log.read_text(errors="replace")
    return seen


def children(pid: int) -> set[int]:
    """Process ids of all descendants."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = {int(word) for word in task.read_text().split()}
        except OSError:
            continue
        found |= direct
        for one in direct:
            found |= children(one)
    return found


def status(pid: int) -> dict[str, int]:
    """VmRSS and VmHWM of a process in KiB; empty where it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return {name: int(number) for name, number in re.findall(r"(Vm\w+):\s+(\d+)", text)}


def _outlived(pids: set[int], seconds: float = 10) -> int:
    """How many of the processes still run after so long, at most."""
    end = time.monotonic() + seconds
    while pids := {pid for pid in pids if status(pid)}:
        if time.monotonic() > end:
            break
        time.sleep(POLL)
    return len(pids)


def slope(samples: list[tuple[int, int]]) -> tuple[float, float]:
    """Growth of the resident memory over the last three quarters of the work.

    Samples with the last count are left out: they are of what follows the work, as the
    file of a network and its curves, which takes memory once.

    Args:
      samples: (progress, KiB).

    Returns:
      KiB per unit of progress by least squares, and MiB over what was looked at.
    """
    last = max(done for done, _ in samples)
    kept = [(done, kib) for done, kib in samples if last / 4 <= done < last]
    if not kept:
        return 0.0, 0.0
    middle = sum(done for done, _ in kept) / len(kept)
    spread = sum((done - middle) ** 2 for done, _ in kept)
    if not spread:
        return 0.0, 0.0
    each = sum((done - middle) * kib for done, kib in kept) / spread
    return each, each * (last - kept[0][0]) / 1024
