"""What the fuzzer feeds, without the fuzzer: good inputs, and broken ones by hand."""

import zipfile

import pytest

from benchmarks import fuzz
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, weights


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_seeds_are_answered_or_refused(target, tmp_path):
    for content in fuzz.seeds(target):
        fuzz.check(target, content, tmp_path)


@pytest.mark.parametrize("target", ["names", "tables", "metadata", "models"])
def test_the_first_seed_is_a_good_one(target, tmp_path):
    fuzz.TARGETS[target](fuzz.seeds(target)[0], tmp_path)


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("metadata", b"[" * 100_000),
        ("metadata", b'{"schema_version": ' + b"1" * 5000 + b"}"),
        ("tables", b"path,species\n" + b"x" * 200_000 + b",a\n"),
        ("tables", b"path,species\na\0b,c\n"),
        ("tables", b"path,species,x0,y0,x1,y1\na,b,1e999,nan,inf,4\n"),
        ("choe", b"a.jpg,1" + b"0" * 5000 + b"\n"),
        ("choe", b"../../x.jpg,1,2\n"),
        ("names", b"1" * 5000 + b"_Animalia_Chordata_Aves_P_C_C_c"),
    ],
)
def test_broken_ones_are_answered_or_refused(target, content, tmp_path):
    fuzz.check(target, content, tmp_path)


@pytest.mark.parametrize("place", [6, 8])  # flags and method, in both headers
@pytest.mark.parametrize("value", [1, 9, 32, 99])
def test_an_archive_with_a_wrong_header_is_one_line(tmp_path, place, value):
    """Encrypted members, patched data and unknown methods of compression."""
    content = bytearray(fuzz.seeds("models")[0])
    content[place] = content[content.index(b"PK\1\2") + place + 2] = value
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged|cannot be read"):
        files.read_metadata(path)
    with pytest.raises(UserError, match="damaged"):
        weights.read_npz(path)


def test_a_fault_is_told(tmp_path, monkeypatch):
    def broken(content, folder):
        raise KeyError("x")

    monkeypatch.setitem(fuzz.TARGETS, "names", broken)
    with pytest.raises(KeyError):
        fuzz.check("names", b"a", tmp_path)


def test_metadata_of_great_depth_in_a_model(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(files.METADATA_MEMBER, "[" * 100_000)
    with pytest.raises(UserError, match="cannot be read"):
        files.read_metadata(path)
