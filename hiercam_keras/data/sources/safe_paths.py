"""Validation of names from tables, archives and data sets that become paths.

Such names may be malicious; a valid name never leads out of its root.
"""

import unicodedata

from hiercam_keras.errors import UserError


def relative(name: str) -> str:
    """The name with single slashes and without "." parts: "a//./b.jpg" is "a/b.jpg".

    Raises:
      UserError: it is empty or absolute, holds "..", backslashes or a drive, or cannot
        be a line of a UTF-8 text file.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or name[1:3] in (":\\", ":/"):
        raise UserError(
            f"{shown(name)} leads out of its folder. Use a path below the root, "
            "without .. and without a slash at its start."
        )
    if "\\" in name:
        raise UserError(f"{shown(name)} has backslashes. Use slashes.")
    if not parts or any(not part.strip() for part in parts):
        raise UserError(f"{shown(name)} is not a path: expected one such as a/b.jpg.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise UserError(
            f"{shown(name)} holds a control character or is not UTF-8. Rename it."
        )
    return "/".join(parts)


def shown(name: str) -> str:
    """The name in quotes, unprintable characters escaped, at most 80 characters."""
    text = ascii(name) if not name.isprintable() else repr(name)
    return text if len(text) <= 80 else f"{text[:76]}...'"
