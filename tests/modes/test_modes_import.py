"""Networks from elsewhere: imported, and asked by every mode without training."""

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_birds

from hiercam_keras.taxonomy.lineage import parse_class_name

SIDE = 48
RANKS = ("order", "family", "genus", "species")


def lineages(folder: Path) -> list[dict[str, str]]:
    """The drawn birds' taxa by rank, one a species."""
    found = [parse_class_name(path.name) for path in sorted(folder.iterdir())]
    return [dict(zip(one.ranks, one.taxa, strict=True)) for one in found]


def write_labels(path: Path, rows: list[dict[str, str]]) -> Path:
    """A table with the four ranks, and what else the rows have."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    header = [name for name in header if name not in ("kingdom", "phylum", "class")]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, header, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def features(side: int = SIDE, first: bool = False):
    """An image input and its features, of two convolutions."""
    layout = {"data_format": "channels_first"} if first else {}
    image = keras.Input((3, side, side) if first else (side, side, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for number, filters in enumerate((8, 12), 1):
        name = f"conv{number}"
        x = keras.layers.Conv2D(
            filters, 3, 3, "same", activation="relu", name=name, **layout
        )(x)
    return image, keras.layers.GlobalAveragePooling2D(**layout)(x)


def network(outputs: int, activation: str | None = None, seed: int = 0):
    """A network of random weights with one head."""
    keras.utils.set_random_seed(seed)
    image, x = features()
    scores = keras.layers.Dense(outputs, activation=activation, name="head")(x)
    return keras.Model(image, scores, name="net")


def families(species):
    """One row a family."""
    found = {
        row["family"]: {"order": row["order"], "family": row["family"]}
        for row in species
    }
    return list(found.values())


@pytest.fixture
def species(image_folder):
    return lineages(image_folder)


def imported(config, folder: Path, model, rows, name: str = "mine", **fields) -> Path:
    """Saves a network, imports it, and gives its run folder."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.keras"
    if model is not None:
        model.save(file)
    labels = write_labels(folder / f"{name}.csv", rows)
    run = folder / name
    said = tiny_birds.run(
        "import",
        config,
        model=str(file),
        labels=str(labels),
        workdir=str(run),
        fields=fields,
    )
    assert f"wrote {run}" in said
    return run


def asked(mode: str, config, run: Path, images: Path, **flags):
    return tiny_birds.run(mode, config, workdir=str(run), data_dir=str(images), **flags)


def test_the_record_says_what_is_known_and_what_is_not(config, tmp_path, species):
    model = network(len(species))
    run = imported(config, tmp_path / "a", model, species)
    record = json.loads((run / "config.json").read_text())
    for name in ("seed", "split", "training_data", "data_dir"):
        assert record[name] is None
    assert record["config"]["seed"] is None and record["config"]["train"] is None
    about = record["imported"]
    assert about["layer"] == "conv2" and about["image_size"] == SIDE
    kept, file = (run / "model.keras").read_bytes(), tmp_path / "a" / "mine.keras"
    assert kept == file.read_bytes()
    assert not (run / "split").exists()


def test_a_permutation_of_the_outputs_changes_nothing(
    config, tmp_path, species, image_folder
):
    """The same weights with the outputs, and the rows of the table, in another order:
    all tables and maps are the same."""
    model = network(len(species))
    order = np.random.default_rng(0).permutation(len(species))
    other = keras.models.clone_model(model)
    *body, kernel, bias = model.get_weights()
    other.set_weights([*body, kernel[:, order], bias[order]])
    runs = [
        imported(config, tmp_path / "a", model, species),
        imported(config, tmp_path / "a", other, [species[i] for i in order], "other"),
    ]
    for run in runs:
        asked("eval", config, run, image_folder)
        asked("predict", config, run, image_folder)
    for name in ("eval/test/predictions.csv", "eval/test/accuracy.csv",
                 "eval/test/calibration.csv", "predict/test.csv"):  # fmt: skip
        one, two = ((run / name).read_text() for run in runs)
        assert one == two and len(one.splitlines()) > 2, name


def test_every_mode_runs_on_an_imported_network(
    config, tmp_path, species, image_folder
):
    run = imported(config, tmp_path / "a", network(len(species)), species)
    said = asked("cam", config, run, image_folder)
    assert "80 maps of the test split, 80 of them made now" in said
    photo = sorted(image_folder.rglob("*.jpg"))[0]
    said = tiny_birds.run("cam", config, workdir=str(run), image=str(photo))
    assert (run / "cam" / f"{photo.stem}.png").exists() and "order" in said
    said = asked("localize", config, run, image_folder, target="true")
    assert "80 maps of test" in said
    said = asked("guide", config, run, image_folder)
    assert (run / "guide" / "index.html").exists()
    two = imported(
        config, tmp_path / "a", network(4, "softmax", 1), families(species), "two"
    )
    out = tmp_path / "compared"
    said = tiny_birds.run(
        "compare",
        config,
        runs=(str(run), str(two)),
        data_dir=str(image_folder),
        out=str(out),
    )
    assert "unknown" in (out / "index.html").read_text() and "report" in said
