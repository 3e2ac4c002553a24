"""Progress of long work: a bar on a terminal, now and then a line in a log."""

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
    """Yields `items`, showing how far, how fast and how long still.

    Args:
      items: what is worked through.
      total: how many units there are in all.
      desc: what is being done, in a word or two.
      unit: what is counted.
      count: units in one item (a batch holds many).
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
