"""A network of the user's is saved and loaded once before it is trained."""

import keras
import numpy as np
import pytest
import user_networks

from hiercam_keras.errors import UserError
from hiercam_keras.models import heads, user_code
from hiercam_keras.training import trial

LABELS = {"family": 2, "species": 3}


@pytest.fixture(autouse=True)
def registry():
    """Keras' registry as it was before each test."""
    known = keras.saving.get_custom_objects()
    before = dict(known)
    yield known
    known.clear()
    known.update(before)


def tried(name, modules=()):
    backbone = f"user_networks:{name}"
    model = heads.build_model(backbone, 32, LABELS)
    return trial.save_and_load(model, backbone, 32, modules)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("nested", []),
        ("attention", []),
        ("block", ["user_networks"]),
        ("noise", ["user_networks"]),
        ("registered", ["user_networks"]),
        ("function", ["user_networks"]),
        ("activation", ["user_networks"]),
    ],
)
def test_what_later_modes_have_to_import_is_found(name, needed):
    assert tried(name) == needed
    if needed:
        assert tried(name, ("user_networks",)) == needed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lambda_", r"layer 'doubled' holds a lambda.*never run.*--config.model.modu"),
        ("forgets", r"other outputs: the config of layer 'block' lacks scale"),
        ("unsaid", r"layer 'block' of the network cannot be loaded again"),
        ("local_function", r"uses the function 'hidden', which no module has.*top lev"),
        ("local", r"layer 'block' is of the class user_networks.Hidden.*top level"),
    ],
)
def test_what_cannot_be_loaded_is_refused_by_its_layer(name, words):
    with pytest.raises(UserError, match=words) as error:
        tried(name)
    assert "\n" not in str(error.value)
    assert "user_networks:" in str(error.value)


@pytest.mark.parametrize("name", ["block", "registered", "function"])
def test_modules_that_lack_it_are_completed(name):
    assert tried(name, ("tiny_birds",)) == ["tiny_birds", "user_networks"]


def test_a_weight_that_is_not_restored_is_named(monkeypatch):
    """As of a layer with custom saving that omits one."""

    def save(self, store):
        store["gain"] = self.gain

    def load(self, store):
        self.gain.assign(store["gain"])

    monkeypatch.setattr(user_networks.Block, "save_own_variables", save)
    monkeypatch.setattr(user_networks.Block, "load_own_variables", load)
    monkeypatch.setattr(user_networks, "block", user_networks._with(lambda: drawn()))
    with pytest.raises(UserError, match="the weight block/variable_1 is not restored"):
        tried("block")


def drawn():
    layer = user_networks.Block(name="block")
    layer.build((None, 4, 4, 4))
    layer.shift.assign(np.full(4, 7.0))
    return layer


def test_networks_by_name_are_not_tried():
    assert trial.save_and_load(None, "efficientnet_b0", 32) == []


def test_modules_as_the_command_line_gives_them():
    assert user_code.split_names(("a.b, c", "d")) == ["a.b", "c", "d"]
    with pytest.raises(UserError, match="config.model.modules: the module 'no_such'"):
        user_code.use_modules(("no_such",))


def test_two_classes_of_one_name_are_refused(tmp_path, monkeypatch):
    (tmp_path / "their_layers.py").write_text(
        "import keras\nclass Block(keras.layers.Layer):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="both define Block"):
        user_code.use_modules(("user_networks", "their_layers"))


def test_functions_of_other_packages_are_not_known(tmp_path, monkeypatch, registry):
    """A file could call what a module happens to import."""
    (tmp_path / "with_imports.py").write_text(
        "from os import system\nfrom shutil import rmtree\n"
        "from user_networks import Block, twice\ndef mine(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.pop("twice", None)
    user_code.use_modules(("with_imports",))
    assert {"mine", "Block"} <= registry.keys()
    assert not {"system", "rmtree", "twice"} & registry.keys()
