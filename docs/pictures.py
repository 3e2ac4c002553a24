"""Makes the README's pictures from the runs of `make demo`: run `make pictures`."""

import pathlib
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from hiercam_keras.data.sources import synthetic_birds  # noqa: E402

IMAGES = ROOT / "docs" / "images"
COMPARE = ROOT / "runs" / "synthetic_birds" / "compare-species-family"
FIGURE = ROOT / "runs" / "synthetic_birds" / "species" / "seed0" / "cam" / "0007.png"


def save_jpeg(image: Image.Image, name: str, width: int) -> None:
    """Writes a picture, made smaller to `width` pixels, and tells its size."""
    height = round(image.height * width / image.width)
    image = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    path = IMAGES / name
    image.save(path, quality=85, optimize=True)
    print(f"{path.relative_to(ROOT)}: {width} x {height}, {path.stat().st_size} bytes")


def main() -> None:
    """Contact sheet, the first compare sheet's top, and the figure of one photo."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    tree = synthetic_birds.default_tree()
    birds = synthetic_birds.tree_sheet(tree, columns=6, size=150, seed=11)
    save_jpeg(birds, "birds.jpg", birds.width)
    sheet = Image.open(COMPARE / "chosen_01.png")
    top = np.asarray(sheet)[: round(sheet.height * 0.42)]
    save_jpeg(Image.fromarray(top), "compare.jpg", 1100)
    save_jpeg(Image.open(FIGURE), "one_photo.jpg", 1400)


if __name__ == "__main__":
    main()
