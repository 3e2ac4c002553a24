"""The procedural birds, drawn if they are missing."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

from hiercam_keras.data.sources import image_folder
from hiercam_keras.data.sources.reading import Reading, Request

_LOG_SECONDS = 10.0


def read_source(request: Request) -> Reading:
    """The birds of data.synthetic, drawn into data.root if they are missing.

    With --data_dir an existing image folder is read, and nothing is drawn.
    """
    if request.place and not request.data_dir:
        ensure(Path(request.place).expanduser(), request.config.synthetic)
    return image_folder.read_source(request)


def ensure(root: Path, synthetic: Mapping[str, object]) -> None:
    """Draws the embedded data into `root` unless it holds them with these settings.

    Args:
      root: their folder.
      synthetic: the config's data.synthetic.

    Raises:
      UserError: a setting is invalid, or the folder cannot be written or holds other
        files.
    """
    # Imported late: only the first run draws.
    from hiercam_keras import birds

    settings = dict(synthetic)
    if birds.is_complete(root, settings):
        return
    logging.info("Drawing procedural birds into %s, once", root)
    start = time.monotonic()
    total = []
    birds.write_dataset(root, progress=_log_progress(total), **settings)
    seconds = time.monotonic() - start
    logging.info("Drew %d birds in %.0f s", max(total, default=0), seconds)


def _log_progress(total: list[int]) -> Callable[[int, int], None]:
    """A callback that logs the progress, and appends the number of images to
    `total`."""
    start = last = time.monotonic()

    def log(done: int, count: int) -> None:
        nonlocal last
        total[:] = [count]
        now = time.monotonic()
        if done and now - last >= _LOG_SECONDS and done < count:
            left = (now - start) / done * (count - done)
            logging.info("Drew %d of %d birds, %.0f s left", done, count, left)
            last = now

    return log
