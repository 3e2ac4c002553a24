"""What a processor can do with bfloat16, by the lines of Linux."""

import logging

import pytest

from hiercam_keras import processor, runtime

XEON = frozenset({"GenuineIntel", "avx512f", "avx512_bf16"})


@pytest.mark.parametrize(
    ("found", "has", "fast"),
    [
        (XEON, True, False),
        (XEON | {"amx_bf16", "amx_tile"}, True, True),
        (frozenset({"AuthenticAMD", "avx512f", "avx512_bf16"}), True, True),
        (frozenset({"AuthenticAMD", "avx2"}), False, False),
        (frozenset({"asimd", "bf16"}), True, True),
        (frozenset(), False, False),
    ],
)
def test_products_are_fast_with_amx_or_off_intel(found, has, fast):
    assert processor.has_bfloat16(found) is has
    assert processor.multiplies_bfloat16_fast(found, jaxlib="0.12.0.1") is fast


@pytest.mark.parametrize(
    ("jaxlib", "fast"),
    [
        ("0.10.2", False),
        ("0.11.1", False),
        ("0.11.2", True),
        ("0.12.0.1", True),
        ("0.12.1rc1", True),
    ],
)
def test_amx_counts_where_xla_uses_it(jaxlib, fast):
    amx = XEON | {"amx_bf16"}
    assert processor.multiplies_bfloat16_fast(amx, jaxlib) is fast
    assert not processor.multiplies_bfloat16_fast(XEON, jaxlib)


@pytest.fixture
def new_jaxlib(monkeypatch):
    """A jaxlib that uses AMX."""
    monkeypatch.setattr(processor.importlib.metadata, "version", lambda _: "0.12.0.1")


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """A file in place of /proc/cpuinfo, read by nobody before or after."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    processor.features.cache_clear()
    yield path
    processor.features.cache_clear()


def test_the_first_core_counts(cpuinfo, new_jaxlib):
    cpuinfo.write_text(
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: X\n"
        "flags\t\t: fpu avx512_bf16 amx_bf16\n\nprocessor\t: 1\nflags\t\t: fpu other\n"
    )
    assert processor.features() == {"GenuineIntel", "fpu", "avx512_bf16", "amx_bf16"}
    assert processor.multiplies_bfloat16_fast()


def test_nothing_is_known_without_the_file(cpuinfo):
    assert processor.features() == frozenset()
    assert not processor.has_bfloat16()


@pytest.mark.parametrize(
    ("flags", "words"),
    [("fpu", "not known to have"), ("avx512_bf16", "no faster"), ("amx_bf16", None)],
)
def test_slow_bfloat16_is_logged(cpuinfo, new_jaxlib, caplog, flags, words):
    cpuinfo.write_text(f"vendor_id : GenuineIntel\nflags : {flags}\n")
    with caplog.at_level(logging.INFO, logger="absl"):
        runtime._warn_of_slow_bfloat16()
    assert len(caplog.messages) == (words is not None)
    assert all(words in message for message in caplog.messages)
