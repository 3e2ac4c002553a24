"""Reader of optimized HLO text, as `jax.stages.Compiled.as_text` returns it.

The grammar is that of XLA's `HloModule::ToString`: a header, computations of one
instruction a line, and the entry computation. Only what the counts of this package need
is read: shapes with their layouts, opcodes, operands, and the attributes as text.

A layout such as {3,0,2,1:T(8,128)(2,1)S(1)} lists the dimensions from minor to major,
the tile that the minor dimensions are padded to, and the memory: S(1) is the vector
memory of a TPU, S(5) the host's; without S(n) it is the main memory of the device.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_ARRAY = re.compile(r"\b(pred|(?:bf|f|s|u|c)\d+\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_LINE = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)")
_OPCODE = re.compile(r" ?([a-z][\w\-]*)(\(.*)", re.DOTALL)
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{$")
_OPERAND = re.compile(r"%([\w.\-]+)(?:#(\d+))?")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation"
    r"|branch_computations|called_computations)=(\{[^{}]*\}|%?[\w.\-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ALIAS = re.compile(r"\{([\d, ]*)\}: \((\d+), \{([\d, ]*)\}")
COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "ragged-all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
)


@dataclass(frozen=True)
class Array:
    """One array of a program.

    Attributes:
      dtype: as HLO names it: "bf16", "f32", "s32", "pred".
      dims: sizes of its axes.
      size: bytes of its elements.
      padded: bytes with the padding of its layout.
      space: number of its memory; 0 is the main memory.
    """

    dtype: str
    dims: tuple[int, ...]
    size: int
    padded: int
    space: int = 0

    @property
    def in_main_memory(self) -> bool:
        """Whether the array is in the device's main memory."""
        return self.space == 0


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
      name: unique in its computation.
      opcode: "fusion", "convolution", "all-reduce-start", ...
      results: the arrays that it returns; those of nested tuples in order.
      operands: names of instructions of the same computation.
      elements: for each operand the index in a tuple of the array that is passed
        ("%name#1"), or None for the whole result.
      attributes: text after the operands.
      is_root: whether the computation returns its result.
    """

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    attributes: str
    is_root: bool = False
    elements: tuple[int | None, ...] = ()

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations that it runs or applies."""
        found = _CALLED.findall(self.attributes)
        names = [re.findall(r"[\w.\-]+", one) for one in found]
        return tuple(name for each in names for name in each)

    @property
    def trips(self) -> int:
        """Iterations of a loop, if the compiler knows them; otherwise 1."""
        found = _TRIPS.search(self.attributes)
        return int(found.group(1)) if found else 1

    @property
    def op_name(self) -> str:
        """Where the operation comes from, as traced by JAX; "" if it is unknown."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found.group(1) if found else ""


@dataclass(frozen=True)
class Computation:
    """Instructions by name, in the order of the text."""

    name: str
    instructions: Mapping[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        """The instruction that the computation returns."""
        return next(one for one in self.instructions.values() if one.is_root)

    @property
    def parameters(self) -> tuple[Instruction, ...]:
        """The parameters, by number."""
        found = (i for i in self.instructions.values() if i.opcode == "parameter")
        return tuple(sorted(found, key=lambda one: int(one.attributes[1:-1] or 0)))

    def arrays(self, instruction: Instruction) -> list[tuple[Array, ...]]:
        """The arrays of each operand of an instruction of this computation."""
        found = []
        pairs = zip(instruction.operands, instruction.elements, strict=True)
        for name, element in pairs:
            results = self.instructions[name].results
            found.append(results if element is None else (results[element],))
        return found


@dataclass(frozen=True)
class Alias:
    """A result that is written into the memory of a donated parameter.

    Attributes:
      output: index of the result, () if the program returns one array.
      parameter: number of the entry computation's parameter.
    """

    output: tuple[int, ...]
    parameter: int


@dataclass(frozen=True)
class Program:
    """A compiled program: its computations by name, the entry's name, its aliases."""

    computations: Mapping[str, Computation]
    entry_name: str
    aliases: tuple[Alias, ...] = ()

    @property
    def entry(self) -> Computation:
        """The computation that a call of the program runs."""
        return self.computations[self.entry_name]


@dataclass(frozen=True)
class Step:
    """An instruction with its computation, and how often the program runs it."""

    computation: Computation
    instruction: Instruction
    times: int


@dataclass(frozen=True)
class Collective:
    """A communication between devices.

    Attributes:
      kind: one of COLLECTIVES.
      name: of its instruction.
      arrays: that each device passes.
      times: how often the program runs it.
    """

    kind: str
    name: str
    arrays: tuple[Array, ...]
    times: int

    @property
    def size(self) -> int:
        """Bytes that each device passes, over all runs."""
        return self.times * sum(array.size for array in self.arrays)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Dtypes of its arrays, sorted."""
        return tuple(sorted({array.dtype for array in self.arrays}))


def parse(text: str) -> Program:
    """Reads a program.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        if not line.startswith(" "):
            found = _COMPUTATION.fullmatch(line.rstrip())
            current = computations.setdefault(found.group(2), {}) if found else None
            if found and found.group(1):
                entry = found.group(2)
        elif current is not None:
            instruction = _instruction(line)
            if instruction is not None:
                current[instruction.name] = instruction
    if entry is None:
        raise ValueError("expected the text of an HLO module, found no ENTRY in it.")
    known = {name: Computation(name, body) for name, body in computations.items()}
    return Program(known, entry, _aliases(text[: text.find("\n")]))


