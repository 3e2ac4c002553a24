"""State dicts are read correctly; code in a file never runs, sizes are validated."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import state_dicts
from state_dicts import Tensor

from hiercam_keras.errors import UserError
from hiercam_keras.models import pth

REFUSED = "names .*nothing of it was executed|has the pickle opcode"
FORMATS = pytest.mark.parametrize("write", [state_dicts.legacy, state_dicts.archive])


def read(tmp_path, data):
    path = tmp_path / "net.pth"
    path.write_bytes(data)
    return pth.read_state_dict(path)


def small():
    rng = np.random.default_rng(0)
    return state_dicts.state_dict(
        conv=Tensor(rng.normal(size=(2, 3, 1, 1)).astype("<f4")),
        turned=Tensor(rng.normal(size=(4, 3)).astype("<f4").T),
        count=Tensor(np.array(7, "<i8")),
        half=Tensor(np.array([1.5, -2.0], "<f2")),
        part=Tensor(np.arange(6, dtype="<f4"), shape=(2, 2), strides=(2, 1), offset=1),
        none=Tensor(np.zeros((0, 3), "<f4")),
    )


@FORMATS
def test_values_shapes_and_order(write, tmp_path):
    value, tensors = small()
    found = read(tmp_path, write(value, tensors))
    assert list(found) == ["conv", "turned", "count", "half", "part", "none"]
    for name in ("conv", "turned", "count", "half", "none"):
        np.testing.assert_array_equal(found[name], value[name].values, strict=True)
    np.testing.assert_array_equal(found["part"], [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="read-only"):
        found["conv"][0] = 1


@FORMATS
def test_tensors_may_share_a_storage(write, tmp_path):
    whole = Tensor(np.arange(4, dtype="<f4"))
    part = Tensor(whole.values, shape=(2,), strides=(2,), key="0")
    found = read(tmp_path, write({"whole": whole, "part": part}, [whole]))
    np.testing.assert_array_equal(found["part"], [0, 2])


class Call:
    """Pickles as the call of a function, and is callable itself."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __call__(self):
        """Never called: pickle wants a callable."""

    def __reduce__(self):
        return self.function, self.arguments


def touch(marker):
    return f"touch {marker}"


def write_code(marker):
    return f"open({str(marker)!r}, 'w').close()"


HOSTILE = {
    "system": lambda m: Call(os.system, touch(m)),
    "eval": lambda m: Call(eval, write_code(m)),
    "exec": lambda m: Call(exec, write_code(m)),
    "getattr": lambda m: Call(
        Call(getattr, Call(__import__, "os"), "system"), touch(m)
    ),
    "nested": lambda m: collections.OrderedDict(
        a=[collections.OrderedDict(b=(Call(os.system, touch(m)), 1))]
    ),
    "unpickles": lambda m: Call(pickle.loads, pickle.dumps(Call(os.system, touch(m)))),
    "key": lambda m: {(Call(os.system, touch(m)),): 1},
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", HOSTILE)
@FORMATS
def test_a_hostile_pickle_runs_nothing(write, kind, protocol, tmp_path):
    marker = tmp_path / "ran"
    body = pickle.dumps(HOSTILE[kind](marker), protocol)
    with pytest.raises(UserError, match=REFUSED) as told:
        read(tmp_path, write(None, body=body))
    assert "\n" not in str(told.value) and "net.pth" in str(told.value)
    assert not marker.exists()
    pickle.loads(body)  # it would have run
    assert marker.exists()


@FORMATS
def test_the_refusal_names_what_was_named(write, tmp_path):
    body = pickle.dumps(Call(os.system, "true"), 2)
    with pytest.raises(UserError, match=rf"names {os.system.__module__}\.system"):
        read(tmp_path, write(None, body=body))


ALLOWED_NAMES = {
    "opcode INST": b"(X\x04\x00\x00\x00trueios\nsystem\n.",
    "opcode OBJ": b"(ccollections\nOrderedDict\no.",
    "opcode EXT1": b"\x80\x02\x82\x01.",
    "opcode NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "opcode PERSID": b"Pstorage\n.",
    "memo index": b"\x80\x02}r\xff\xff\xff\x7f.",
    # Attribute access on allowed globals: the replacement, a class, a name.
    "sets attributes": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00"
    b"aK\x01sb.",
    "mappingproxy": b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",
    "no PyTorch state dict": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "holds a int": b"\x80\x02K\x01.",
    "under 'a'": b"\x80\x02}X\x01\x00\x00\x00aK\x01s.",
    "without a storage": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00))tR.",
    "no PyTorch": b"\x80\x02(K\x00K\x00Q.",
}


