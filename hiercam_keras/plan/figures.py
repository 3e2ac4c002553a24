"""What is read from one compiled program, as one value that can be written as JSON."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hiercam_keras.plan import hlo
from hiercam_keras.plan.products import products
from hiercam_keras.plan.traffic import instruction_traffic, program_traffic

_LARGEST = 8  # arrays that are listed
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# "Used 26.92G of 15.75G hbm", "the total memory required for HLO temporaries (26.92G)
# exceeds available HBM (15.75G)": the release decides. Arguments are in both sums.
_SIZE = r"([\d.]+)([KMGT]?)i?B?"
_SHORT = (
    re.compile(rf"\({_SIZE}\)\s+exceeds\s+available\s+HBM\s+\({_SIZE}\)", re.I),
    re.compile(rf"used\s+{_SIZE}\s+of\s+{_SIZE}\s+hbm", re.I),
)


@dataclass(frozen=True)
class Compiled:
    """One program that was compiled for a device, or that the compiler refused.

    All figures are of one of the devices that share the batch. The compiler's own are
    `memory` and `flops`; the others are counted from its program by this package.

    Attributes:
      program: "train", "eval" or "cam".
      batch: images on all devices.
      devices: that share the batch.
      key: of the program, the device and the compiler.
      seconds: of the compilation.
      processor: seconds of processor time of the compilation, all threads together.
      sizes: bytes of the arguments without padding, by purpose.
      memory: bytes by `jax.stages.Compiled.memory_analysis`: "argument", "output",
        "alias", "temp", "code"; empty if refused.
      needed, available: bytes in the message of a compiler that refused; 0 otherwise.
      refused: the first line of that message; "" if it was compiled.
      flops: of `cost_analysis`; 0 where there is none.
      flops_of_products: of matrix products and convolutions, by (dtype, precision).
      moved: bytes of main memory, with padding.
      padding: share of `moved`, 0 to 1.
      accessed: "bytes accessed" of `cost_analysis`; 0 where there is none.
      collectives: (kind, dtypes) -> (number, bytes).
      launched: number of instructions that move bytes, each time they run.
      repeated: number of instructions that are computed again to save memory.
      largest: (dtype, shape, bytes, what made it) of the largest arrays.
    """

    program: str
    batch: int
    devices: int
    key: str = ""
    seconds: float = 0.0
    processor: float = 0.0
    sizes: Mapping[str, int] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    needed: int = 0
    available: int = 0
    refused: str = ""
    flops: float = 0.0
    flops_of_products: Mapping[str, float] = field(default_factory=dict)
    moved: int = 0
    padding: float = 0.0
    accessed: float = 0.0
    collectives: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    launched: int = 0
    repeated: int = 0
    largest: tuple[tuple[str, str, int, str], ...] = ()

    @property
    def total(self) -> int:
        """Bytes of a device's memory that a run of the program takes."""
        if self.refused:
            return self.needed
        given = self.memory
        total = given["argument"] + given["output"] - given["alias"]
        return total + given["temp"] + given["code"]

    @property
    def images(self) -> float:
        """Images of a batch on one device."""
        return self.batch / self.devices

    @property
    def work(self) -> float:
        """FLOPs of one device: the compiler's, or those of the products."""
        return self.flops or sum(self.flops_of_products.values())

    def to_json(self) -> dict[str, Any]:
        """A dict for JSON, which `from_json` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Compiled":
        """The value that `to_json` wrote."""
        listed = {
            "largest": tuple(map(tuple, value["largest"])),
            "collectives": {k: tuple(v) for k, v in value["collectives"].items()},
        }
        return cls(**{**value, **listed})


def of_text(text: str) -> dict[str, Any]:
    """The fields of `Compiled` that are counted from the text of a program."""
    program = hlo.parse(text)
    traffic = program_traffic(program)
    work: Counter[str] = Counter()
    for one in products(program):
        dtypes = "x".join(dict.fromkeys(one.dtypes))
        work[f"{dtypes} {one.precision}"] += one.flops
    sent: dict[str, tuple[int, int]] = {}
    for one in hlo.collectives(program):
        name = f"{one.kind} {'+'.join(one.dtypes)}"
        number, size = sent.get(name, (0, 0))
        sent[name] = number + one.times, size + one.size
    return {
        "flops_of_products": {name: float(value) for name, value in work.items()},
        "moved": traffic.main,
        "padding": traffic.padding_share,
        "collectives": sent,
        "launched": sum(
            step.times
            for step in hlo.steps(program)
            if instruction_traffic(program, step.computation, step.instruction).padded
        ),
        "repeated": len(hlo.rematerialized(program)),
        "largest": tuple(
            (
                array.dtype,
                "x".join(map(str, array.dims)),
                array.padded,
                one.op_name or one.name,
            )
            for array, one in hlo.largest(program, _LARGEST)
        ),
    }


def of_memory(stats: Any) -> dict[str, int]:
    """`Compiled.memory` from JAX's `CompiledMemoryStats`."""
    return {
        name: int(getattr(stats, f"{field}_size_in_bytes"))
        for name, field in (
            ("argument", "argument"),
            ("output", "output"),
            ("alias", "alias"),
            ("temp", "temp"),
            ("code", "generated_code"),
        )
    }


def of_refusal(message: str) -> dict[str, Any]:
    """The fields of `Compiled` for a compiler's RESOURCE_EXHAUSTED."""
    first = " ".join(message.split())
    for pattern in _SHORT:
        if found := pattern.search(first):
            needed, unit, limit, of_limit = found.groups()
            return {
                "refused": first[:400],
                "needed": int(float(needed) * _UNITS[unit.upper()]),
                "available": int(float(limit) * _UNITS[of_limit.upper()]),
            }
    return {"refused": first[:400]}
