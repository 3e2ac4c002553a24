"""Progress of long tasks: a bar on a terminal, else a log line every 10 s."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from absl import logging

Item = TypeVar("Item")

_LOG_SECONDS = 10.0


def progress(
    items: Iterable[Item],
    total: int,
    desc: str,
    unit: str = "img",
    count: Callable[[Item], int] = lambda item: 1,
) -> Iterator[Item]:
    """Yields `items`, and reports progress, speed and remaining time.

    Args:
      items: items to process.
      total: number of units in all items.
      desc: short name of the task.
      unit: name of the counted unit.
      count: number of units in an item, such as images in a batch.
    """
    if sys.stderr.isatty():
        yield from _bar(items, total, desc, unit, count)
    else:
        yield from _lines(items, total, desc, unit, count)


def _bar(items, total, desc, unit, count):
    from tqdm import tqdm

    with tqdm(
        total=total, desc=desc, unit=unit, dynamic_ncols=True, leave=False
    ) as bar:
        for item in items:
            yield item
            bar.update(count(item))


def _lines(items, total, desc, unit, count):
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += count(item)
        now = time.monotonic()
        if now - last >= _LOG_SECONDS and done < total:
            rate = done / (now - start)
            left = (total - done) / rate
            logging.info(
                "%s: %d/%d, %.1f %s/s, %.0f s left", desc, done, total, rate, unit, left
            )
            last = now
