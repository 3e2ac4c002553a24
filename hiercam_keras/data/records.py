"""What is known of one image before its pixels are read."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hiercam_keras.taxonomy.lineage import Lineage

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One image: where it lies, what it shows, and what is drawn on it.

    Attributes:
      example_id: stable, unique, relative, slash-separated; the key of everything that
        is ever said about this image.
      path: the file whose pixels are read: the original, or a converted copy of it.
      lineage: the taxa of the animal; None for a photograph of an unknown one.
      width: pixels of the original as displayed (EXIF rotation applied).
      height: likewise.
      boxes: (x0, y0, x1, y1) in pixels of the original as displayed.
      mask_path: an image, above 0 where the animal is; oriented as displayed.
      parts_path: a label image of body parts; oriented as displayed.
      split: "train", "val" or "test" where the source has official splits.
      dhash: 64 bits as hexadecimal digits; nearly the same for images that look the
        same (`fingerprints`).
      pixels: digest of all pixels, of images that may have a copy; else empty.
    """

    example_id: str
    path: Path
    lineage: "Lineage | None"
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()
    mask_path: Path | None = None
    parts_path: Path | None = None
    split: str | None = None
    dhash: str = ""
    pixels: str = ""
