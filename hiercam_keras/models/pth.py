"""Reads a PyTorch state dict (.pth) without PyTorch and without executing code.

Two formats exist. Since PyTorch 1.6 `torch.save` writes a zip archive with the pickle
`data.pkl` and one file of raw values for each storage. Earlier versions wrote several
pickles in sequence, followed by the raw values. In both formats a pickle describes the
tensors: names, shapes, strides, and the storages that hold their values.

A pickle can call any importable function. This reader first scans the pickle's opcodes
and accepts only those that `torch.save` writes. It then unpickles with only the globals
in ALLOWED, which construct descriptions of tensors; PyTorch is not imported. Sizes are
checked against the file's size before an array is created.
"""

import collections
import dataclasses
import io
import math
import os
import pathlib
import pickle
import pickletools
import zipfile
from typing import Any

import numpy as np

from hiercam_keras.errors import UserError

_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled number
_PROTOCOL = 1001
_STORAGES = {
    "BoolStorage": "?",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
}
_OPCODES = frozenset(
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "BINUNICODE SHORT_BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST "
    "APPEND APPENDS EMPTY_DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD "
    "BINPERSID BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET".split()
)
# Errors of pickle, zipfile and the conversions below for files that are no state dict.
_BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


class _Refused(Exception):
    """Reason to reject a file: the rest of a sentence that begins with the path."""


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    length: int  # of values


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Rebuild:
    """Replaces `torch._utils._rebuild_tensor_v2`; a pickle cannot change it."""

    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise _Refused("has a tensor without a storage")
        tensor = _Tensor(storage, offset, tuple(shape), tuple(strides))
        numbers = (offset, *tensor.shape, *tensor.strides)
        if any(type(n) is not int or n < 0 for n in numbers) or (
            len(tensor.shape) != len(tensor.strides)
        ):
            raise _Refused(f"has a tensor of shape {shape} and strides {strides}")
        return tensor

    def __setstate__(self, state):
        raise _Refused("sets attributes of torch._utils._rebuild_tensor_v2")


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
    **{("torch", name): name for name in _STORAGES},
}


class _Unpickler(pickle.Unpickler):
    """Resolves only the globals in ALLOWED; returns descriptions of storages."""

    def find_class(self, module_name, global_name):
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise _Refused(
                f"names {module_name}.{global_name}, which is no part of a state dict "
                "of tensors; nothing of it was executed"
            ) from None

    def persistent_load(self, pid):
        kind, storage_type, key, _, length = pid[:5]
        if kind != "storage" or any(part is not None for part in pid[5:]):
            raise _Refused(f"has an object {kind!r} of an unknown form")
        if type(length) is not int or length < 0 or type(key) is not str:
            raise _Refused(f"has a storage {key!r} of length {length!r}")
        return _Storage(key, np.dtype(_STORAGES[storage_type]), length)


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a .pth file by name, as read-only arrays in file order.

    The file holds a dict from names to dense tensors of bool, integers, float16,
    float32 or float64, as `torch.save(module.state_dict(), path)` writes it in either
    format. The arrays are views of the file's bytes, with PyTorch's axis order.

    Raises UserError if the file is missing, truncated or of another kind, refers to
    another type or function, or has a tensor that exceeds its storage.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        read = _read_zip if data[:4] == b"PK\x03\x04" else _read_legacy
        described, values = read(data)
        return {
            name: _array(name, tensor, values[tensor.storage.key])
            for name, tensor in described.items()
        }
    except _Refused as error:
        raise UserError(
            f"{path} {error}. Expected a PyTorch state dict of dense tensors."
        ) from error
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path}: truncated, damaged or no PyTorch state dict ({reason}). Get the "
            "file again."
        ) from error


def _unpickle(file: io.BytesIO) -> Any:
    """Reads one pickle at the file's position and advances the position past it."""
    start = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name not in _OPCODES:
            what = f" {argument!r}" if isinstance(argument, str) else ""
            raise _Refused(f"has the pickle opcode {opcode.name}{what}")
        # The unpickler would allocate a memo of this size.
        if opcode.name == "LONG_BINPUT" and argument > file.tell():
            raise _Refused(f"has a pickle with the memo index {argument}")
    end = file.tell()
    file.seek(start)
    return _Unpickler(io.BytesIO(file.read(end - start))).load()


