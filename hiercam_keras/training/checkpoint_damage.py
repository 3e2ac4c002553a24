"""Distinguishes damaged checkpoints from temporary errors of disk or network."""

import errno
import os
import zlib
from pathlib import Path

# Exceptions of parsers and of our checksum. TensorStore also raises ValueErrors for
# errors of the disk or the network, which have one of these texts.
_PARSING = (ValueError, KeyError, TypeError, EOFError, zlib.error, FileNotFoundError)
_OUT_OF_REACH = (
    "DEADLINE_EXCEEDED",
    "Input/output error",
    "PERMISSION_DENIED",
    "Permission denied",
    "RESOURCE_EXHAUSTED",
    "Stale file handle",
    "Too many open files",
    "UNAVAILABLE",
    "timed out",
)


def is_damage(error: Exception) -> bool:
    """Whether an error at reading means that the content is damaged.

    Other errors may be temporary, such as an unreachable server or too many open files.
    """
    words = str(error)
    return isinstance(error, _PARSING) and not any(x in words for x in _OUT_OF_REACH)


def set_aside(path: Path) -> Path:
    """Renames a folder to <name>.damaged, or .damaged-2 and so on if that exists."""
    number, target = 1, path.with_name(f"{path.name}.damaged")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.damaged-{number}")
    os.replace(path, target)
    return target


def first_line(error: Exception) -> str:
    """The error in at most 200 characters of one line."""
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(code) in str(error):  # TensorStore appends it at the end
            return os.strerror(code)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")
