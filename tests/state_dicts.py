"""Writes .pth files as torch.save does, in both formats, without PyTorch."""

import collections
import dataclasses
import io
import pickle
import sys
import types
import zipfile
from unittest import mock

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}
TYPES = {"<f4": "FloatStorage", "<i8": "LongStorage", "<f2": "HalfStorage"}


@dataclasses.dataclass
class Tensor:
    """A tensor as the pickle describes it; None: what its values have.

    claimed: length of the storage that the pickle states.
    """

    values: np.ndarray
    shape: tuple | None = None
    strides: tuple | None = None
    offset: int = 0
    claimed: int | None = None
    key: str = ""

    def __post_init__(self):
        item = self.values.dtype.itemsize
        if self.shape is None:
            self.shape = self.values.shape
        if self.strides is None:
            self.strides = tuple(s // item for s in self.values.strides)
        if self.claimed is None:
            self.claimed = self.values.size


class _Stored:
    def __init__(self, tensor):
        self.tensor = tensor


def _fake_torch():
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch._utils = utils

    def _rebuild_tensor_v2():
        raise AssertionError("only its name is written")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in TYPES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    return torch


def _pickled(value, legacy, protocol=2):
    torch, file = _fake_torch(), io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, _Stored):
                return None
            tensor = obj.tensor
            kind = getattr(torch, TYPES[tensor.values.dtype.str])
            pid = ("storage", kind, tensor.key, "cpu", tensor.claimed)
            return (*pid, None) if legacy else pid

        def reducer_override(self, obj):
            if not isinstance(obj, Tensor):
                return NotImplemented
            rest = (obj.offset, obj.shape, obj.strides, False)
            arguments = (_Stored(obj), *rest, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    modules = {"torch": torch, "torch._utils": torch._utils}
    with mock.patch.dict(sys.modules, modules):
        Pickler(file, protocol).dump(value)
    return file.getvalue()


def _raw(tensor):
    return tensor.values.ravel(order="K").tobytes()


def legacy(value, tensors=(), body=None):
    """The format before PyTorch 1.6; `body`: another pickle in place of the value's."""
    keys = _keys(tensors)
    parts = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, SYSTEM)]
    parts += [body or _pickled(value, True), pickle.dumps(keys, 2)]
    for tensor in tensors:
        parts += [tensor.claimed.to_bytes(8, "little"), _raw(tensor)]
    return b"".join(parts)


def archive(value, tensors=(), body=None):
    """The zip archive of PyTorch 1.6 and later."""
    _keys(tensors)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("net/data.pkl", body or _pickled(value, False))
        out.writestr("net/byteorder", "little")
        for tensor in tensors:
            out.writestr(f"net/data/{tensor.key}", _raw(tensor))
        out.writestr("net/version", "3\n")
    return file.getvalue()


def _keys(tensors):
    for place, tensor in enumerate(tensors):
        tensor.key = str(place)
    return [tensor.key for tensor in tensors]


def state_dict(**tensors):
    """What module.state_dict() gives: an OrderedDict with an attribute."""
    value = collections.OrderedDict(tensors)
    value._metadata = collections.OrderedDict({"": {"version": 1}})
    return value, list(tensors.values())
