"""When and with which camera a photograph was taken, by its EXIF data."""

import datetime
import hashlib
from pathlib import Path

from PIL import ExifTags, Image

from hiercam_keras.data import heif

_TIMES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)


def of_image(image: Image.Image) -> tuple[str, str]:
    """Time and camera of an open image; "" for what is not known.

    Returns:
      The time as YYYY-MM-DDTHH:MM:SS, as the camera's clock showed it: EXIF times have
      no zone, and cameras rarely write fractions. The camera as maker, model and six
      hex digits of a digest of the serial number, which is not kept itself.
    """
    try:
        exif = image.getexif()
        if not exif:
            return "", ""
        details = exif.get_ifd(ExifTags.IFD.Exif)
        times = [details.get(tag) for tag in _TIMES]
        times.append(exif.get(ExifTags.Base.DateTime))
        taken = next(filter(None, map(_time, times)), "")
        names = [
            _text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)
        ]
        serial = _text(details.get(ExifTags.Base.BodySerialNumber))
    except Exception:  # Damaged EXIF data does not make the pixels worse.
        return "", ""
    if serial:
        names.append(f"#{hashlib.sha256(serial.encode()).hexdigest()[:6]}")
    return taken, " ".join(filter(None, names))


def of_file(path: Path) -> tuple[str, str]:
    """Time and camera of a file by its header, see `of_image`."""
    try:
        heif.register()
        with Image.open(path) as image:
            return of_image(image)
    except Exception:  # The scan has said what is wrong with it.
        return "", ""


def _time(value: object) -> str:
    """An EXIF time in ISO form; "" if it is none, such as 0000:00:00 00:00:00."""
    try:
        found = datetime.datetime.strptime(_text(value)[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return ""
    return found.isoformat()


def _text(value: object) -> str:
    """A text tag without its padding."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return " ".join(str(value or "").split("\0")[0].split())
