"""--mode=import: a run folder from a network that was trained elsewhere.

The folder has the network's file as it came, labels.json with what its outputs mean,
and a record of what is known of it. Its split, its training data and its seed are not
known, and the record says so.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from hiercam_keras import file_names, locks, runtime, wording, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.models import imported, named, preprocessing, user_code
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy.label_table import read_labels
from hiercam_keras.taxonomy.labels import OTHERS, Labels

ACTIVATIONS = ("auto", "softmax", "sigmoid")


@dataclass(frozen=True)
class Given:
    """A network as it was given.

    Attributes:
      path: its .keras file.
      name: --model.
      short: the name without folders and ending.
      preprocessing, image_size, labels: of a network by name, else None.
      source: what is known of where it is from.
    """

    path: Path
    name: str
    short: str
    preprocessing: str | None = None
    image_size: int | None = None
    labels: Path | None = None
    source: Mapping[str, str] = field(default_factory=dict)


def run(settings: Settings) -> str:
    """Writes the run folder; returns what was found in the network."""
    config = settings.config
    _check_options(settings)
    _check_free_before(settings)
    runtime.start(config.seed)
    with _given(settings.model) as given:
        labels = _labels(settings, given)
        name = config.name if "name" in settings.overrides else given.short
        folder = Path(settings.workdir or _default_folder(config, name, labels))
        with workdir.made_dir(folder), locks.hold(folder, "a network is imported"):
            return _import(settings, given, labels, name, folder)


def _check_options(settings: Settings) -> None:
    if not settings.model:
        raise UserError(
            "--mode=import needs --model: a .keras file, or the name of a network."
        )
    options = settings.config.model
    for name, known in (
        ("preprocessing", preprocessing.KINDS),
        ("activation", ACTIVATIONS),
        ("other", OTHERS),
    ):
        if options[name] not in known:
            raise UserError(
                f"config.model.{name}={options[name]!r}, expected one of "
                f"{', '.join(known)}."
            )


def _check_free_before(settings: Settings) -> None:
    """A UserError if the folder holds a run, before the network is built.

    The default folder has the ranks of the labels in its name; without known labels it
    is checked later.
    """
    given = settings.model
    labels = settings.labels or named.labels_of(given)
    if settings.workdir:
        _check_free(Path(settings.workdir), settings)
    elif labels and named.is_named(given):
        name = (
            settings.config.name if "name" in settings.overrides else named.short(given)
        )
        read = _read_labels(settings, labels)
        _check_free(_default_folder(settings.config, name, read), settings)


def _check_free(folder: Path, settings: Settings) -> None:
    if (folder / "config.json").exists() and not settings.overwrite:
        raise UserError(
            f"{folder} holds a run. Replace it with --overwrite, or choose another "
            "folder with --workdir."
        )


@contextmanager
def _given(model: str) -> Iterator[Given]:
    """The file of --model; a network by name is saved to a folder that goes again."""
    if not named.is_named(model):
        yield Given(Path(model), model, Path(model).stem)
        return
    found = named.load(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        found.model.save(path)
        yield Given(
            path,
            model,
            named.short(model),
            found.preprocessing,
            found.image_size,
            found.labels,
            found.source,
        )


def _labels(settings: Settings, given: Given) -> Labels:
    path = settings.labels or given.labels
    if not path:
        raise UserError(
            "--mode=import needs --labels: a CSV table with one row for each output of "
            "the network, in its order, and columns with the names of ranks, or one "
            "column label."
        )
    return _read_labels(settings, path)


def _read_labels(settings: Settings, path: str | Path) -> Labels:
    data = settings.config.data
    return read_labels(
        path, settings.config.model.other, tuple(data.ranks), data.homonyms
    )


def _default_folder(config: Any, name: str, labels: Labels) -> Path:
    ranks = file_names.joined_name(labels.ranks, "+")
    folder = run_folder.data_folder(config.runs_dir, name)
    return folder / ranks / run_folder.IMPORTED


def _import(
    settings: Settings, given: Given, labels: Labels, name: str, folder: Path
) -> str:
    _check_free(folder, settings)
    config = ConfigDict(settings.config.to_dict())
    if given.preprocessing and "model.preprocessing" not in settings.overrides:
        config.model.preprocessing = given.preprocessing
    config.cam.batch_size = 4  # as many as are tried
    digest = imported.digest(given.path) if given.path.is_file() else ""
    model = imported.read(given.path)
    _warn_of_pixels(settings, given, model)
    size = _size(model, given, settings)
    network = networks.from_elsewhere(model, labels, size, config.cam.layer, config)
    network.scorer()  # refuses outputs that do not fit the labels
    images = _trial_images(size)
    layer, logits = _explained(network, images)
    probabilities = _gives_probabilities(network, images, logits)
    if probabilities and network.activation != "softmax":
        raise UserError(
            f"{given.name}: its outputs are above 0 and add up to 1, and no softmax is "
            "found at its end. If they are probabilities, say "
            "--config.model.activation=softmax; scores are their logarithms then."
        )
    kept = folder / "model.keras"
    if kept.is_file() and given.path.samefile(kept):
        raise UserError(
            f"--model={given.name} is the run folder's own copy, which --overwrite "
            "would delete: copy it elsewhere, and name that file."
        )
    run_folder.clear(folder)
    imported.keep(given.path, folder / "model.keras")
    if imported.digest(folder / "model.keras") != digest:
        raise UserError(f"{given.path} changed while it was imported. Import it again.")
    workdir.write_json(run_folder.labels_path(folder), labels.to_json())
    record = _record(settings, given, labels, name, config) | {
        "imported": {
            "model": given.name,
            "sha256": digest,
            "source": dict(given.source) or None,
            "labels": str(settings.labels or given.labels.name),
            "image_size": size,
            "layer": layer,
            "layer_asked": config.cam.layer or None,
            "probabilities": probabilities,
            "modules": _modules(settings, given),
        },
    }
    this = run_folder.create(folder, record, labels.taxonomy)
    return _said(this, given, labels, size, layer, config)


def _warn_of_pixels(settings: Settings, given: Given, model: keras.Model) -> None:
    """Says that nobody said what pixels a network takes, and it does not show it."""
    chosen = given.preprocessing or "model.preprocessing" in settings.overrides
    if not chosen and imported.takes_pixels_as_they_come(model):
        logging.warning(
            "%s begins with a convolution and no Rescaling or Normalization, so it is "
            "given pixels of 0 .. 255. Networks are rarely trained on those: say what "
            "it takes with --config.model.preprocessing=%s (model: 0 .. 255)",
            given.name,
            "|".join(preprocessing.KINDS),
        )


def _size(model: keras.Model, given: Given, settings: Settings) -> int:
    """Of the images: the network's own, else what is known of it by its name, else
    config.data.image_size."""
    asked = settings.config.data.image_size
    if given.image_size and "data.image_size" not in settings.overrides:
        asked = given.image_size
    size = imported.image_size(model, asked)
    if "data.image_size" in settings.overrides and size != asked:
        raise UserError(
            f"--config.data.image_size={asked}, but {given.name} takes images of "
            f"{size} pixels. Leave it out."
        )
    return size


def _trial_images(size: int) -> np.ndarray:
    """A gray image and three of noise: uint8 (4, size, size, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    return np.concatenate([np.full_like(noise[:1], 127), noise])


def _explained(network: networks.Network, images: np.ndarray) -> tuple[str, np.ndarray]:
    """Explains some images: what cannot be explained shows before it is kept.

    Returns:
      The path of the layer that is explained, and the logits of all heads.
    """
    try:
        explain = network.explainer()
        result = explain(images)
    except UserError:
        raise
    except Exception as error:  # of the network's own code
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"the network cannot be explained: {line}.") from error
    if not np.isfinite(result.logits).all():
        raise UserError(
            "the network answers NaN for images of gray and noise: its weights are "
            "damaged, or it needs another --config.model.preprocessing."
        )
    return explain.layers[0], result.logits


