"""Three ways into the program, each from a fresh copy of the project and an empty home:
folders and a table, a notebook, careless use."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
PARTS = ("hiercam_keras", "configs", "main.py")
TAXA = {"rooks": "Corvidae,Corvus frugilegus", "gulls": "Laridae,Larus fuscus"}
NETWORK = """
import keras
def net(image_size):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    return keras.Model(image, keras.layers.Conv2D(8, 3, 4, activation="relu")(x))
"""
TINY = (
    "--config.model.backbone=mine:net",
    "--config.model.weights=none",
    "--config.data.image_size=32",
    "--config.train.epochs=2",
    "--config.data.batch_size=4",
)
pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path):
    """A copy of the project with two folders of photographs and a small network."""
    folder = tmp_path / "clone"
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        folder.mkdir(exist_ok=True)
        copy(ROOT / name, folder / name)
    (folder / "mine.py").write_text(NETWORK)
    for k, name in enumerate(TAXA):
        (folder / "birds" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng([k, i]).integers(0, 120, (40, 50, 3))
            image = Image.fromarray((pixels + 120 * k).astype(np.uint8))
            image.save(folder / "birds" / name / f"{i}.jpg")
    rows = [
        f"birds/{name}/{i}.jpg,{taxa}" for name, taxa in TAXA.items() for i in range(12)
    ]
    (folder / "table.csv").write_text("\n".join(["path,family,species", *rows]))
    return folder


def call(clone, *arguments, program=("main.py",)):
    """(status, output, errors) of a command with an empty home."""
    ours = ("PYTHON", "KERAS_BACKEND", "HIERCAM_", "XLA_", "GLIBC_", "XDG_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        cwd=clone,
        env={**clean, "HOME": str(home), "PYTHONPATH": str(clone)},
    )
    return done.returncode, done.stdout, done.stderr


def works(clone, *arguments, **options):
    status, said, errors = call(clone, *arguments, **options)
    assert status == 0, said + errors
    return said


def test_folders_and_a_table(clone):
    table = "--data_dir=table.csv"
    for rank in ("family", "species"):
        said = works(clone, "--mode=train", f"--rank={rank}", table, *TINY)
        assert f"{rank}/seed0/model.keras" in said
    assert "family" in works(clone, "--mode=eval", "--rank=family", table)
    photo = "--image=birds/gulls/3.jpg"
    said = works(clone, "--mode=cam", "--rank=species", table, photo)
    assert "Laridae" in said and (clone / said.split("figure: ")[1].strip()).is_file()
    said = works(clone, "--mode=compare", "--ranks=species,family", table)
    page = (clone / said.split("report: ")[1].splitlines()[0].strip()).read_text()
    assert "too few species" in page  # no interval of two species
    said = works(clone, "--mode=train", "--rank=label", "--data_dir=birds", *TINY)
    assert "label/seed0/model.keras" in said
    assert "gulls" in works(clone, "--mode=predict", "--data_dir=birds", photo)


def test_a_notebook(clone):
    cells = """
import hiercam_keras as hc
config = hc.load_config("photos")
config.model.backbone, config.model.weights = "mine:net", "none"
config.data.image_size, config.train.epochs, config.data.batch_size = 32, 2, 4
run = hc.train(config, rank="species", data_dir="table.csv")
images = run.images("birds/gulls/3.jpg")
result = run.explainer()(images, hc.targets.path())
hc.save_image("overlay.png", hc.overlay(images[0], result.heatmap[0, 0]))
curves = hc.faithfulness(run.explainer(), images, result).curves
table = hc.evaluate(run, [hc.Question("species"), hc.Question("family")])
print(result, hc.compare(table, "species", "family"), curves["deletion"].shape)
"""
    said = works(clone, "-c", cells, program=())
    assert "<species against family" in said and (clone / "overlay.png").is_file()


def test_careless_use(clone):
    for wrong, help_ in (
        (["--mode=trian"], "train"),
        (["--mode=eval", "--rank=family"], "--mode=train"),
        (["--mode=train", "--data_dir=brids"], "brids"),
        (["--mode=train", "--data_dir=table.csv", "--rank=specis"], "species"),
        (["--mode=train", "--config.train.epoch=3"], "epochs"),
        (["--mode=import", "--model=net.keras"], "--labels"),
        (["--mode=cam", "--image=none.jpg", "--top_k=3"], "--top_k"),
    ):
        status, _, errors = call(clone, *wrong)
        assert status == 1 and "Traceback" not in errors, errors
        last = errors.strip().splitlines()[-1]
        assert last.startswith("error: ") and help_ in last, last
