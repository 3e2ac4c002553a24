"""Python interface to runs: train, load and explain."""

import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras import config_files, first_touch
from hiercam_keras.cam import Explainer
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import photos
from hiercam_keras.models import files, named, xla_layers
from hiercam_keras.modes import load
from hiercam_keras.modes import train as train_mode
from hiercam_keras.modes.find_runs import allow
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.settings import DETECTIONS, Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy.tree import Taxonomy


class Run:
    """A finished run: its network, its taxonomy and its images. See `load_run`.

    The model file and the images are read at first use and cached.

    Attributes:
      path: the run folder.
      ranks: ranks of the network's heads.
      config: of the training, without the overrides of later commands.
      taxonomy: of the answers: the network's labels, or the allowed ones.
    """

    def __init__(
        self,
        folder: run_folder.Run,
        data_dir: str | None = None,
        detections: str | os.PathLike | None = None,
    ):
        self._folder = folder
        self._data_dir = data_dir
        self._data: dict[str | None, RunData] = {}
        self.path = folder.path
        self.ranks = folder.ranks
        # Fields that are newer than the run have their default values.
        defaults = FrozenConfigDict(config_files.load("default"))
        named = {} if detections is None else {DETECTIONS: os.path.abspath(detections)}
        if named:
            defaults = ConfigDict(defaults)
            defaults.update_from_flattened_dict(named)
        self._settings = Settings(
            mode="eval", config=FrozenConfigDict(defaults), overrides=named
        )
        self.config = load.config_of(self._settings, folder)
        self.taxonomy: Taxonomy = folder.taxonomy()
        if folder.allowed_taxa is not None:
            # As in the network: a coarser head with one allowed taxon has no choice.
            self.ranks = tuple(
                rank
                for rank in folder.ranks
                if rank == self.finest or self.taxonomy.num_labels(rank) > 1
            )

    def __repr__(self) -> str:
        heads = ", ".join(
            f"{rank} ({self.taxonomy.num_labels(rank)} taxa)" for rank in self.ranks
        )
        network = self.config.model.backbone or "imported"
        return (
            f"<Run {self.path}: {network}, images of {self.image_size} px, heads for "
            f"{heads}; ranks {', '.join(self.taxonomy.ranks)}>"
        )

    @property
    def finest(self) -> str:
        """The finest rank with a head. The network predicts it and coarser ranks."""
        return max(self.ranks, key=self.taxonomy.ranks.index)

    @property
    def image_size(self) -> int:
        """Side of the network's input images, in pixels."""
        return self.config.data.image_size

    @functools.cached_property
    def network(self) -> Network:
        """The model, with the labels of its outputs."""
        return networks.load(self._folder, self.config)

    @property
    def model(self) -> keras.Model:
        """The Keras model; it takes RGB images (B, S, S, 3) in 0..255."""
        return self.network.model

    @property
    def method(self) -> str:
        """The default CAM method, of config.cam.method."""
        return self.config.cam.method

    @functools.cached_property
    def layer(self) -> str:
        """Name or path of the default CAM layer."""
        named = self.config.cam.layer or self.network.layer
        return named or self.network.explainer().layers[0]

    def explainer(
        self, method: str | None = None, layer: str | Sequence[str] | None = None
    ) -> Explainer:
        """Returns an explainer of the network.

        Args:
          method: default method of its calls; None for the run's `method`.
          layer: name or path of a layer, or several; None for the run's `layer`.
        """
        return self.network.explainer(layer or self.layer, method or self.method)

    def data(self, data_dir: str | None = None) -> RunData:
        """The images, with the split that was saved at the training.

        Args:
          data_dir: folder of the images; default that of `load_run`, else the folder
            used in the training.
        """
        place = data_dir or self._data_dir
        if place not in self._data:
            settings = replace(self._settings, data_dir=place)
            self._data[place] = load.open_run(settings, self._folder)
        return self._data[place]

    def records(self, split: str = "test", data_dir: str | None = None) -> list[Record]:
        """Records of the images of a split: path, lineage, boxes, masks.

        Args:
          split: "train", "val" or "test".
          data_dir: as for `data`.
        """
        return self.data(data_dir).records(split)

    def images(self, paths: str | os.PathLike | Sequence[Any]) -> np.ndarray:
        """Loads photographs at the network's image size: uint8 (B, S, S, 3).

        Args:
          paths: a file, a folder or a glob; or a sequence of files or records, also
            of crops.
        """
        return photos.load_images(paths, self.image_size)


