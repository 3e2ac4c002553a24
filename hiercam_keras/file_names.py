"""File names for what data names: photographs, taxa, ranks, data sets.

Every function depends on its arguments alone, so a file keeps its name when another
image is added. A text that is a good file name stays as it is. Any other text gets a
readable name with a mark, `~` and 12 hexadecimal digits of the text's SHA-256:
`Crows/Jays` becomes `Crows-Jays~4413f4320f86`.

Two texts never share a name (short of a collision of 48 bits). A name is used without
a mark only if the text can be read back from it, so names without a mark differ; marks
differ; and a text that looks marked gets a mark.

Letter case is kept: two texts that differ in nothing else have two names, but one file
on a disk that ignores case.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

# UTF-8 bytes of a name with its suffix. Most file systems take 255; the rest is room
# for temporary names and for what people append.
MAX_BYTES = 200

_MARK = re.compile(r"~[0-9a-f]{12}\Z")
_MARK_BYTES = 13
_RESERVED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\.|\Z)", re.IGNORECASE)
_IMAGE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif)\Z", re.IGNORECASE)


def file_name(text: str, suffix: str = "") -> str:
    """The name of a file or folder for any text.

    Args:
      text: what it is named after; it is one part, a slash in it is replaced.
      suffix: of the file, with its dot.

    Returns:
      At most `MAX_BYTES` bytes of UTF-8, valid on Linux, macOS and Windows.
    """
    return _name(text, text, text, suffix)


def image_path(example_id: str, suffix: str) -> str:
    """The relative path, with slashes, of a file that is made for an image.

    `a/x.jpg` has `a/x<suffix>`. An image of another kind keeps its own suffix, since
    `a/x.jpg` may be in the same folder: `a/x.png` has `a/x.png<suffix>`. An id without
    an image's suffix has a mark.

    Args:
      example_id: of the image.
      suffix: of an image file, with its dot.
    """
    *folders, name = example_id.split("/")
    # The files end in an image's suffix, so no folder may.
    parts = [_name(one, one, None if _IMAGE.search(one) else one) for one in folders]
    stem = name.removesuffix(".jpg")
    return "/".join([*parts, _name(name, stem, _image(stem), suffix)])


def flat_name(example_id: str, suffix: str, taxon: str = "") -> str:
    """The name of a file that is made for an image, in one folder with all others.

    `a/x.jpg` has `a__x<suffix>`; the suffix of the image as in `image_path`.

    Args:
      example_id: of the image.
      suffix: of the file, with its dot.
      taxon: that the file is about: `a__x__Accipiter_nisus<suffix>`.
    """
    name = example_id.removesuffix(".jpg").replace("/", "__")
    if not taxon:
        return _name(example_id, name, _image(name.replace("__", "/")), suffix)
    name = f"{name}__{_words(taxon)}"
    image, _, words = name.rpartition("__")
    read_back = f"{_image(image.replace('__', '/'))}\0{words.replace('_', ' ')}"
    return _name(f"{example_id}\0{taxon}", name, read_back, suffix)


def words_name(text: str) -> str:
    """As `file_name`, with underscores for blanks: `Accipiter_nisus`."""
    name = _words(text)
    return _name(text, name, name.replace("_", " "))


def joined_name(parts: Sequence[str], by: str) -> str:
    """One name of several texts: `family+species`."""
    text, name = "\0".join(parts), by.join(parts)
    return _name(text, name, "\0".join(name.split(by)))


def marked(text: str, name: str) -> str:
    """`name`, which is one of many for other texts, with the mark of this text."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{name}~{digest}"


def readable(text: str, most: int = MAX_BYTES) -> str:
    """The text without what file names cannot hold, at most `most` bytes of UTF-8.

    Several texts may give the same; "_" where nothing is left.
    """
    text = unicodedata.normalize("NFC", _RESERVED.sub("-", text)).lstrip(". ")
    if _DEVICE.match(text):
        text = f"_{text}"
    return text.encode()[:most].decode(errors="ignore").rstrip(". ") or "_"


def in_full(path: str | Path) -> str:
    """A path in a message: with the folder that it begins in, if it is relative."""
    path = Path(path)
    return str(path) if path.is_absolute() else f"{path} (in {Path.cwd()})"


def _words(text: str) -> str:
    return text.replace(" ", "_")


def _image(stem: str) -> str:
    """The name that a stem is made of."""
    return stem if _IMAGE.search(stem) else f"{stem}.jpg"


def _name(text: str, name: str, read_back: str | None, suffix: str = "") -> str:
    """`name`, with a mark unless it is valid and `read_back` from it is the text."""
    most = MAX_BYTES - len(suffix.encode())
    if read_back == text and readable(name, most) == name and not _MARK.search(name):
        return name + suffix
    return marked(text, readable(name, most - _MARK_BYTES)) + suffix
