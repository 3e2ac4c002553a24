"""Time and cost of a training: what memory and arithmetic allow, and a guess."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hiercam_keras import csv_files
from hiercam_keras.errors import UserError
from hiercam_keras.plan.devices import Chip, Device
from hiercam_keras.plan.figures import Compiled

PRICES = Path(__file__).with_name("prices.csv")
# The upper end of the range is a guess: a step of so many times its bound, and on a GPU
# so many seconds more for each kernel that it starts.
SLOWEST = 3.0
LAUNCH = 5e-6
# bfloat16 products for one of float32 factors on a TPU, by precision.
_PASSES = {"default": 1, "high": 3, "highest": 6}
_HALVES = ("bf16", "f16")


@dataclass(frozen=True)
class Bounds:
    """Least seconds of one step by what limits it; 0: unknown.

    Attributes:
      memory: bytes of main memory by its bandwidth.
      compute: products by the peak of their precision.
      links: bytes of the collectives, once in and once out, by the chip's links.
    """

    memory: float
    compute: float
    links: float

    @property
    def step(self) -> float:
        """Seconds that no step can be faster than: the largest."""
        return max(self.memory, self.compute, self.links)

    @property
    def name(self) -> str:
        """What limits the step."""
        named = {"memory": self.memory, "compute": self.compute, "links": self.links}
        return max(named, key=named.get)


def bounds(found: Compiled, device: Device) -> Bounds:
    """The bounds of one run of a program."""
    chip = device.chip
    compute = sum(
        work / _peak(chip, name) if chip.peak else 0.0
        for name, work in found.flops_of_products.items()
    )
    sent = sum(size for _, size in found.collectives.values())
    share = 2 * (device.count - 1) / device.count  # of a ring
    return Bounds(
        memory=found.moved / chip.bandwidth if chip.bandwidth else 0.0,
        compute=compute,
        links=share * sent / chip.link if chip.link else 0.0,
    )


def passes(name: str, chip: Chip) -> float:
    """bfloat16 products that a product takes: 1, 3 or 6 on a TPU.

    On a GPU, how many times the time of bfloat16 its peak makes of it.

    Args:
      name: dtypes and precision, as in `Compiled.flops_of_products`.
      chip: that multiplies.
    """
    return chip.peak["bfloat16"] / _peak(chip, name)


def _peak(chip: Chip, name: str) -> float:
    """FLOP/s of products of these dtypes at this precision."""
    dtypes, _, precision = name.partition(" ")
    if dtypes in _HALVES:
        return chip.peak["bfloat16"]
    if chip.family == "tpu":
        return chip.peak["bfloat16"] / _PASSES.get(precision, 1)
    full = precision in ("highest", "float32") or "f64" in dtypes
    return chip.peak["float32" if full else "tensorfloat32"]


@dataclass(frozen=True)
class Cost:
    """Hours and money of a training, from the bound to the guess.

    Attributes:
      steps: of all epochs.
      hours: (least, guess).
      money: (least, guess) in `currency`; None without a price.
      currency: of the table of prices.
      price: of one chip and hour.
    """

    steps: int
    hours: tuple[float, float]
    money: tuple[float, float] | None
    currency: str
    price: float


def guess(found: Compiled, device: Device) -> float:
    """Seconds that a step may take, a guess; 0 where its bound is not known."""
    step = bounds(found, device).step
    starts = found.launched * LAUNCH if device.chip.family == "gpu" else 0.0
    return SLOWEST * step + starts if step else 0.0


def cost(
    found: Compiled, steps: int, device: Device, prices: Mapping[str, tuple]
) -> Cost | None:
    """Cost of some steps; without validation, compilation, and reading of images.

    None where the rates of the device are not known.

    Args:
      found: the train step.
      steps: number.
      device: they run on.
      prices: of `read_prices`.
    """
    seconds = bounds(found, device).step, guess(found, device)
    if not seconds[0]:
        return None
    hours = seconds[0] * steps / 3600, seconds[1] * steps / 3600
    price, currency = prices.get(device.chip.name, (0.0, ""))
    money = tuple(one * device.count * price for one in hours) if price else None
    return Cost(steps, hours, money, currency, price)


def read_prices(path: str | Path = PRICES) -> dict[str, tuple[float, str]]:
    """Prices of one chip and hour with their currency, by name of the chip.

    Args:
      path: of a table with the columns chip, price and currency.

    Raises:
      UserError: the table cannot be read, lacks a column, or a price is no number.
    """
    table = csv_files.read(path)
    found = {}
    names = ("chip", "price", "currency")
    lacking = [name for name in names if not table.find([name])]
    if lacking:
        raise UserError(
            f"{path} has no column {lacking[0]!r}, expected {', '.join(names)}: a row "
            "for each chip, with the price of one chip and hour."
        )
    for line, row in table.rows():
        try:
            price = float(row["price"])
        except ValueError:
            price = -1.0
        if not 0 <= price < float("inf"):
            raise UserError(
                f"{path}, line {line}: the price is {row['price']!r}, expected a "
                "number of 0 or more."
            )
        found[row["chip"].strip().lower()] = price, row["currency"].strip()
    return found
