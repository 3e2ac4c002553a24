"""Disks that are really full, and runs in processes of their own."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_birds


class SmallDisk:
    """A file system of 4 MB, as root; else files that may not grow."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True)
        self.mounted = done.returncode == 0
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, left: int) -> None:
        """Leaves about so many bytes."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (left, self._limits[1]))
            return
        status = os.statvfs(self.path)
        size = status.f_bavail * status.f_frsize - left
        # What is being written beside it may take the room first.
        with contextlib.suppress(OSError):
            (self.path / "ballast").write_bytes(bytes(max(0, size)))

    def free(self) -> None:
        """Makes room again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        (self.path / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        self.free()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.close()


@pytest.fixture(scope="session")
def birds(tmp_path_factory) -> Path:
    """Folder of eighty drawn birds; the first training draws them."""
    tiny_birds.register()
    return tmp_path_factory.mktemp("birds") / "mini"


@pytest.fixture(scope="session")
def start():
    """Starts main.py with the tiny network in a process of its own."""

    def start(*flags: str, hook: str = "", env: dict | None = None, **options):
        return subprocess.Popen(
            [sys.executable, "-c", tiny_birds.program(hook), *flags],
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            **options,
        )

    return start
