"""Matrix products and convolutions of a compiled program: their work and precision.

A product is an instruction `dot` or `convolution`, in a fusion or outside, or a call of
cuBLAS or cuDNN. Its work is 2 FLOPs for each multiplication of two elements that exist:
those with padding, or between the elements of a dilated array, are not counted.
"""

import json
import math
import re
from dataclasses import dataclass

from hiercam_keras.plan.hlo import Array, Instruction, Program, steps

_WINDOW = re.compile(r"\bwindow=\{([^}]*)\}")
_LABELS = re.compile(r"\bdim_labels=(\w+)_(\w+)->(\w+)")
_PRECISION = re.compile(r"\boperand_precision=\{(\w+)")
_ALGORITHM = re.compile(r"\balgorithm=(\w+)")
# Places of input, filter and output among a cuDNN call's operands and result (-1).
_CUDNN = {
    "__cudnn$convForward": (0, 1, -1),
    "__cudnn$convBiasActivationForward": (0, 1, -1),
    "__cudnn$convBackwardInput": (-1, 1, 0),
    "__cudnn$convBackwardFilter": (0, -1, 1),
}


@dataclass(frozen=True)
class Product:
    """A matrix product or convolution.

    Attributes:
      name: of its instruction.
      kind: "dot" or "convolution".
      dtypes: of the two factors.
      precision: "default", "high" or "highest", or the name of an algorithm. On TPUs
        the products of float32 factors are of one, three or six bfloat16 products.
      flops: 2 times the multiplications, over all runs.
    """

    name: str
    kind: str
    dtypes: tuple[str, str]
    precision: str
    flops: int


def products(program: Program) -> tuple[Product, ...]:
    """All products of a program, in the order of the text."""
    found = []
    for step in steps(program, fused=True):
        one = step.instruction
        operands = [each[0] for each in step.computation.arrays(one) if each]
        product = _product(one, operands)
        if product is not None:
            kind, flops = product
            dtypes = operands[0].dtype, operands[1].dtype
            precision = _precision(one)
            found.append(Product(one.name, kind, dtypes, precision, flops * step.times))
    return tuple(found)


def _product(one: Instruction, operands: list[Array]) -> tuple[str, int] | None:
    """Kind and FLOPs of an instruction; None if it is no product."""
    if one.opcode == "dot":
        (contracted,) = re.findall(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
        axes = [int(axis) for axis in contracted.split(",") if axis]
        return "dot", _dot(operands[0], one.results[0], axes)
    if one.opcode == "convolution":
        return "convolution", _convolution(one, *operands[:2], one.results[0])
    if one.opcode != "custom-call":
        return None
    target = re.search(r'custom_call_target="([^"]*)"', one.attributes)
    target = target.group(1) if target else ""
    if target in _CUDNN:
        given = [*operands[:2], one.results[0]]
        arrays = [given[place] for place in _CUDNN[target]]
        return "convolution", _convolution(one, *arrays)
    if target.startswith("__cublas$"):
        numbers = _backend(one).get("dot_dimension_numbers", {})
        axes = [int(axis) for axis in numbers.get("lhs_contracting_dimensions", ())]
        return "dot", _dot(operands[0], one.results[0], axes)
    return None


def _dot(lhs: Array, result: Array, contracted: list[int]) -> int:
    sizes = (lhs.dims[axis] for axis in contracted)
    return 2 * math.prod(result.dims) * math.prod(sizes)


def _convolution(one: Instruction, image: Array, kernel: Array, output: Array) -> int:
    """FLOPs from the roles of the three arrays in the forward convolution."""
    labels = _LABELS.search(one.attributes)
    images, filters, outputs = labels.groups()
    window = _window(one, len(filters) - 2)
    work = 2 * kernel.dims[filters.index("i")]
    work *= output.dims[outputs.index("b")] * output.dims[outputs.index("f")]
    for axis, side in enumerate(window):
        work *= side.pairs(
            image.dims[images.index(str(axis))], output.dims[outputs.index(str(axis))]
        )
    return work


@dataclass(frozen=True)
class _Side:
    """One axis of a window: taps, stride, padding in front, dilations."""

    size: int = 1
    stride: int = 1
    pad: int = 0
    image_dilation: int = 1
    kernel_dilation: int = 1

    def pairs(self, image: int, output: int) -> int:
        """Number of pairs of an output and a tap that meet an element of the image."""
        extent = (image - 1) * self.image_dilation + 1
        places = (
            out * self.stride + tap * self.kernel_dilation - self.pad
            for out in range(output)
            for tap in range(self.size)
        )
        return sum(
            0 <= place < extent and place % self.image_dilation == 0 for place in places
        )


def _window(one: Instruction, rank: int) -> list[_Side]:
    found = _WINDOW.search(one.attributes)
    fields = dict(part.split("=") for part in (found.group(1) if found else "").split())
    numbers = {
        name: [int(value.split("_")[0]) for value in fields[key].split("x")]
        for name, key in (
            ("size", "size"),
            ("stride", "stride"),
            ("pad", "pad"),
            ("image_dilation", "lhs_dilate"),
            ("kernel_dilation", "rhs_dilate"),
        )
        if key in fields
    }
    return [
        _Side(**{name: values[axis] for name, values in numbers.items()})
        for axis in range(rank)
    ]


def _precision(one: Instruction) -> str:
    found = _PRECISION.search(one.attributes)
    algorithm = _ALGORITHM.search(one.attributes)
    if algorithm:
        return algorithm.group(1)
    if found:
        return found.group(1)
    config = _backend(one)
    config = config.get("precision_config", config)
    algorithm = config.get("algorithm", "ALG_UNSET")
    if algorithm != "ALG_UNSET" and isinstance(algorithm, str):
        return algorithm.removeprefix("ALG_").lower()
    return (config.get("operand_precision") or ["DEFAULT"])[0].lower()


def _backend(one: Instruction) -> dict:
    """The backend_config of a library call, without the levels around it."""
    _, _, rest = one.attributes.partition("backend_config=")
    if not rest.startswith("{"):
        return {}
    try:
        config, _ = json.JSONDecoder().raw_decode(rest)
    except ValueError:
        return {}
    for name in ("gemm_backend_config", "cudnn_conv_backend_config"):
        config = config.get(name, config)
    return config
