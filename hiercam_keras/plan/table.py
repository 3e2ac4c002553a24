"""The answer of a plan as text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hiercam_keras import tables, wording
from hiercam_keras.plan import estimate, fit
from hiercam_keras.plan.devices import Device
from hiercam_keras.plan.estimate import Bounds, Cost
from hiercam_keras.plan.figures import Compiled

_GIB, _MIB = 2**30, 2**20
_LARGE = 8 * _GIB  # from here on memory is in GiB
_PURPOSES = ("weights", "optimizer", "input")
_SHOWN = 4  # kinds of collectives, and precisions of products


@dataclass(frozen=True)
class Plan:
    """All that is known of a run on a device.

    Attributes:
      device: the device.
      memory: bytes of one chip that a program may take; 0: unknown.
      programs: "train", "eval" and "cam", compiled for the config's batches.
      others: further compilations of the train step.
      largest: the largest batch; None if it was not looked for.
      cost: of the epochs; None if a bound of time is unknown.
      epochs, images: of the training.
      source: where taxa and images are known from.
      dtype: of the network.
    """

    device: Device
    memory: int
    programs: Mapping[str, Compiled]
    others: Sequence[Compiled]
    largest: fit.Largest | None
    cost: Cost | None
    epochs: int
    images: int
    source: str
    dtype: str


def text(plan: Plan) -> str:
    """Tables and sentences, without a final newline."""
    parts = [_title(plan), _memory(plan), _work(plan)]
    parts += [_about(plan), _batches(plan), _cost(plan), _honesty(plan)]
    return "\n\n".join(part for part in parts if part)


def _title(plan: Plan) -> str:
    device = plan.device
    chips = wording.count(device.count, "chip")
    first = f"Plan for {device.name}: {chips}, {plan.dtype}. {_verdict(plan)}"
    return f"{first}\nTaxa of {plan.source}."


def _verdict(plan: Plan) -> str:
    said = []
    for name, found in plan.programs.items():
        kind = fit.verdict(found, plan.device, plan.memory)
        batch = wording.count(found.batch, "image")
        if kind == fit.FITS:
            said.append(f"{name} with {batch} fits.")
        elif kind == fit.TOO_LARGE:
            said.append(
                f"{name} with {batch} DOES NOT FIT: {_gib(found.total)} of "
                f"{_gib(found.available or plan.memory)} GiB."
                if found.total
                else f"{name} with {batch} DOES NOT FIT: {found.refused}"
            )
        elif kind == fit.RECOMPUTES:
            said.append(
                f"{name} with {batch} fits ONLY BY RECOMPUTING ({_extra(plan, found)})."
            )
        else:
            said.append(f"{name} with {batch} needs {_gib(found.total)} GiB.")
    return " ".join(said)


def _extra(plan: Plan, found: Compiled) -> str:
    """What recomputing costs, in words."""
    others = [found] if found.program != "train" else _train_steps(plan)
    more = fit.extra_work(found, others)
    work = "extra work not known" if more is None else f"{100 * more:+.1f} % work"
    return f"{wording.count(found.repeated, 'instruction')} twice, {work} an image"


def _train_steps(plan: Plan) -> list[Compiled]:
    return [plan.programs["train"], *plan.others]


def _memory(plan: Plan) -> str:
    """What the memory of one chip is for, in one unit."""
    compiled = list(plan.programs.values())
    unit = _GIB if max(one.total for one in compiled) >= _LARGE else _MIB

    def cells(sizes: Iterable[float | None]) -> list[str]:
        return ["?" if size is None else f"{size / unit:.2f}" for size in sizes]

    header = [f"{'GiB' if unit == _GIB else 'MiB'} on one chip", *plan.programs]
    rows = [
        [purpose, *cells(one.sizes.get(purpose, 0) for one in compiled)]
        for purpose in _PURPOSES
    ]
    rows += [
        ["activations, gradients", *cells(one.memory.get("temp") for one in compiled)],
        ["code", *cells(one.memory.get("code") for one in compiled)],
        ["results, padding", *cells(_rest(one) for one in compiled)],
        ["all", *cells(one.total or None for one in compiled)],
    ]
    if plan.memory:
        rows.append(["there are", *cells([plan.memory] * len(compiled))])
    return tables.format_table(header, rows)


def _rest(one: Compiled) -> int | None:
    """Bytes of results, and of the padding of arguments and results."""
    if not one.memory:
        return None
    return one.total - sum(one.sizes.values()) - one.memory["temp"] - one.memory["code"]


def _work(plan: Plan) -> str:
    header = ["on one chip, a batch", *plan.programs]
    found = list(plan.programs.values())
    limits = [estimate.bounds(one, plan.device) for one in found]
    rows = [
        ["images of the batch, all chips", *(f"{one.batch}" for one in found)],
        ["GFLOP an image", *(_number(one.work / one.images / 1e9) for one in found)],
        ["main memory moved, GB", *(_number(one.moved / 1e9) for one in found)],
        ["of it padding, %", *(f"{100 * one.padding:.1f}" for one in found)],
    ]
    if plan.device.chip.bandwidth:
        rows += [
            ["least ms: memory", *(_number(1e3 * one.memory) for one in limits)],
            ["least ms: products", *(_number(1e3 * one.compute) for one in limits)],
        ]
    if plan.device.count > 1:
        rows.append(["least ms: links", *(_number(1e3 * one.links) for one in limits)])
    rows.append(["seconds of compilation", *(f"{one.seconds:.0f}" for one in found)])
    if any(one.processor for one in found):  # not in caches of earlier versions
        rows.append(["of processor time", *(_number(one.processor) for one in found)])
    return tables.format_table(header, rows)


def _about(plan: Plan) -> str:
    lines = []
    for name, one in plan.programs.items():
        if one.flops_of_products:
            lines.append(f"{name}: products {_products(one, plan.device)}")
        if one.collectives:
            lines.append(f"{name}: sent {_collectives(one)}")
    train = plan.programs["train"]
    on_tpu = plan.device.chip.family == "tpu"
    if on_tpu and any("f32 default" in one for one in train.flops_of_products):
        lines.append("float32 factors at the default precision are rounded to bfloat16")
    if on_tpu and train.padding > 0.01:
        batch = fit.unpadded(train, plan.device)
        if batch != train.batch:
            lines.append(
                f"train: {batch} images, {batch // plan.device.count} a chip, would "
                "fill the lanes of its registers, without padding of that axis"
            )
    return "\n".join(lines)


def _products(one: Compiled, device: Device) -> str:
    whole = sum(one.flops_of_products.values()) or 1.0
    parts = []
    for name, work in _most(one.flops_of_products):
        said = f"{100 * work / whole:.3g} % in {name}"
        if device.chip.peak:
            factor = estimate.passes(name, device.chip)
            said += f" (x{factor:.3g})" if round(factor, 2) != 1 else ""
        parts.append(said)
    return ", ".join(parts)


def _collectives(one: Compiled) -> str:
    by_bytes = sorted(one.collectives.items(), key=lambda pair: -pair[1][1])
    parts = [
        f"{size / 1e6:.3g} MB in {number} {name}"
        for name, (number, size) in by_bytes[:_SHOWN]
    ]
    more = len(by_bytes) - len(parts)
    return ", ".join(parts) + (f" and {more} other kinds" if more else "")


def _most(counted: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(counted.items(), key=lambda pair: -pair[1])[:_SHOWN]


def _batches(plan: Plan) -> str:
    found = plan.largest
    if found is None:
        return ""
    if not plan.memory:
        return "Largest batch: not known, as the memory is not."
    said = []
    if found.fits:
        said.append(f"{found.fits} images were compiled and fit")
    if found.recomputes:
        (one,) = (one for one in _train_steps(plan) if one.batch == found.recomputes)
        said.append(f"{found.recomputes} fit only by recomputing ({_extra(plan, one)})")
    if found.too_large:
        said.append(f"{found.too_large} do not fit")
    end = ""
    if fit.fixed(plan.programs["train"]) >= plan.memory:
        end = "; the weights and the optimizer alone leave no memory for images"
    elif found.line >= found.images:
        end = f"; the training has {found.images}, all of which would fit at once"
        end += " by the line of its memory" if found.fits < found.images / 2 else ""
    elif found.line:
        end = f"; the line through them meets the memory at {found.line}"
    tried = ", ".join(map(str, found.tried))
    return f"Largest batch: {', '.join(said)}{end} (compiled: {tried})."


def _cost(plan: Plan) -> str:
    cost = plan.cost
    if cost is None:
        why = "as the batch does not fit"
        train = plan.programs["train"]
        if fit.verdict(train, plan.device, plan.memory) != fit.TOO_LARGE:
            why = "as the rates of this device are not known"
        return f"Time: not estimated, {why}."
    least, guess = cost.hours
    starts = ""
    if plan.device.chip.family == "gpu":
        kernels = plan.programs["train"].launched
        starts = f", and {1e6 * estimate.LAUNCH:g} us for each of {kernels} kernels"
    said = (
        f"{wording.count(plan.epochs, 'epoch')} of {plan.images} images, "
        f"{wording.count(cost.steps, 'step')}: from {_time(least)} (no step can be "
        f"faster) to {_time(guess)} (a guess: {estimate.SLOWEST:g} times that{starts})"
    )
    if cost.money is None:
        return f"{said}. No price is known of {plan.device.chip.name}."
    low, high = cost.money
    return (
        f"{said}; {low:.2g} to {high:.2g} {cost.currency} at {cost.price:g} "
        f"{cost.currency} a chip and hour."
    )


def _honesty(plan: Plan) -> str:
    family = plan.device.chip.family
    lines = [
        "Nothing was run: the programs were compiled"
        + (" for a description of the device." if family != "cpu" else "."),
        "Of the compiler: memory, seconds of compilation"
        + (", GFLOP" if family != "gpu" else ""),
        "Counted from its program: bytes moved, padding, products, what is sent"
        + (", GFLOP (products alone)" if family == "gpu" else ""),
    ]
    if plan.device.chip.bandwidth:
        lines.append("Bounds: least ms, from peak rates of data sheets")
    if plan.cost is not None:
        lines.append(
            "Guesses: the upper end of time and cost; prices are round numbers unless "
            "--prices gives yours; validation, reading of images and compilation are "
            "left out"
        )
    if family == "gpu":
        lines.append(
            f"There are: {100 * fit.GPU_SHARE:.0f} % of the card, which JAX takes at "
            "its start (XLA_PYTHON_CLIENT_MEM_FRACTION). The workspace of cuDNN is in "
            "no figure"
        )
    return "\n".join(lines)


def _time(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.3g} s"
    return f"{60 * hours:.3g} min" if hours < 1 else f"{hours:.3g} h"


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f}"


def _number(value: float) -> str:
    return "?" if not value else f"{value:.3g}"


def plan_json(plan: Plan, bounds: Mapping[str, Bounds]) -> dict:
    """The plan for plan.json."""
    cost, largest = plan.cost, plan.largest
    return {
        "device": plan.device.name,
        "chips": plan.device.count,
        "chip": plan.device.chip.name,
        "memory_of_a_chip": plan.memory,
        "programs": {
            name: {
                **one.to_json(),
                "total": one.total,
                "verdict": fit.verdict(one, plan.device, plan.memory),
                "least_seconds": vars(bounds[name]),
            }
            for name, one in plan.programs.items()
        },
        "other_batches": [
            {
                **one.to_json(),
                "total": one.total,
                "verdict": fit.verdict(one, plan.device, plan.memory),
            }
            for one in plan.others
        ],
        "largest_batch": None if largest is None else vars(largest),
        "epochs": plan.epochs,
        "images": plan.images,
        "cost": None if cost is None else vars(cost),
        "taxa": plan.source,
        "ran": False,
    }