def _described(value: Any) -> dict[str, _Tensor]:
    if not isinstance(value, dict):
        raise _Refused(f"holds a {type(value).__name__}, not a dict of tensors")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _Refused(f"holds a {type(tensor).__name__} under {str(name)[:80]!r}")
    return dict(value)


def _storages(described: dict[str, _Tensor]) -> dict[str, _Storage]:
    found: dict[str, _Storage] = {}
    for tensor in described.values():
        storage = tensor.storage
        if found.setdefault(storage.key, storage) != storage:
            raise _Refused(f"describes the storage {storage.key!r} in two ways")
    return found


def _read_zip(data: bytes) -> tuple[dict[str, _Tensor], dict[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _Refused("is a zip archive without one data.pkl")
        folder = pickles[0].removesuffix("data.pkl")

        def read(name: str) -> bytes:
            entry = entries[folder + name]
            # PyTorch does not compress, so no entry can be larger than the file.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data):
                raise _Refused(f"has a compressed entry {entry.filename!r}")
            return archive.read(entry)

        order = read("byteorder") if f"{folder}byteorder" in entries else b"little"
        if order.strip() != b"little":
            raise _Refused(f"has values in the byte order {order[:20]!r}")
        described = _described(_unpickle(io.BytesIO(read("data.pkl"))))
        values, left = {}, len(data)
        for key, storage in _storages(described).items():
            if f"{folder}data/{key}" not in entries:
                raise _Refused(f"has no values of the storage {key!r}")
            size = entries[f"{folder}data/{key}"].file_size
            left -= size
            if size != storage.length * storage.dtype.itemsize or left < 0:
                raise _Refused(
                    f"has {size} bytes for the storage {key!r}, expected "
                    f"{storage.length} values of {storage.dtype}"
                )
            values[key] = np.frombuffer(read(f"data/{key}"), storage.dtype)
    return described, values


def _read_legacy(data: bytes) -> tuple[dict[str, _Tensor], dict[str, np.ndarray]]:
    if not data.startswith(_MAGIC):
        raise _Refused("does not begin as a file of torch.save")
    file = io.BytesIO(data)
    file.seek(len(_MAGIC))
    version = _unpickle(file)
    if version != _PROTOCOL:
        raise _Refused(f"has the format {version!r}, expected {_PROTOCOL}")
    if not _unpickle(file).get("little_endian"):
        raise _Refused("has values in big-endian byte order")
    described = _described(_unpickle(file))
    storages = _storages(described)
    keys = _unpickle(file)
    if sorted(keys) != sorted(storages):
        raise _Refused("lists other storages than its tensors have")
    values, position = {}, file.tell()
    for key in keys:
        storage = storages[key]
        # Each storage starts with its number of values, 8 bytes.
        length = int.from_bytes(data[position : position + 8], "little")
        size = storage.length * storage.dtype.itemsize
        if length != storage.length or position + 8 + size > len(data):
            raise _Refused(
                f"ends or has {length} values in the storage {key!r}, expected "
                f"{storage.length}"
            )
        values[key] = np.frombuffer(data, storage.dtype, storage.length, position + 8)
        position += 8 + size
    if position != len(data):
        raise _Refused(f"has {len(data) - position} bytes behind its values")
    return described, values


def _array(name: str, tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    """The values of a tensor, as a strided view of its storage."""
    count = math.prod(tensor.shape)
    steps = [(n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)]
    last = tensor.offset + sum(steps)
    # A stride of 0 repeats values, so `count` has to be checked as well as `last`.
    if count > len(values) or (count and last >= len(values)):
        raise _Refused(
            f"has a tensor {name!r} of shape {tensor.shape}, strides {tensor.strides} "
            f"and offset {tensor.offset} in a storage of {len(values)} values"
        )
    if not count:
        return np.zeros(tensor.shape, values.dtype)
    item = values.dtype.itemsize
    return np.lib.stride_tricks.as_strided(
        values[tensor.offset :],
        tensor.shape,
        [step * item for step in tensor.strides],
        writeable=False,
    )
