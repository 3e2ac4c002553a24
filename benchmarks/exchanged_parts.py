"""How cleanly do drawn birds exchange a part?

    python -m benchmarks.exchanged_parts --birds=96 --size=146

Draws every exchange of some birds of the embedded data, two of each species, and
prints for each part and way the means over the birds:

- "differ", %: pixels of the picture that differ;
- "cut", %: of the part in its new form, what the central crop of the picture leaves
  out, as the form is drawn at the anchor of the old one;
- "hides", %: of the bird's other parts, what the new form covers;
- "shade", levels of 255: how much the bird differs from one that is drawn as a whole,
  in the two pixels around the mask. Nothing changes outside the mask, so that the
  shade of a part stays there.

docs/SYNTHETIC_BIRDS.md has the table.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from hiercam_keras import tables
from hiercam_keras.birds import Bird, DatasetSettings, bird_at, draw, exchanges
from hiercam_keras.birds.donors import draw_donor
from hiercam_keras.birds.interventions import HOWS, PARTS, Intervention, redrawn
from hiercam_keras.birds.picture import CROP, Rendered, develop

HEADER = ("part", "how", "differ", "cut", "hides", "shade")


def measured(bird: Bird, seed: int = 0) -> np.ndarray:
    """The last four columns of HEADER, float64 (parts, hows, 4); NaN without a form."""
    setup = bird.set_up()
    regions = setup.regions()
    before = develop(setup, regions)
    found = []
    for one in exchanges(bird, seed=seed):
        removed = one.how == "removed"
        donor = None if removed else draw_donor(bird, one.part, one.how, seed)
        if not removed and donor is None:
            found.append([np.nan] * 4)
            continue
        whole = develop(*redrawn(bird, setup, regions, one.part, donor))
        found.append(_cleanness(before, whole, one))
    return np.reshape(found, (len(PARTS), len(HOWS), 4))


def _cleanness(before: Rendered, whole: Rendered, one: Intervention) -> list[float]:
    size = one.mask.shape[0]
    edge = round(size * (1.0 - CROP) / 2.0)
    cropped = np.zeros((size, size), dtype=bool)
    cropped[edge:-edge, edge:-edge] = True
    wide = Image.fromarray(one.mask.astype(np.uint8) * 255)
    ring = (np.asarray(wide.filter(ImageFilter.MaxFilter(5))) > 0) & ~one.mask
    ring &= one.parts > 0
    shade = np.abs(whole.image.astype(np.float64) - one.image)[ring]
    cut = hides = np.nan
    if one.part in draw.PARTS and one.how != "removed":
        label = draw.PARTS.index(one.part)
        new = one.parts == label
        others = (before.parts > 0) & (before.parts != label)
        cut = 1.0 - (new & cropped).sum() / max(new.sum(), 1)
        hides = (others & new).sum() / others.sum()
    differ = (one.image != before.image).any(axis=-1).mean()
    return [100 * differ, 100 * cut, 100 * hides, shade.mean() if shade.size else 0.0]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--birds", type=int, default=96)
    parser.add_argument("--size", type=int, default=146, help="pixels, at least 64")
    parser.add_argument("--seed", type=int, default=0, help="of the birds")
    flags = parser.parse_args(argv)
    settings = DatasetSettings(seed=flags.seed)
    species = len(settings.tree())
    numbers = [
        measured(bird_at(settings, i % species, i // species, size=flags.size))
        for i in range(flags.birds)
    ]
    means = np.array(
        [
            [_mean(cells) for cells in rows]
            for rows in np.reshape(numbers, (flags.birds, -1, 4)).transpose(1, 2, 0)
        ]
    )
    names = [(part.replace("_", " "), how) for part in PARTS for how in HOWS]
    rows = [(*name, *row) for name, row in zip(names, means.tolist(), strict=True)]
    sys.stdout.write(tables.format_table(HEADER, rows, digits=1) + "\n")


def _mean(cells: np.ndarray) -> float:
    """Mean of the cells that are known; NaN if none is."""
    known = cells[~np.isnan(cells)]
    return float(known.mean()) if known.size else float("nan")


if __name__ == "__main__":
    main()
