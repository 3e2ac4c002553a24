"""The cache of compiled programs: damaged, and where it cannot be written."""

import json
import logging
from queue import SimpleQueue

import pytest

from hiercam_keras.plan import compile as compiling
from hiercam_keras.plan import worker

TEXT = "HloModule main\n" + "".join(f"line {n * 7919 % 997}\n" for n in range(500))


@pytest.fixture
def kept(tmp_path):
    """A compiler that has kept one program; it has no programs of its own."""
    found = object.__new__(worker._Compiler)
    found.cache = tmp_path / "a cache" / "plan"
    assert found._keep("key", {"seconds": 3.0}, TEXT) == ""
    assert found._cached("key") == ({"seconds": 3.0}, TEXT)
    return found


def test_a_damaged_file_is_compiled_again(kept):
    path = kept.cache / "key.hlo.gz"
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    torn = bytes([*whole[:10], 0xFF, *whole[11:]])  # no block of deflate
    for data in (b"", b"no gzip", whole[: len(whole) // 2], bytes(damaged), torn):
        path.write_bytes(data)
        assert kept._cached("key") is None
    path.write_bytes(whole)
    assert kept._cached("key") is not None
    for text in ("", "{", "[]", "3", "\xff"):
        (kept.cache / "key.json").write_text(text)
        assert kept._cached("key") is None
    (kept.cache / "key.json").unlink()
    assert kept._cached("key") is None


def test_a_refusal_needs_no_program(kept):
    assert kept._keep("other", {"refused": "too large"}, "") == ""
    (kept.cache / "other.hlo.gz").unlink()
    assert kept._cached("other") == ({"refused": "too large"}, "")


def test_a_program_that_cannot_be_kept_is_still_an_answer(kept, tmp_path):
    (tmp_path / "file").touch()
    kept.cache = tmp_path / "file" / "plan"
    assert "choose another" in kept._keep("key", {}, TEXT).lower()
    assert kept._cached("key") is None
    kept.cache = None
    assert "Set XDG_CACHE_HOME" in kept._keep("key", {}, TEXT)


def test_a_warning_of_the_compiler_is_logged(caplog):
    waiting = object.__new__(compiling.Compiler)
    waiting._answers = SimpleQueue()
    for said in ({"event": "warning", "message": "not kept"}, {"event": "done"}):
        waiting._answers.put(json.dumps(said))
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert waiting._wait("train", "done") == {"event": "done"}
    assert "not kept" in caplog.text
