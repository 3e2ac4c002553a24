"""Experiments by name and by path, and what `configs` means in a user's file."""

import sys
import textwrap

import pytest

from hiercam_keras import config_files
from hiercam_keras.errors import UserError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return str(path)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty folder, with no `configs` on Python's path."""
    monkeypatch.chdir(tmp_path)
    root, path = str(config_files.folder().parent), sys.path[:]
    sys.path[:] = [one for one in path if one not in ("", root)]
    before, finders = dict(sys.modules), list(sys.meta_path)
    for name in [one for one in before if f"{one}.".startswith("configs.")]:
        del sys.modules[name]
    yield
    sys.path[:] = path
    assert sys.meta_path == finders
    assert not [one for one in sys.modules if f"{one}.".startswith("configs.")]
    sys.modules.update(before)


@pytest.mark.parametrize("name", config_files.names())
def test_every_experiment_is_found_by_name_and_by_path(name):
    by_name = config_files.load(name)
    assert by_name.is_locked
    assert config_files.load(f"configs/{name}.py") == by_name
    assert config_files.load(str(config_files.folder() / f"{name}.py")) == by_name


def test_an_experiment_starts_from_another_one():
    assert config_files.load("multi_rank:inat2021_birds").name == (
        "inat2021_birds_multi_rank"
    )
    with pytest.raises(UserError, match="no config .*No module named 'configs.nix'"):
        config_files.load("multi_rank:nix")


MINE = """
    from configs import default, synthetic_birds
    def get_config(name="mine"):
        config = default.get_config()
        config.name = name
        config.data.source = synthetic_birds.get_config().data.source
        return config
"""


def test_a_file_of_a_user_starts_from_ours(tmp_path):
    path = write(tmp_path / "mine.py", MINE)
    assert config_files.load(path).name == "mine"
    assert config_files.load("mine.py:other").name == "other"
    assert config_files.load("mine.py").data.source == "synthetic_birds"


OWN = """
    from ml_collections import ConfigDict
    def get_config():
        return ConfigDict({"name": "own default"})
"""


@pytest.mark.parametrize("on_path", [True, False], ids=["on the path", "its folder"])
def test_a_users_configs_are_not_hidden_and_hide_nothing(tmp_path, on_path):
    """`default` is theirs in their file, and ours in ours that their file uses."""
    write(tmp_path / "configs" / "default.py", OWN)
    text = """
        from configs import default, synthetic_birds
        def get_config():
            config = synthetic_birds.get_config()
            config.name = default.get_config().name
            return config
    """
    if on_path:
        sys.path.insert(0, str(tmp_path))
        path = write(tmp_path / "elsewhere" / "mine.py", text)
    else:
        path = write(tmp_path / "configs" / "mine.py", text)
    found = config_files.load(path)
    assert found.name == "own default"
    assert found.model.output_stride == 16  # of synthetic_birds, which has ours
    assert config_files.load("configs/default.py").name == "own default"  # by path
    assert config_files.load("default").name == "default"


def test_ours_can_start_from_a_users(tmp_path):
    sys.path.insert(0, str(tmp_path))
    write(tmp_path / "configs" / "mine.py", MINE)
    assert config_files.load("multi_rank:mine").train.consistency == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_config(:", "SyntaxError"),
        ("x = 1", "no attribute 'get_config'"),
        ("def get_config(): return 3", "returned no ml_collections.ConfigDict"),
        ("from configs import nothing", "cannot import name 'nothing'"),
        ("def get_config(): raise OSError('disk')", "OSError: disk"),
    ],
)
def test_a_file_that_makes_no_config_is_named(tmp_path, text, words):
    write(tmp_path / "mine.py", text)
    with pytest.raises(UserError, match=rf"mine.py.*{words}"):
        config_files.load("mine.py")


def test_what_is_not_there_names_the_folder_and_the_experiments(tmp_path):
    with pytest.raises(UserError) as error:
        config_files.load("inat2021")
    assert str(tmp_path) in str(error.value) and "inat2021_birds" in str(error.value)
