"""Atomic writes leave the old or the new file, never a partial one."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras import workdir
from hiercam_keras.errors import UserError


def test_atomic_path_keeps_the_suffix_and_makes_folders(tmp_path):
    path = tmp_path / "a" / "b" / "x.keras"
    with workdir.atomic_path(path) as temporary:
        assert temporary.suffix == ".keras" and temporary.parent == path.parent
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [one.name for one in path.parent.iterdir()] == ["x.keras"]


@pytest.mark.parametrize(
    "name",
    ["鳥" * 83 + ".json", "x" * 255, "x." + "y" * 253],
    ids=["text", "no suffix", "long suffix"],
)
def test_a_name_as_long_as_a_disk_takes_can_be_written(tmp_path, name):
    """The temporary name is not longer than the final one."""
    path = tmp_path / name
    with workdir.atomic_path(path) as temporary:
        assert len(temporary.name.encode()) <= 100
        if name.endswith(".json"):
            assert temporary.suffix == ".json"
        temporary.write_text("new")
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_named(tmp_path):
    with pytest.raises(UserError, match="File name too long. Its path is too long"):
        workdir.write_text(tmp_path / ("x" * 256), "")
    assert not list(tmp_path.iterdir())


def test_a_failed_removal_hides_no_error(tmp_path, monkeypatch):
    """If the disk is removed, deleting the temporary file fails as well."""

    def gone(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(UserError, match="cannot write .*x.json: No space left"):
        with workdir.atomic_path(tmp_path / "x.json"):
            monkeypatch.setattr(os, "unlink", gone)
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ZeroDivisionError):
        with workdir.atomic_path(tmp_path / "x.json"):
            raise ZeroDivisionError


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), workdir.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_that_an_error_leaves_empty_goes_with_its_parents(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ZeroDivisionError), workdir.made_dir(tmp_path / "mine/a/b") as b:
        assert b.is_dir()
        raise ZeroDivisionError
    assert not list((tmp_path / "mine").iterdir())


def test_a_folder_with_something_in_it_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), workdir.made_dir(tmp_path / "a/b") as b:
        (b.parent / "kept").write_text("")
        raise ZeroDivisionError
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["kept"]
    (tmp_path / "old").mkdir()
    with pytest.raises(ZeroDivisionError), workdir.made_dir(tmp_path / "old"):
        raise ZeroDivisionError
    assert (tmp_path / "old").is_dir()


def test_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    """The content is synced first, so a power failure leaves no empty file."""
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        done.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(
        os, "replace", lambda *names: done.append("rename") or replace(*names)
    )
    workdir.write_text(tmp_path / "x.json", "new")
    content, rename, folder = done
    assert (rename, folder) == ("rename", str(tmp_path))
    assert content.startswith(f"{tmp_path}/.x.") and content.endswith(".tmp.json")


def test_a_disk_that_fails_while_it_syncs_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("old")

    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match="cannot write .*x.json: Input/output error"):
        workdir.write_text(path, "new")
    assert path.read_text() == "old"


def test_a_body_that_writes_nothing_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        with workdir.atomic_path(tmp_path / "x.json"):
            pass


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from hiercam_keras import workdir\n"
        "with workdir.atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    others = [one.name for one in tmp_path.iterdir() if one != path]
    assert all(name.startswith(".") for name in others)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits of Unix")
def test_a_full_disk_is_one_clear_line(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    code = (
        "import resource, sys; from hiercam_keras import workdir\n"
        "from hiercam_keras.errors import UserError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    workdir.write_bytes(sys.argv[1], bytes(10_000))\n"
        "except UserError as error:\n"
        "    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert f"cannot write {path}: File too large" in done.stdout
    assert done.stdout.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["x.bin"]
    assert path.read_bytes() == b"old"


def test_a_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make the folder .*--workdir"):
        workdir.write_text(tmp_path / "file" / "run" / "x.txt", "")
    with pytest.raises(UserError, match="cannot make the folder"):
        workdir.make_dir(tmp_path / "file")


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc\xe9 ", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)
@given(value=_json)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "x.json"
    workdir.write_json(path, value)
    assert workdir.read_json(path) == value
    assert path.read_bytes().endswith(b"\n")


def test_json_is_utf8_and_legible(tmp_path):
    workdir.write_json(tmp_path / "x.json", {"name": "Grünfink"})
    assert '"name": "Grünfink"' in (tmp_path / "x.json").read_text("utf-8")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*config\.json as JSON"):
        workdir.read_json(path)


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing"):
        workdir.read_json(tmp_path / "config.json")


def fill(staged, text):
    for name in ("a", "b"):
        (staged / name).write_text(text)


def content(path):
    return {one.name: one.read_text() for one in path.iterdir()}


def test_a_folder_appears_whole_and_replaces_the_former_one(tmp_path):
    path = tmp_path / "new" / "v1.2"
    with workdir.atomic_dir(path, ("a", "b")) as staged:
        fill(staged, "old")
        assert not path.exists()
        assert staged.parent == path.parent and staged.name.startswith(".v1.2.")
    assert content(path) == {"a": "old", "b": "old"}
    with workdir.atomic_dir(path, ("a", "b")) as staged:
        fill(staged, "new")
        assert content(path) == {"a": "old", "b": "old"}
    assert content(path) == {"a": "new", "b": "new"}
    assert [one.name for one in path.parent.iterdir()] == ["v1.2"]


def test_an_error_leaves_the_former_folder_and_nothing_else(tmp_path):
    path = tmp_path / "x"
    with workdir.atomic_dir(path, ("a", "b")) as staged:
        fill(staged, "old")
    with pytest.raises(ZeroDivisionError):
        with workdir.atomic_dir(path, ("a", "b")) as staged:
            fill(staged, "new")
            raise ZeroDivisionError
    with pytest.raises(UserError, match="cannot write .*x: No space left.*--out"):
        with workdir.atomic_dir(path, ("a", "b")) as staged:
            raise OSError(errno.ENOSPC, "No space left on device")
    assert content(path) == {"a": "old", "b": "old"}
    with pytest.raises(ZeroDivisionError):
        with workdir.atomic_dir(tmp_path / "y" / "z", ()):
            raise ZeroDivisionError
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


def test_a_folder_with_a_file_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.txt").write_text("mine")
    (tmp_path / "f").write_text("mine")
    for name, words in (("x", "holds thesis.txt, which"), ("f", "is a file, expected")):
        with pytest.raises(UserError, match=words):
            with workdir.atomic_dir(tmp_path / name, ("a", "b")):
                pytest.fail("it is refused before anything is computed")
    with pytest.raises(UserError, match="holds late.txt"):
        with workdir.atomic_dir(tmp_path / "y", ("a", "b")) as staged:
            fill(staged, "new")
            (tmp_path / "y").mkdir()
            (tmp_path / "y" / "late.txt").write_text("mine")
    assert content(tmp_path / "x") == {"thesis.txt": "mine"}
    assert content(tmp_path / "y") == {"late.txt": "mine"}
    assert (tmp_path / "f").read_text() == "mine"


def test_what_a_killed_process_left_is_removed(tmp_path):
    """And nothing of another name."""
    for name in (".x.0a1b2c3d.tmp", ".x.y.0a1b2c3d.tmp", ".x.tmp", ".x.0a1b2c3d.tmp.o"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("half")
    with workdir.atomic_dir(tmp_path / "x", ("a", "b")) as staged:
        fill(staged, "new")
    names = {one.name for one in tmp_path.iterdir()}
    assert names == {"x", ".x.y.0a1b2c3d.tmp", ".x.tmp", ".x.0a1b2c3d.tmp.o"}
