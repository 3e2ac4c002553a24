"""Chips that programs are compiled for: memory, bandwidth, peak rates, sources.

Figures of TPUs are those of Google's pages on system architecture
(https://cloud.google.com/tpu/docs/v5e, v5p, v6e), but for `memory`: what the compiler
accepts, of its own messages. Those of GPUs are of NVIDIA's data sheets (dense rates,
SXM cards, but for the L4) and of the device descriptions that XLA has of these cards
(openxla/xla, xla/backends/gpu/target_config/specs). XLA has none of the L4; its
description is of the data sheet and of the table of compute capability 8.9 in the CUDA
C++ Programming Guide.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hiercam_keras.errors import UserError

_GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
      name: as in `--device`: "v5e", "h100".
      family: "tpu", "gpu" or "cpu".
      memory: bytes that a program may use; 0: unknown.
      bandwidth: bytes/s of the main memory; 0: unknown.
      peak: FLOP/s of matrix products by precision: "bfloat16", on GPUs also
        "tensorfloat32" and "float32". A TPU multiplies bfloat16 alone: a product of
        float32 is 1, 3 or 6 of these. Empty: unknown.
      link: bytes/s that a chip sends to others of its host; 0: unknown.
      target: fields of XLA's description of a GPU.
    """

    name: str
    family: str
    memory: int = 0
    bandwidth: float = 0
    peak: Mapping[str, float] = field(default_factory=dict)
    link: float = 0
    target: Mapping[str, object] = field(default_factory=dict)


# What all cards of CUDA have in common, as XLA's description names it.
_CUDA = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 49152,
    "block_dim_limit_x": 2147483647,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
    "thread_dim_limit_x": 1024,
    "thread_dim_limit_y": 1024,
    "thread_dim_limit_z": 64,
}


def _gpu(
    name: str, label: str, rates: tuple[float, ...], link: float, **target
) -> Chip:
    """A card; `rates` are FLOP/s of bfloat16, TensorFloat32 and float32."""
    precisions = ("bfloat16", "tensorfloat32", "float32")
    return Chip(
        name,
        "gpu",
        target["device_memory_size"],
        target["memory_bandwidth"],
        dict(zip(precisions, rates, strict=True)),
        link,
        {"label": label, **_CUDA, **target},
    )


_HOPPER = {
    "capability": (9, 0, "ACCELERATED_FEATURES"),
    "core_count": 132,
    "fpus_per_core": 128,
    "clock_rate_ghz": 1.98,
    "l2_cache_size": 52428800,
    "shared_memory_per_core": 233472,
    "shared_memory_per_block_optin": 232448,
    "threads_per_core_limit": 2048,
}
_CHIPS = (
    Chip(
        "v5e",
        "tpu",
        memory=int(15.75 * _GIB),
        bandwidth=819e9,
        peak={"bfloat16": 197e12},
        link=200e9,
    ),
    Chip(
        "v5p",
        "tpu",
        memory=int(95.73 * _GIB),
        bandwidth=2765e9,
        peak={"bfloat16": 459e12},
        link=600e9,
    ),
    Chip(
        "v6e",
        "tpu",
        memory=int(31.24 * _GIB),
        bandwidth=1638e9,
        peak={"bfloat16": 918e12},
        link=400e9,
    ),
    _gpu(
        "h100",
        "NVIDIA H100 80GB HBM3",
        (989e12, 494e12, 67e12),
        450e9,
        **_HOPPER,
        memory_bandwidth=3352320000000,
        device_memory_size=84942979072,
    ),
    _gpu(
        "h200",
        "NVIDIA H200 141GB HBM3e",
        (989e12, 494e12, 67e12),
        450e9,
        **_HOPPER,
        memory_bandwidth=4800000000000,
        device_memory_size=151397597184,
    ),
    _gpu(
        "a100",
        "NVIDIA A100-SXM4-80GB",
        (312e12, 156e12, 19.5e12),
        300e9,
        capability=(8, 0, "NONE"),
        core_count=108,
        fpus_per_core=64,
        clock_rate_ghz=1.41,
        l2_cache_size=41943040,
        shared_memory_per_core=167936,
        shared_memory_per_block_optin=166912,
        threads_per_core_limit=2048,
        memory_bandwidth=2039040000000,
        device_memory_size=85100068864,
    ),
    _gpu(
        "l4",
        "NVIDIA L4",
        (121e12, 60e12, 30.3e12),
        32e9,
        capability=(8, 9, "NONE"),
        core_count=58,
        fpus_per_core=128,
        clock_rate_ghz=2.04,
        l2_cache_size=50331648,
        shared_memory_per_core=102400,
        shared_memory_per_block_optin=101376,
        threads_per_core_limit=1536,
        memory_bandwidth=300096000000,
        device_memory_size=23609475072,
    ),
    Chip("cpu", "cpu"),
)
CHIPS = {chip.name: chip for chip in _CHIPS}

