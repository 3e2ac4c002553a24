"""Runs for use from Python: train one, load one, explain with it."""

import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras import config_files
from hiercam_keras.cam import Explainer
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import photos
from hiercam_keras.models import files, xla_layers
from hiercam_keras.modes import load
from hiercam_keras.modes import train as train_mode
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy.tree import Taxonomy


class Run:
    """A finished run: its network, its taxonomy and its images. See `load_run`.

    The model file and the images are read when they are asked for, once.

    Attributes:
      path: the run folder.
      ranks: of the network's heads.
      config: of the training, without the overrides of later commands.
      taxonomy: of the network's labels.
    """

    def __init__(self, folder: run_folder.Run, data_dir: str | None = None):
        self._folder = folder
        self._data_dir = data_dir
        self._data: dict[str | None, RunData] = {}
        self.path = folder.path
        self.ranks = folder.ranks
        # Fields that came after the training of the run have their defaults.
        defaults = FrozenConfigDict(config_files.load("default"))
        self._settings = Settings(mode="eval", config=defaults)
        self.config = load.config_of(self._settings, folder)
        self.taxonomy: Taxonomy = folder.taxonomy()

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
        """The finest rank that the network has a head for. It can be asked for this and
        every coarser rank."""
        return max(self.ranks, key=self.taxonomy.ranks.index)

    @property
    def image_size(self) -> int:
        """Side of the images that the network takes, pixels."""
        return self.config.data.image_size

    @functools.cached_property
    def network(self) -> Network:
        """The model with what its outputs mean."""
        return networks.load(self._folder, self.config)

    @property
    def model(self) -> keras.Model:
        """Of images (B, S, S, 3), RGB in 0 .. 255."""
        return self.network.model

    @property
    def method(self) -> str:
        """The CAM method of questions that name none."""
        return self.config.cam.method

    @functools.cached_property
    def layer(self) -> str:
        """The layer of questions that name none."""
        named = self.config.cam.layer or self.network.layer
        return named or self.network.explainer().layers[0]

    def explainer(
        self, method: str | None = None, layer: str | Sequence[str] | None = None
    ) -> Explainer:
        """What explains the network.

        Args:
          method: of the calls that name none; default the run's `method`.
          layer: name or path of a layer, or several; default the run's `layer`.
        """
        return self.network.explainer(layer or self.layer, method or self.method)

    def data(self, data_dir: str | None = None) -> RunData:
        """The images, with the split that was frozen at the training.

        Args:
          data_dir: folder of the images; default that of `load_run`, else where the
            run was trained.
        """
        place = data_dir or self._data_dir
        if place not in self._data:
            settings = replace(self._settings, data_dir=place)
            self._data[place] = load.open_run(settings, self._folder)
        return self._data[place]

    def records(self, split: str = "test", data_dir: str | None = None) -> list[Record]:
        """The images of train, val or test: path, lineage, boxes, masks."""
        return self.data(data_dir).records(split)

    def images(self, paths: str | os.PathLike | Sequence[Any]) -> np.ndarray:
        """Photographs as the network takes them: uint8 (B, S, S, 3).

        Args:
          paths: a file, a folder or a glob; or a sequence of files or of records.
        """
        if isinstance(paths, str | os.PathLike):
            return photos.load_images(paths, self.image_size)
        files_ = [one.path if isinstance(one, Record) else one for one in paths]
        return photos.load_images(files_, self.image_size)


def load_run(path: str | os.PathLike, data_dir: str | None = None) -> Run:
    """Opens the folder of a finished run, as --mode=train and --mode=import write it.

    Args:
      path: the run folder, as "runs/synthetic_birds/species/seed0".
      data_dir: folder of the images, where they are not where the run was trained.

    Raises:
      UserError: there is no run, or its training did not finish.
    """
    return Run(run_folder.read_finished(path), data_dir)


def load_model(path: str | os.PathLike, fast_layers: str = "auto") -> keras.Model:
    """Reads a .keras file, of this program or of another, in Keras' safe mode.

    Args:
      path: the file.
      fast_layers: layers that compute the same faster under XLA: "auto", "none", or
        kinds as in "depthwise+swish".

    Raises:
      UserError: the file is missing or damaged, or needs code that is not imported.
    """
    return xla_layers.accelerate(files.read_keras(path), fast_layers)


def load_config(name: str | os.PathLike) -> ConfigDict:
    """The settings of an experiment, every field of configs/default.py.

    Args:
      name: of an experiment that ships with the package, as "synthetic_birds", or the
        path of a Python file with a function `get_config`.

    Raises:
      UserError: there is none of this name; the message lists those that there are.
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
      config: what `load_config` returns, with changes.
      rank: that is trained, or several: a network with a head for each.
      data_dir: folder of the images; default config.data.root.
      workdir: the run folder; default <config.runs_dir>/<data>/<rank>/seed<k>.
      resume: continue a training that was stopped.
      overwrite: replace the run that is there.

    Raises:
      UserError: what is wrong with the config or the data, or a run is there already.
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
    this, _ = train_mode.train(settings)
    return Run(this)
