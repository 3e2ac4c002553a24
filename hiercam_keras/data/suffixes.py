"""Names of files that are images, and of those that are photographs but not read."""

import os
from collections.abc import Mapping

IMAGES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
)
# What cameras record before they make an image of it; each maker has its own form.
RAW = (
    ".3fr",
    ".arw",
    ".cr2",
    ".cr3",
    ".crw",
    ".dng",
    ".erf",
    ".kdc",
    ".mef",
    ".mos",
    ".mrw",
    ".nef",
    ".nrw",
    ".orf",
    ".pef",
    ".raf",
    ".raw",
    ".rw2",
    ".rwl",
    ".sr2",
    ".srf",
    ".srw",
    ".x3f",
)


_RAW = " (raw photographs are not read: export them as JPEG)"


def raw_kind(name: str) -> str:
    """What a raw photograph is counted as, by its suffix; "" for any other file."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix + _RAW if suffix in RAW else ""


def raw_counts(counted: Mapping[str, int]) -> str:
    """`3 .nef (raw photographs ..)`, of counts by kind; "" where there are none."""
    kinds = [f"{n} {kind}" for kind, n in sorted(counted.items()) if _RAW in kind]
    return ", ".join(kinds)