def _gives_probabilities(
    network: networks.Network, images: np.ndarray, logits: np.ndarray
) -> bool:
    """Whether a network with one output gives what a softmax gives, and what is read of
    it is this output and not what goes into a softmax."""
    head = network.labels.heads.get(None)
    if head is None:
        return False
    said = network.model(images.astype("float32"))  # a Sequential has no `output`
    if isinstance(said, (dict, list, tuple)):
        return False
    said = np.asarray(said, np.float64)
    if (
        said.shape[1] < 2
        or said.min() < 0
        or not np.allclose(said.sum(1), 1, atol=1e-3)
    ):
        return False
    alone = [np.flatnonzero(head.columns == label) for label in range(logits.shape[1])]
    pairs = [(label, at[0]) for label, at in enumerate(alone) if len(at) == 1]
    labels, columns = np.array(pairs, int).reshape(-1, 2).T
    return bool(np.allclose(logits[:, labels], said[:, columns], atol=1e-4))


def _modules(settings: Settings, given: Given) -> list[str]:
    """Modules that later calls have to be given, for messages."""
    said = user_code.split_names(settings.config.model.modules)
    return list(dict.fromkeys([*said, *imported.modules_of(given.path)]))


def _record(
    settings: Settings, given: Given, labels: Labels, name: str, config: Any
) -> dict[str, Any]:
    """What the run is known by; null is unknown."""
    kept = ("preprocessing", "activation", "output", "other")
    return {
        "ranks": list(labels.ranks),
        "data_name": name,
        "data_dir": None,
        "training_data": None,
        "split": None,
        "seed": None,
        "batch_size": None,
        "config": {
            "name": name,
            "seed": None,
            "model": {one: config.model[one] for one in kept},
            "train": None,
            "augment": None,
        },
        "overrides": {
            one: list(value) if isinstance(value, tuple) else value
            for one, value in settings.overrides.items()
        },
        "versions": runtime.versions(),
    }


def _said(
    this: run_folder.Run,
    given: Given,
    labels: Labels,
    size: int,
    layer: str,
    config: Any,
) -> str:
    taxonomy = labels.taxonomy
    counted = ", ".join(
        f"{wording.count(taxonomy.num_labels(rank), 'taxon')} at {rank}"
        for rank in taxonomy.ranks
    )
    outputs = sum(len(head.columns) for head in labels.heads.values())
    used = sum(int((head.columns >= 0).sum()) for head in labels.heads.values())
    return (
        f"imported {given.name}: {counted}; {used} of {outputs} outputs have a "
        f"lineage\nimages of {size} px, preprocessing: {config.model.preprocessing}; "
        f"explained layer: {layer}; training data, split and seed: unknown\n"
        f"wrote {this.path}. Ask it with --workdir={this.path} and images, as in "
        f"--mode=eval --data_dir=FOLDER or --mode=cam --image=PHOTO"
    )