@pytest.mark.parametrize("words", ALLOWED_NAMES)
@FORMATS
def test_what_a_pickle_can_do_without_a_foreign_name(write, words, tmp_path):
    before = dict(vars(collections.OrderedDict))
    with pytest.raises(UserError, match=words):
        read(tmp_path, write(None, body=ALLOWED_NAMES[words]))
    assert dict(vars(collections.OrderedDict)) == before


SIX = np.arange(6, dtype="<f4")


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(SIX, offset=1),
        Tensor(SIX, shape=(2, 4), strides=(4, 1)),
        Tensor(SIX, shape=(2, 2), strides=(6, 1)),
        Tensor(SIX, shape=(10**9, 10**9), strides=(0, 0)),
        Tensor(SIX, shape=(2**40,), strides=(1,)),
        Tensor(SIX, shape=(7,), strides=(0,)),
        Tensor(SIX, offset=-1),
        Tensor(SIX, shape=(2,), strides=(-1,)),
        Tensor(SIX, shape=(-2,), strides=(1,)),
        Tensor(SIX, shape=(2, 3), strides=(1,)),
        Tensor(SIX, shape=(2.0,), strides=(1,)),
        Tensor(SIX, offset=2**70),
        Tensor(SIX, claimed=7),
        Tensor(SIX, claimed=5),
        Tensor(SIX, claimed=2**60),
    ],
)
@FORMATS
def test_sizes_that_are_not_true(write, tensor, tmp_path):
    with pytest.raises(UserError, match="tensor|storage|values|truncated"):
        read(tmp_path, write({"a": tensor}, [tensor]))


@FORMATS
def test_a_file_that_ends_early(write, tmp_path):
    """Files truncated at any length are rejected."""
    value, tensors = small()
    data = write(value, tensors)
    for length in range(0, len(data), 7):
        with pytest.raises(UserError, match="net.pth"):
            read(tmp_path, data[:length])
    if write is state_dicts.legacy:
        with pytest.raises(UserError, match="1 bytes behind"):
            read(tmp_path, data + b"x")


@FORMATS
def test_flipped_bytes_end_in_arrays_or_one_line(write, tmp_path):
    value, tensors = small()
    data, rng = write(value, tensors), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            read(tmp_path, bytes(damaged))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_files_of_other_kinds(tmp_path):
    with pytest.raises(UserError, match="absent.pth: cannot be read"):
        pth.read_state_dict(tmp_path / "absent.pth")
    for data in (b"", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"version https://git-lfs"):
        with pytest.raises(UserError, match="begin as a file of torch|no PyTorch"):
            read(tmp_path, data)
    with pytest.raises(UserError, match="has the format 1002, expected 1001"):
        read(tmp_path, pickle.dumps(state_dicts.MAGIC, 2) + pickle.dumps(1002, 2))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("word/document.xml", "x")
    with pytest.raises(UserError, match="zip archive without one data.pkl"):
        read(tmp_path, file.getvalue())


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    """Four kilobytes can become four gigabytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("net/data.pkl", b"\x00" * 10**6)
    with pytest.raises(UserError, match="compressed entry"):
        read(tmp_path, file.getvalue())


@FORMATS
def test_the_other_byte_order(write, tmp_path, monkeypatch):
    value, tensors = small()
    data = write(value, tensors)
    if write is state_dicts.archive:
        data = data.replace(b"little", b"bigend")
        # The checksum of the entry in the archive no longer matches.
        monkeypatch.setattr(zipfile.ZipExtFile, "_update_crc", lambda self, data: None)
    else:
        at = data.index(b"little_endian")
        data = data[:at] + data[at:].replace(b"\x88", b"\x89", 1)
    with pytest.raises(UserError, match="byte order"):
        read(tmp_path, data)
