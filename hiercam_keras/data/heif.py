"""HEIC and HEIF photographs, as phones take them, through the package pillow-heif.

The package is an extra and no requirement, as its wheels hold x265, which is under the
GPL. It turns the pixels as the file says and reports an EXIF orientation of 1, so that
nothing turns them a second time.
"""

import functools

MISSING = 'a HEIC file, which needs the package pillow-heif: pip install ".[heif]"'
# Brands of ISO/IEC 23008-12 for images that HEVC codes, and for structures of any code.
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_ANY = {b"mif1", b"mif2", b"msf1"}
HEAD = 64  # bytes that `is_heif` looks at


def is_heif(head: bytes) -> bool:
    """Whether a file with these first bytes is HEIF, for any file name; AVIF is not."""
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    return bool(brands & _HEVC) or bool(brands & _ANY and not brands & {b"avif"})


@functools.cache
def register() -> bool:
    """Teaches Pillow to open HEIF files, once; False where the package is missing."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True
