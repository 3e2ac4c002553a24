"""The cache folder: named, the user's, or a temporary one with a warning."""

import os
import pwd
import subprocess
import sys

import pytest
import tiny_birds

from hiercam_keras import cache_folder
from hiercam_keras.data.sources import tfds_prepared
from hiercam_keras.errors import UserError


@pytest.fixture
def warnings(monkeypatch):
    """Captured warnings; caches of other tests are cleared."""
    found = []
    monkeypatch.setattr(
        cache_folder.logging, "warning", lambda text, *more: found.append(text % more)
    )
    cache_folder._temporary.cache_clear()
    yield found
    cache_folder._temporary.cache_clear()


@pytest.fixture
def no_home(monkeypatch, warnings):
    """A user without an entry in passwd and without environment variables."""

    def unknown(number):
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    return warnings


def test_the_user_s_cache_stays_where_it_was(tmp_path, monkeypatch, warnings):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    expected = tmp_path / ".cache" / "hiercam_keras"
    assert cache_folder.cache_folder() == expected == cache_folder.user_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder.cache_folder("") == tmp_path / "xdg" / "hiercam_keras"
    assert cache_folder.cache_folder(tmp_path / "mine") == tmp_path / "mine"
    assert not warnings


def test_without_a_home_it_is_temporary_and_warns_once(no_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = cache_folder.cache_folder()
    assert folder.is_dir() and folder == cache_folder.cache_folder()
    assert oct(folder.stat().st_mode & 0o777) == "0o700"  # nobody else's files in it
    (warning,) = no_home
    assert str(folder) in warning
    assert "XDG_CACHE_HOME or --config.data.cache_dir" in warning
    assert cache_folder.user_cache() is None
    assert not list(tmp_path.iterdir())  # no folder named "~"


def test_a_home_that_cannot_be_written_is_none(no_home, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")  # no folder can be made below it
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert cache_folder.cache_folder().is_dir()
    assert len(no_home) == 1


def test_what_the_user_names_is_no_matter_of_homes(no_home, tmp_path):
    assert cache_folder.cache_folder(tmp_path / "mine") == tmp_path / "mine"
    assert not no_home
    (tmp_path / "file").write_text("")
    words = r"data.cache_dir is .*file/cache, which cannot be made: .*cache_dir"
    with pytest.raises(UserError, match=words):
        cache_folder.cache_folder(tmp_path / "file" / "cache")
    with pytest.raises(UserError, match="no home folder that ~ could mean"):
        cache_folder.cache_folder("~/mine")


def test_prepared_data_sets_have_a_place_or_a_message(no_home, tmp_path, monkeypatch):
    """Data sets of gigabytes are not kept in a temporary folder."""
    with pytest.raises(UserError, match="data_dir, --config.data.cache_dir or TFDS_D"):
        tfds_prepared.default_place("cub", {})
    cache = {"cache_dir": str(tmp_path / "cache")}
    mine = str(tmp_path / "cache" / "tensorflow_datasets")
    assert tfds_prepared.default_place("cub", cache) == mine
    usual = tmp_path / "home" / "tensorflow_datasets"
    (usual / "cub").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tfds_prepared.default_place("cub", {}) == str(usual)
    assert tfds_prepared.default_place("cub", cache) == str(usual)  # it is prepared
    assert tfds_prepared.default_place("other", cache) == mine
    monkeypatch.setenv("TFDS_DATA_DIR", "/elsewhere")
    assert tfds_prepared.default_place("cub", cache) == "/elsewhere"


NO_PASSWD = """
import pwd
def unknown(number):
    raise KeyError(number)
pwd.getpwuid = unknown
"""


def test_a_user_without_a_home_prepares_and_trains(tmp_path):
    """A container with a user id that is not in passwd."""
    flags = [
        flag
        for flag in tiny_birds.command_line(tmp_path / "birds" / "mini")
        if "cache_dir" not in flag
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            NO_PASSWD + tiny_birds.program(),
            "--mode=train",
            "--rank=order",
            "--config.train.epochs=1",
            *flags,
        ],
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(tmp_path),
            "JAX_PLATFORMS": "cpu",
        },
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no cache folder that can be written") == 1
    assert "model.keras" in done.stdout
    # The temporary folder is gone, and no folder is named "~".
    kept = {one.name for one in tmp_path.iterdir()} - {".keras", "matplotlib"}
    assert kept == {"birds", "runs"}
