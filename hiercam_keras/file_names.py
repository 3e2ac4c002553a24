"""Derives file names from names in the data: photographs, taxa, ranks, data sets.

All functions are pure, so a file keeps its name when images are added. A text that is a
valid file name is unchanged. Any other text becomes a readable name with a mark: `~`
and 12 hexadecimal digits of the text's SHA-256. `Crows/Jays` becomes
`Crows-Jays~4413f4320f86`.

Different texts have different names, except for a collision of 48 bits. A name has no
mark only if the text can be recovered from it, so unmarked names differ. A text that
looks like a marked name gets a mark.

Letter case is preserved. Texts that differ only in case have different names, but refer
to one file on a case-insensitive file system.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

# Longest name with its suffix, in bytes of UTF-8. Most file systems allow 255; the rest
# is reserved for temporary names and for text that users append.
MAX_BYTES = 200

_MARK = re.compile(r"~[0-9a-f]{12}\Z")
_MARK_BYTES = 13
_RESERVED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\.|\Z)", re.IGNORECASE)
# Of an image, or of the n-th animal in one: x.jpg#2.
_IMAGE = re.compile(
    r"\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif)(#\d+)?\Z", re.IGNORECASE
)


def file_name(text: str, suffix: str = "") -> str:
    """Name of a file or folder for any text.

    Args:
      text: to name it after; slashes are replaced.
      suffix: of the file, with its dot.

    Returns:
      At most `MAX_BYTES` bytes of UTF-8, valid on Linux, macOS and Windows.
    """
    return _name(text, text, text, suffix)


def image_path(example_id: str, suffix: str) -> str:
    """Relative path, with slashes, of a file derived from an image.

    `a/x.jpg` gives `a/x<suffix>`. Other image formats keep their suffix, because
    `a/x.jpg` may exist as well: `a/x.png` gives `a/x.png<suffix>`. The second animal of
    an image, `a/x.jpg#2`, gives `a/x.jpg#2<suffix>`. An id without an image suffix gets
    a mark.

    Args:
      example_id: of the image.
      suffix: of an image file, with its dot.
    """
    *folders, name = example_id.split("/")
    # Files end in an image suffix, so folders must not.
    parts = [_name(one, one, None if _IMAGE.search(one) else one) for one in folders]
    stem = name.removesuffix(".jpg")
    return "/".join([*parts, _name(name, stem, _image(stem), suffix)])


def flat_name(example_id: str, suffix: str, taxon: str = "") -> str:
    """Name of a file derived from an image, for a single folder with all files.

    `a/x.jpg` gives `a__x<suffix>`; image suffixes are treated as in `image_path`.

    Args:
      example_id: of the image.
      suffix: of the file, with its dot.
      taxon: subject of the file, if any: `a__x__Accipiter_nisus<suffix>`.
    """
    name = example_id.removesuffix(".jpg").replace("/", "__")
    if not taxon:
        return _name(example_id, name, _image(name.replace("__", "/")), suffix)
    name = f"{name}__{_words(taxon)}"
    image, _, words = name.rpartition("__")
    read_back = f"{_image(image.replace('__', '/'))}\0{words.replace('_', ' ')}"
    return _name(f"{example_id}\0{taxon}", name, read_back, suffix)


def words_name(text: str) -> str:
    """Same as `file_name`, with underscores instead of blanks: `Accipiter_nisus`."""
    name = _words(text)
    return _name(text, name, name.replace("_", " "))


def joined_name(parts: Sequence[str], by: str) -> str:
    """One name for several texts, joined by `by`: `family+species`."""
    text, name = "\0".join(parts), by.join(parts)
    return _name(text, name, "\0".join(name.split(by)))


def marked(text: str, name: str) -> str:
    """Appends the mark of a text to a name."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{name}~{digest}"


def readable(text: str, most: int = MAX_BYTES) -> str:
    """Removes characters that are invalid in file names; at most `most` bytes of UTF-8.

    The result is not unique. It is "_" if no character is left.
    """
    text = unicodedata.normalize("NFC", _RESERVED.sub("-", text)).lstrip(". ")
    if _DEVICE.match(text):
        text = f"_{text}"
    return text.encode()[:most].decode(errors="ignore").rstrip(". ") or "_"


def in_full(path: str | Path) -> str:
    """A path for messages; a relative path with the current folder appended."""
    path = Path(path)
    return str(path) if path.is_absolute() else f"{path} (in {Path.cwd()})"


def _words(text: str) -> str:
    return text.replace(" ", "_")


def _image(stem: str) -> str:
    """The image name of a stem, inverse of removing `.jpg`."""
    return stem if _IMAGE.search(stem) else f"{stem}.jpg"


def _name(text: str, name: str, read_back: str | None, suffix: str = "") -> str:
    """Returns `name`, with a mark unless it is valid and `read_back` equals the text.

    `read_back` is the text recovered from `name`; None to force a mark.
    """
    most = MAX_BYTES - len(suffix.encode())
    if read_back == text and readable(name, most) == name and not _MARK.search(name):
        return name + suffix
    return marked(text, readable(name, most - _MARK_BYTES)) + suffix
