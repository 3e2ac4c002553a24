"""Benchmarks: the pixels that example.py makes against the program's.

    python -m benchmarks.example_pixels --model=FOLDER/model.onnx --photos=FOLDER

As they are, and as copies that are stored turned by EXIF, for both pipelines of the
program. FOLDER is one of --mode=export.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from hiercam_keras import runtime

runtime.prepare_process()

import numpy as np  # noqa: E402 - the backend is chosen above
from ml_collections import ConfigDict  # noqa: E402
from PIL import Image  # noqa: E402

from hiercam_keras.data import loader  # noqa: E402
from hiercam_keras.data.sources import photos  # noqa: E402
from hiercam_keras.export import example  # noqa: E402
from hiercam_keras.export.session import Session  # noqa: E402

PIPELINES = ("arrays", "tfdata")


def turned(files: list[Path], folder: Path) -> list[Path]:
    """Copies with the pixels turned, and the EXIF orientation that turns them back."""
    copies = []
    for number, path in enumerate(files):
        with Image.open(path) as image:
            exif = Image.Exif()
            exif[0x0112] = 6
            stored = image.convert("RGB").transpose(Image.Transpose.ROTATE_90)
        copies.append(folder / f"{number:03d}.jpg")
        stored.save(copies[-1], quality=95, exif=exif)
    return copies


def seen_by_the_program(files: list[Path], size: int, pipeline: str) -> np.ndarray:
    """uint8 (N, size, size, 3)."""
    records = []
    for number, path in enumerate(files):
        (record,) = photos.load_photos(path)
        records.append(replace(record, example_id=f"{number}"))
    config = ConfigDict(
        {
            "image_size": size,
            "batch_size": len(records),
            "pipeline": pipeline,
            "workers": 1,
            "cache_mb": 0,
            "max_bad_share": 0.0,
        }
    )
    with loader.make_loader(records, {}, config) as batches:
        (batch,) = batches.epoch(0)
    return np.asarray(batch.images)


def probabilities(session: Session, pixels: np.ndarray) -> np.ndarray:
    """Of all ranks, (N, taxa)."""
    found = session(pixels)
    names = [name for name in found if name.startswith("probabilities_")]
    return np.concatenate([found[name] for name in names], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    options = parser.parse_args()
    about = json.loads((options.model.parent / "taxonomy.json").read_text())
    image, session = about["image"], Session(options.model, threads=1)
    files = sorted(options.photos.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        groups = {"as they are": files, "turned by EXIF": turned(files, Path(folder))}
        for kind, some in groups.items():
            ours = np.stack(
                [example.square(*example.open_photo(p), None, image)[0] for p in some]
            )
            for pipeline in PIPELINES:
                theirs = seen_by_the_program(some, image["height"], pipeline)
                off = np.abs(ours.astype(float) - theirs)
                moved = probabilities(session, ours) - probabilities(session, theirs)
                largest = np.abs(moved).max(1)
                print(
                    f"{len(some)} {kind}, {pipeline}: largest {off.max():g}, mean "
                    f"{off.mean():.3f} levels; probability: median of the largest "
                    f"{np.median(largest):.4f}, maximum {largest.max():.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
