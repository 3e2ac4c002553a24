"""Bytes that a compiled program reads and writes, counted from its HLO text.

Each instruction outside of fusions is charged its operands and its results, as XLA's
`HloCostAnalysis` does, which `Compiled.cost_analysis` reports. The differences:

- It works for every platform; `cost_analysis` has no figure on GPUs.
- A copy between memories is charged once, when it starts. On TPUs `cost_analysis`
  charges it at its start and at its end.
- Of overlapping slices of an operand at most the whole operand is charged, and the body
  of a loop as often as it runs; `cost_analysis` charges each slice, and the body once.
  It says 15,968 bytes of x[:-2] + x[1:-1] + x[2:] with 1,000 float32 numbers, of which
  4,000 bytes are read and 3,992 written. On CPUs the counts differ in nothing else.
- Padding of layouts and memories other than the main memory are counted separately.

A cache between the main memory and the cores is not modelled, so the counts are neither
an upper nor a lower bound of what a device moves.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hiercam_keras.plan.hlo import Array, Computation, Instruction, Program

# Instructions that move nothing: views, and the ends of what was charged at its start.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "add-dependency",
    "opt-barrier",
    "partition-id",
    "replica-id",
    "async-update",
}
_CALLS = {"while", "call", "conditional", "async-start"}
_SLICES = {"slice", "dynamic-slice", "gather"}


@dataclass(frozen=True)
class Traffic:
    """Bytes moved by one run of a program.

    Attributes:
      size: in all memories, without padding.
      padded: in all memories, with the padding of layouts.
      main_size: in main memory, without padding.
      main: in main memory, with padding.
    """

    size: int = 0
    padded: int = 0
    main_size: int = 0
    main: int = 0

    @property
    def padding_share(self) -> float:
        """Share of the bytes moved in main memory that is padding, 0 to 1."""
        return 1 - self.main_size / self.main if self.main else 0.0

    def __add__(self, other: "Traffic") -> "Traffic":
        pairs = zip(_fields(self), _fields(other), strict=True)
        return Traffic(*(one + two for one, two in pairs))

    def times(self, count: int) -> "Traffic":
        """The bytes of `count` runs."""
        return Traffic(*(count * one for one in _fields(self)))

    def at_most(self, limit: "Traffic") -> "Traffic":
        """The smaller one of both, by field."""
        pairs = zip(_fields(self), _fields(limit), strict=True)
        return Traffic(*(min(pair) for pair in pairs))


def _fields(one: Traffic) -> tuple[int, int, int, int]:
    return one.size, one.padded, one.main_size, one.main


def program_traffic(program: Program) -> Traffic:
    """Bytes moved by one run of a program.

    Loops count by their known iterations, and of a conditional the largest branch.
    """
    return _computation(program, program.entry_name)


def _computation(program: Program, name: str) -> Traffic:
    computation, total = program.computations[name], Traffic()
    for one in computation.instructions.values():
        if one.opcode in _CALLS:
            called = [_computation(program, name) for name in one.called]
            if one.opcode == "conditional":
                pairs = zip(*map(_fields, called), strict=True)
                total += Traffic(*map(max, pairs))
            else:
                total += sum(called, Traffic()).times(one.trips)
        else:
            total += instruction_traffic(program, computation, one)
    return total


def instruction_traffic(
    program: Program, computation: Computation, one: Instruction
) -> Traffic:
    """Bytes moved by one run of an instruction; none by those that run others."""
    if one.opcode in _FREE | _CALLS or one.opcode.endswith("-done"):
        return Traffic()
    if one.opcode == "custom-call" and "ConcatBitcast" in one.attributes:
        return Traffic()
    operands = computation.arrays(one)
    if one.opcode == "fusion":
        return _fusion(program, operands, one)
    if one.opcode == "copy-start":  # (to, from, context)
        return _moved(one.results[:2])
    if one.opcode in ("slice-start", "dynamic-slice-start"):  # ((from), to, context)
        return _moved([one.results[-2]]) + _read_slice(operands[0], one.results[-2])
    if one.opcode.endswith("-start") and len(one.results) > 1:  # ((from), (to))
        return _moved(one.results)
    if one.opcode in _SLICES:
        indices = sum(map(_moved, operands[1:]), Traffic())
        read = _read_slice(operands[0], *one.results)
        return _moved(one.results) + read + indices
    if one.opcode == "dynamic-update-slice":
        # Writes the update into the operand's memory.
        return _moved(operands[1]).times(2) + sum(map(_moved, operands[2:]), Traffic())
    return _moved(one.results) + sum(map(_moved, operands), Traffic())


def _fusion(
    program: Program, operands: list[tuple[Array, ...]], one: Instruction
) -> Traffic:
    (name,) = one.called[:1]
    inner = program.computations[name]
    read = Traffic()
    for parameter, arrays in zip(inner.parameters, operands, strict=True):
        read += _read(program, inner, parameter.name).at_most(_moved(arrays))
    root = inner.root
    outputs = root.operands if root.opcode == "tuple" else (root.name,)
    if len(outputs) != len(one.results):
        return read + _moved(one.results)
    written = (
        _written(inner, output, result)
        for output, result in zip(outputs, one.results, strict=True)
    )
    return read + sum(written, Traffic())


def _written(inner: Computation, output: str, result: Array) -> Traffic:
    """Bytes of a fusion's result; an update in place writes the update alone."""
    root = inner.instructions[output]
    while root.opcode == "bitcast":
        root = inner.instructions[root.operands[0]]
    if root.opcode == "dynamic-update-slice":
        update = inner.instructions[root.operands[1]].results
        return _in_memory_of(update, result).at_most(_moved([result]))
    return _moved([result])


def _read(program: Program, inner: Computation, name: str) -> Traffic:
    """Bytes that a fusion reads of one of its parameters."""
    whole = _moved(inner.instructions[name].results)
    found, memory = Traffic(), inner.instructions[name].results
    for user in inner.instructions.values():
        if name not in user.operands:
            continue
        if user.opcode == "fusion":
            (called,) = user.called[:1]
            below = program.computations[called]
            for place, operand in enumerate(user.operands):
                if operand == name:
                    found += _read(program, below, below.parameters[place].name)
        elif user.opcode == "bitcast":
            found += _read(program, inner, user.name)
        elif user.opcode in _SLICES and user.operands[0] == name:
            if user.operands.count(name) > 1:
                return whole
            found += _in_memory_of(user.results, *memory)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
            if user.operands.count(name) > 1:
                return whole
        else:
            return whole
    return found


def _read_slice(source: Iterable[Array], *slices: Array) -> Traffic:
    source = tuple(source)
    return _in_memory_of(slices, *source).at_most(_moved(source))


def _in_memory_of(arrays: Iterable[Array], *source: Array) -> Traffic:
    """Bytes of arrays that are read from, or written to, the memory of `source`."""
    main = any(array.in_main_memory for array in source)
    size, padded = (
        sum(getattr(one, name) for one in arrays) for name in ("size", "padded")
    )
    return Traffic(size, padded, size * main, padded * main)


def _moved(arrays: Iterable[Array]) -> Traffic:
    """Bytes of arrays, each moved once."""
    arrays = tuple(arrays)
    main = [array for array in arrays if array.in_main_memory]
    return Traffic(
        sum(array.size for array in arrays),
        sum(array.padded for array in arrays),
        sum(array.size for array in main),
        sum(array.padded for array in main),
    )
