"""The record of one image: path, lineage, size and annotations."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hiercam_keras.exchange.detections import Detection
    from hiercam_keras.taxonomy.lineage import Lineage

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set.

    Attributes:
      example_id: stable, unique, relative, slash-separated; the key of the image in
        all files and tables.
      path: the file with the pixels: the original, or a converted copy of it.
      lineage: the taxa of the object; None if unknown.
      width: pixels of the original as displayed (EXIF rotation applied).
      height: likewise.
      boxes: (x0, y0, x1, y1) in pixels of the original as displayed.
      mask_path: an image, above 0 on the object; oriented as displayed.
      parts_path: a label image of parts of the object; oriented as displayed.
      split: "train", "val" or "test" if the source has official splits.
      dhash: difference hash (`fingerprints`), 64 bits as hexadecimal digits; similar
        images have similar hashes.
      pixels: digest of all pixels, for images that may have a copy; else empty.
      group: what the image was taken in (deployment, event, observation, specimen,
        burst); images of a group are in one split. None: in no group.
      crop: (x0, y0, x1, y1) in pixels of the original as displayed: the example is
        this part of it. Sizes, boxes, masks and geometry are those of the original.
        None: the whole image.
      detection: that the crop was made of, see `crops`.
      taken: time by the camera's clock, in ISO form; "" if unknown (`capture`).
      camera: what took it; "" if unknown.
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
    group: str | None = None
    crop: Box | None = None
    detection: "Detection | None" = None
    taken: str = ""
    camera: str = ""
