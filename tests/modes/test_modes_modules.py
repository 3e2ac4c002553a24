"""A network with layers of the user's: trained, and loaded by the modes after that."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_birds
from ml_collections import FrozenConfigDict

from hiercam_keras.errors import UserError
from hiercam_keras.modes.settings import Settings

EVIL = "from pathlib import Path\nPath(__file__).with_name('imported').write_text('')\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory, birds):
    """Config and folder of a finished run of a network with a layer of the user's."""
    config = tiny_birds.make_config(tmp_path_factory.mktemp("user"), birds)
    config.model.backbone = "user_networks:block"
    config.train.epochs = 1
    tiny_birds.run("train", config)
    return config, Path(config.runs_dir) / "mini" / "family" / "seed0"


def settings_of(config, modules):
    config = config.copy_and_resolve_references()
    config.model.modules = modules
    return Settings(mode="eval", config=FrozenConfigDict(config))


def test_the_message_names_the_module_and_it_helps(run, new_process):
    config, folder = run
    words = (
        r"model.keras: Keras .* layer 'block(_\d+)?' is of the class "
        r"user_networks.Block. .*"
        r"--config.model.modules=user_networks or model.modules in your --config"
    )
    for mode in ("eval", "cam"):
        with pytest.raises(UserError, match=words):
            tiny_birds.run(mode, config)
    settings_of(config, ("user_networks",)).use_modules()
    assert str(folder) in tiny_birds.run("eval", config)
    assert "9 maps" in tiny_birds.run("cam", config)


@pytest.mark.parametrize("place", ["config.json", "hiercam.json"])
def test_no_run_folder_chooses_what_is_imported(
    run, new_process, tmp_path, monkeypatch, place
):
    """Neither its record nor its model's metadata or config."""
    config, folder = run
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    (tmp_path / "evil_layers.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil_layers", raising=False)
    if place == "config.json":
        record = json.loads((copy / "config.json").read_text())
        record["config"]["model"]["modules"] = ["evil_layers"]
        record["config"]["model"]["backbone"] = "evil_layers:net"
        (copy / "config.json").write_text(json.dumps(record))
    else:
        replace_in_model(copy / "model.keras", "user_networks", "evil_layers")
    with pytest.raises(UserError, match="never chooses code"):
        tiny_birds.run("eval", config, workdir=str(copy))
    assert not (tmp_path / "imported").exists()
    settings_of(config, ("evil_layers",)).use_modules()
    assert (tmp_path / "imported").exists()  # the user may


def replace_in_model(path, before, after):
    import zipfile

    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            if name.endswith(".json"):
                content = content.replace(before.encode(), after.encode())
            file.writestr(name, content)


def test_main_imports_what_its_own_flags_name(run):
    config, folder = run
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            tiny_birds.program(),
            "--mode=eval",
            f"--workdir={folder}",
            "--config.model.modules=user_networks",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "family" in done.stdout


def test_what_could_not_be_loaded_again_is_refused_before_the_first_step(
    config, monkeypatch
):
    from hiercam_keras.training import fit

    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(fit, "train", never)
    config.model.backbone = "user_networks:lambda_"
    with pytest.raises(UserError, match="layer 'doubled' holds a lambda"):
        tiny_birds.run("train", config)
    assert not list(Path(config.runs_dir).rglob("config.json"))


def test_a_second_model_of_a_process_has_the_names_of_its_file(
    run, new_process, tmp_path
):
    """The config of a user's class may lack its name, which Keras then makes up."""
    from hiercam_keras.cam import Explainer
    from hiercam_keras.models import files, heads

    settings_of(run[0], ("user_networks",)).use_modules()
    model = heads.build_model("user_networks:block_last", 32, {"order": 2})
    files.save_model(tmp_path / "model.keras", model, {"cam_layer": model.cam_layer})
    for _ in range(2):
        loaded, metadata = files.load_model(tmp_path / "model.keras", "none")
        names = [layer.name for layer in loaded.layers]
        assert names == [layer.name for layer in model.layers]
        explained = Explainer(loaded, metadata["cam_layer"])
        assert list(explained.layers) == [model.cam_layer]


def test_weights_of_a_run_start_another_one(run, new_process, tmp_path):
    config, folder = run
    config = config.copy_and_resolve_references()
    config.runs_dir = str(tmp_path / "runs")
    settings_of(config, ("user_networks",)).use_modules()
    config.model.weights = str(folder / "model.keras")
    assert "model.keras" in tiny_birds.run("train", config)