# Topologies of one TPU host, or of a slice, by number of chips.
_SHAPES = {
    "v5e": {1: "2x2", 4: "2x2", 8: "2x4", 16: "4x4"},
    "v5p": {4: "2x2x1", 8: "2x2x2", 16: "2x2x4"},
    "v6e": {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4"},
}
_CARDS = 8  # of one machine; their links are much faster than those between machines
_CORES = {"v5p": 2}  # TensorCores of a chip, which the names of slices count
EXAMPLES = (
    *("tpu:v5e-4", "tpu:v5p-8", "tpu:v6e-8"),
    *("gpu:h100", "gpu:h200", "gpu:a100", "gpu:l4", "cpu"),
)


@dataclass(frozen=True)
class Device:
    """Chips of one kind that share each batch.

    Attributes:
      name: as given: "tpu:v5e-4", "gpu:h100", "cpu".
      chip: one of them.
      count: how many share a batch.
      topology: of libtpu, as "v5e:2x2"; "" for others. It may have more chips.
    """

    name: str
    chip: Chip
    count: int
    topology: str = ""


def device(name: str) -> Device:
    """The device that `--device` names.

    Of a TPU the number is that of Google's accelerator types: chips, or for v5p the
    TensorCores, two of each chip. A GPU may have a number of cards: "gpu:h100-8".

    Raises:
      UserError: there is no such device.
    """
    found = re.fullmatch(r"(?:(tpu|gpu):)?([a-z0-9]+)(?:-(\d+))?", name.lower())
    family, kind, number = found.groups() if found else (None, "", None)
    chip = CHIPS.get(kind)
    if chip is None or (family or "cpu") != chip.family or number == "0":
        raise UserError(
            f"--device={name} is no device that programs are compiled for: expected "
            f"one of {', '.join(EXAMPLES)}."
        )
    if chip.family != "tpu":
        if chip.family == "cpu" and number:
            raise UserError(f"--device={name}: expected cpu, without a number.")
        if int(number or 1) > _CARDS:
            raise UserError(
                f"--device={name}: expected 1 to {_CARDS} cards, which one machine has: "
                "links between machines are not described."
            )
        return Device(name.lower(), chip, int(number or 1))
    shapes = _SHAPES[kind]
    cores = _CORES.get(kind, 1)
    count = int(number or 0) // cores
    if count not in shapes or int(number or 0) % cores:
        sizes = ", ".join(f"tpu:{kind}-{size * cores}" for size in shapes)
        raise UserError(f"--device={name}: expected one of {sizes}.")
    return Device(name.lower(), chip, count, f"{kind}:{shapes[count]}")


def limited(found: Device, count: int) -> Device:
    """The device with no more chips than `config.distribution.devices`, 0 for all.

    Raises:
      UserError: it has fewer.
    """
    if not 0 <= count <= found.count:
        raise UserError(
            f"config.distribution.devices is {count}, but --device={found.name} has "
            f"{found.count}. Use 0 for all of them."
        )
    return replace(found, count=count or found.count)


def target_config(chip: Chip) -> str:
    """XLA's description of a card as a text proto, `GpuTargetConfigProto`."""
    fields = dict(chip.target)
    label, (major, minor, features) = fields.pop("label"), fields.pop("capability")
    lines = [f"  {name}: {value}" for name, value in fields.items()]
    return "\n".join(
        (
            "gpu_device_info {",
            *lines,
            "  cuda_compute_capability {",
            f"    major: {major}",
            f"    minor: {minor}",
            f"    feature_extension: {features}",
            "  }",
            "}",
            'platform_name: "CUDA"',
            "dnn_version_info { major: 9 minor: 10 patch: 0 }",
            f'device_description_str: "{label}"',
            "",
        )
    )