def parse_arrays(text: str) -> tuple[Array, ...]:
    """The arrays in the text of a shape, such as "(f32[2]{0}, pred[])"."""
    return tuple(_array(*found) for found in _ARRAY.findall(text))


def steps(program: Program, *, fused: bool = False) -> Iterator[Step]:
    """Every instruction that the program runs, with its number of runs.

    Bodies of loops, calls, asynchronous calls and all branches of a conditional are
    entered; the functions that reductions, sorts and maps apply are not.

    Args:
      program: of `parse`.
      fused: whether to enter fusions, where no instruction writes to memory.
    """
    entered = {"while", "call", "conditional", "async-start"}
    if fused:
        entered.add("fusion")

    def run(name: str, times: int) -> Iterator[Step]:
        computation = program.computations[name]
        for one in computation.instructions.values():
            yield Step(computation, one, times)
            if one.opcode in entered:
                for called in one.called:
                    yield from run(called, times * one.trips)

    return run(program.entry_name, 1)


def collectives(program: Program) -> tuple[Collective, ...]:
    """All communications of the program, in the order of the text."""
    found = []
    for step in steps(program, fused=True):
        one = step.instruction
        kind = one.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            arrays = tuple(a for each in step.computation.arrays(one) for a in each)
            found.append(Collective(kind, one.name, arrays, step.times))
    return tuple(found)


def rematerialized(program: Program) -> tuple[Instruction, ...]:
    """Instructions that the compiler repeats so as not to store their results.

    XLA does so, without a message, where a program would not fit into the memory.
    """
    found = (step.instruction for step in steps(program))
    return tuple(one for one in found if ".remat" in one.name)


def largest(
    program: Program, count: int, dtypes: tuple[str, ...] = ()
) -> tuple[tuple[Array, Instruction], ...]:
    """The largest arrays that instructions write to main memory.

    Args:
      program: of `parse`.
      count: how many.
      dtypes: only arrays of these; all if empty.

    Returns:
      Pairs of an array and its instruction by falling padded size. Views and
      parameters are left out.
    """
    views = {"parameter", "tuple", "get-tuple-element", "bitcast", "while", "call"}
    views |= {"conditional", "opt-barrier", "after-all"}
    found = [
        (array, step.instruction)
        for step in steps(program)
        if step.instruction.opcode not in views
        and not step.instruction.opcode.endswith(("-start", "-update"))
        for array in step.instruction.results
        if array.in_main_memory and (not dtypes or array.dtype in dtypes)
    ]
    return tuple(sorted(found, key=lambda pair: -pair[0].padded)[:count])


def _instruction(line: str) -> Instruction | None:
    found = _LINE.fullmatch(re.sub(r"/\*.*?\*/", "", line))
    if not found:
        return None
    is_root, name, rest = found.groups()
    cut = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    opcode, rest, shape = *_OPCODE.fullmatch(rest[cut:]).groups(), rest[:cut]
    end = _closing(rest) + 1
    if opcode in ("parameter", "constant"):  # a number or values, no operands
        given, attributes = [], rest[:end] if opcode == "parameter" else ""
    else:
        given, attributes = _OPERAND.findall(rest[:end]), rest[end:]
    return Instruction(
        name,
        opcode,
        parse_arrays(shape),
        tuple(operand for operand, _ in given),
        attributes,
        bool(is_root),
        tuple(int(element) if element else None for _, element in given),
    )


def _closing(text: str) -> int:
    """Place of the parenthesis that closes the one at the start of the text."""
    depth = 0
    for found in re.finditer(r"[()]", text):
        depth += 1 if found.group() == "(" else -1
        if not depth:
            return found.start()
    raise ValueError(f"expected closed parentheses, found {text[:80]!r}.")


def _array(dtype: str, dims: str, layout: str) -> Array:
    digits = re.search(r"\d+", dtype)
    bits = int(digits.group()) if digits else 8  # pred
    sizes = tuple(int(size.lstrip("<=")) for size in dims.split(",") if size)
    order, _, more = layout.partition(":")
    minor = [sizes[int(place)] for place in order.split(",") if place]
    tile = re.search(r"T\(([\d,]+)\)", more)
    tiles = [int(side) for side in tile.group(1).split(",")] if tile else []
    for place, side in enumerate(reversed(tiles)):
        if place == len(minor):
            minor.append(1)
        minor[place] = -(-minor[place] // side) * side
    space = re.search(r"S\((\d+)\)", more)
    return Array(
        dtype,
        sizes,
        -(-math.prod(sizes) * bits // 8),
        -(-math.prod(minor or sizes) * bits // 8),
        int(space.group(1)) if space else 0,
    )


def _aliases(header: str) -> tuple[Alias, ...]:
    _, _, rest = header.partition("input_output_alias={")
    inside, _, _ = rest.partition(" }")
    found = _ALIAS.findall(inside)
    return tuple(
        Alias(tuple(int(n) for n in output.split(",") if n.strip()), int(parameter))
        for output, parameter, _ in found
    )
