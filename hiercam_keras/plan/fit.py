"""Whether a program fits into a device's memory, and the largest batch that does.

Memory grows with the batch by a line: weights, optimizer and code are the same for each
batch, activations are not. XLA for TPUs leaves the line where it recomputes arrays
rather than store them; it refuses a program that does not fit. XLA for GPUs refuses
none, so the sum is compared with what the card gives to JAX.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hiercam_keras.plan.devices import Device
from hiercam_keras.plan.figures import Compiled

FITS, RECOMPUTES, TOO_LARGE, UNKNOWN = "fits", "recomputes", "too large", "unknown"
# JAX takes this share of a card's memory at its start, XLA_PYTHON_CLIENT_MEM_FRACTION.
GPU_SHARE = 0.75
MOST = 3  # compilations of the train step
_MARGIN = 0.97  # of the memory, for the guess of a batch
_PLENTY = 0.5  # no other batch is tried if all images take less than this by the line
_CLOSE = 1.05  # no larger batch is tried if the line promises less than this
_SMALLER = 0.8  # of a batch on the line that did not fit
_LANES = 128  # of a TPU's registers, in which the images of a batch are


@dataclass(frozen=True)
class Largest:
    """The largest batch, as far as some compilations show it.

    Attributes:
      fits: largest batch that was compiled and fits without recomputing; 0: none.
      recomputes: largest batch that was compiled and fits by recomputing; 0: none.
      too_large: smallest batch that was compiled and does not fit; 0: none.
      line: largest batch by the line through the compilations; 0: unknown.
      images: of the training, which no batch exceeds.
      tried: batches that were compiled.
    """

    fits: int = 0
    recomputes: int = 0
    too_large: int = 0
    line: int = 0
    images: int = 0
    tried: tuple[int, ...] = ()


def room(device: Device) -> int:
    """Bytes of one chip that a program may take; 0: unknown."""
    share = GPU_SHARE if device.chip.family == "gpu" else 1.0
    return int(device.chip.memory * share)


def verdict(found: Compiled, device: Device, memory: int = 0) -> str:
    """FITS, RECOMPUTES, TOO_LARGE, or UNKNOWN where the memory is.

    Args:
      found: of the compiler.
      device: compiled for.
      memory: bytes of one chip; 0: those of `room`.
    """
    limit = memory or room(device)
    if found.refused:
        return TOO_LARGE
    if limit and found.total > limit:
        return TOO_LARGE
    if found.repeated:
        return RECOMPUTES
    return FITS if limit else UNKNOWN


def extra_work(found: Compiled, others: Sequence[Compiled]) -> float | None:
    """Share of FLOPs an image above those of the other compilations' least.

    None where no other compilation of this program does without recomputing.
    """
    plain = [one.work / one.images for one in others if one.work and not one.repeated]
    if not plain or not found.work:
        return None
    return found.work / found.images / min(plain) - 1


def largest_batch(
    first: Compiled,
    device: Device,
    compile_batch: Callable[[int], Compiled],
    images: int,
    memory: int = 0,
    most: int = MOST,
) -> tuple[Largest, list[Compiled]]:
    """Looks for the largest batch by at most `most` compilations, `first` included.

    Args:
      first: the train step of the run's batch.
      device: compiled for.
      compile_batch: compiles the train step for another batch.
      images: of the training; no larger batch is tried.
      memory: bytes of one chip; 0: those of `room`.
      most: compilations.

    Returns:
      What is known, and all compilations in their order.
    """
    limit = memory or room(device)
    found = [first]
    while limit and len(found) < most:
        batch = _next(found, device, limit, images)
        if not batch:
            break
        found.append(compile_batch(batch))
    return _summary(found, device, limit, images), found


def _next(found: Sequence[Compiled], device: Device, limit: int, images: int) -> int:
    """The batch to try next; 0 if no other one promises much."""
    tried = {one.batch: verdict(one, device, limit) for one in found}
    fits = max((batch for batch in tried if tried[batch] == FITS), default=0)
    if fits and (_line(found, limit * _PLENTY) or 0) >= images:
        return 0
    line = _line(found, limit * _MARGIN)
    # Without a point on the line half of the smallest batch may give one.
    batch = _rounded(min(tried) / 2 if line is None else line, device, images)
    if tried.get(batch) in (RECOMPUTES, TOO_LARGE) and not fits:
        batch = _rounded(_SMALLER * batch, device, images)
    if batch in tried or fits <= batch <= _CLOSE * fits:
        return 0
    return batch


def _summary(
    found: Sequence[Compiled], device: Device, limit: int, images: int
) -> Largest:
    by = {
        kind: [one.batch for one in found if verdict(one, device, limit) == kind]
        for kind in (FITS, RECOMPUTES, TOO_LARGE)
    }
    return Largest(
        fits=max(by[FITS], default=0),
        recomputes=max(by[RECOMPUTES], default=0),
        too_large=min(by[TOO_LARGE], default=0),
        line=min(int(_line(found, limit) or 0), images) if limit else 0,
        images=images,
        tried=tuple(one.batch for one in found),
    )


def fixed(found: Compiled) -> int:
    """Bytes that do not grow with the batch: weights, optimizer, code."""
    sizes = found.sizes
    return sizes["weights"] + sizes.get("optimizer", 0) + found.memory.get("code", 0)


def _line(found: Sequence[Compiled], limit: float) -> float | None:
    """The batch at which the line of memory meets the limit.

    0 if what does not grow with the batch exceeds the limit, None without a line.

    The line is that through the two compilations of the largest batches without
    recomputing, which bends it; through one and the fixed part if there is no other.
    """
    points = sorted(
        (one.batch, one.total) for one in found if one.total and not one.repeated
    )
    if not points:
        return None
    batch, total = points[-1]
    before = points[-2] if len(points) > 1 else (0, fixed(found[0]))
    slope = (total - before[1]) / (batch - before[0])
    return max(0.0, batch + (limit - total) / slope) if slope > 0 else None


def _rounded(batch: float, device: Device, images: int) -> int:
    """A batch that the devices share evenly, with full lanes if it is large."""
    whole = device.count
    if device.chip.family == "tpu" and batch >= _LANES * device.count:
        whole *= _LANES
    elif batch >= 64 * device.count:
        whole *= 32
    return int(min(batch, images)) // whole * whole


def unpadded(found: Compiled, device: Device) -> int:
    """The next batch with which the images fill the lanes of a TPU."""
    whole = _LANES * device.count
    return -(-found.batch // whole) * whole
