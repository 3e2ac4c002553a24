"""Data room: the procedural birds are made when they are missing."""

import time
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras.data.sources import synthetic_birds
from hiercam_keras.progress import progress


def ensure(root: Path, synthetic: Any) -> None:
    """Makes the embedded data in `root` unless they are there, with these settings.

    Args:
      root: their folder.
      synthetic: the config's data.synthetic.

    Raises:
      UserError: the folder cannot be written or holds something else.
    """
    settings = {key: synthetic[key] for key in synthetic}
    if synthetic_birds.is_complete(root, settings):
        return
    total = settings["images_per_species"]
    for level in ("orders", "families", "genera", "species"):
        total *= settings[level]
    logging.info("Drawing %d birds into %s, once", total, root)
    start = time.monotonic()
    synthetic_birds.write_dataset(root, **settings, progress=progress)
    logging.info("Drew %d birds in %.0f s", total, time.monotonic() - start)
