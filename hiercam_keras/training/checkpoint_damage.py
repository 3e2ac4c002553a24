"""A checkpoint that cannot be read: damaged for good, or only out of reach for now?"""

import errno
import os
import zlib
from pathlib import Path

# What parsers and our own check of the sum raise. TensorStore raises ValueErrors for
# all there is, trouble of the disk or the network too.
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
    """Whether an error of reading says that the content is wrong.

    All else may pass, as an unreachable server or a lack of file handles does.
    """
    words = str(error)
    return isinstance(error, _PARSING) and not any(x in words for x in _OUT_OF_REACH)


def set_aside(path: Path) -> Path:
    """Renames a folder to <name>.damaged, or .damaged-2 and on where that is taken."""
    number, target = 1, path.with_name(f"{path.name}.damaged")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.damaged-{number}")
    os.replace(path, target)
    return target


def first_line(error: Exception) -> str:
    """The error in at most 200 characters of one line."""
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(code) in str(error):  # TensorStore puts it at the far end
            return os.strerror(code)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")