def load_run(
    path: str | os.PathLike,
    data_dir: str | None = None,
    taxonomy: str | os.PathLike | None = None,
    *,
    allowed_taxa: Any = None,
    detections: str | os.PathLike | None = None,
) -> Run:
    """Opens the folder of a finished run of --mode=train or --mode=import.

    Args:
      path: the run folder, as "runs/synthetic_birds/species/seed0".
      data_dir: folder of the images; None for the folder used in the training.
      taxonomy: table of names in another taxonomy, under which the network is asked
        (docs/TAXONOMY.md), or "avilist2025"; None for that of the training.
      allowed_taxa: the only taxa that answers may be of, as for `Explainer`; None for
        all.
      detections: file with the boxes of animals, to ask about crops; None for what the
        run was trained on.

    Raises:
      UserError: there is no run, its training did not finish, the table lacks taxa of
        the network, or the network knows none of the allowed taxa.
    """
    named = None if taxonomy is None else os.fspath(taxonomy)
    (folder,) = allow(allowed_taxa, [run_folder.read_finished(path)], named)
    return Run(folder, data_dir, detections)


def load_model(path: str | os.PathLike, fast_layers: str = "auto") -> keras.Model:
    """Reads a .keras file of this or another program, in Keras' safe mode.

    Args:
      path: of the file; or the name of a published network, as "keras:ResNet50",
        "efficientnet_lite0" or "keras_hub:PRESET" (docs/MODELS.md), which then takes
        RGB images in 0..255.
      fast_layers: layers to replace by equivalent ones that are faster under XLA:
        "auto", "none", or kinds as in "depthwise+swish".

    Raises:
      UserError: the file is missing or damaged, or needs code that is not imported; the
        network is unknown, or its weights cannot be loaded.
    """
    name = os.fspath(path)
    model = named.model(name) if named.is_named(name) else files.read_keras(path)
    return xla_layers.accelerate(model, fast_layers)


def load_config(name: str | os.PathLike) -> ConfigDict:
    """Loads the config of an experiment, with every field of configs/default.py.

    Args:
      name: of an experiment of this package, as "synthetic_birds", or the path of a
        Python file with a function `get_config`.

    Raises:
      UserError: there is no such experiment or file (the message lists the names), or
        its code fails.
    """
    return config_files.load(os.fspath(name))


def train(
    config: Any,
    rank: str | Sequence[str],
    *,
    data_dir: str | os.PathLike | None = None,
    workdir: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Trains a network, as --mode=train does, and opens the run.

    Args:
      config: result of `load_config`, possibly modified.
      rank: rank to train, or several for a network with a head for each.
      data_dir: folder of the images; default config.data.root.
      workdir: the run folder; default <config.runs_dir>/<data>/<rank>/seed<k>.
      resume: whether to continue a stopped training.
      overwrite: whether to replace an existing run.

    Raises:
      UserError: the config or the data are invalid, or the run already exists.
    """
    settings = Settings(
        mode="train",
        config=FrozenConfigDict(config),
        rank=(rank,) if isinstance(rank, str) else tuple(rank),
        data_dir=None if data_dir is None else str(data_dir),
        workdir=None if workdir is None else str(workdir),
        resume=resume,
        overwrite=overwrite,
    )
    first_touch.begin(*settings.of_training())
    this, _ = train_mode.train(settings)
    return Run(this)
