"""The programs of a run, lowered for devices that are described, not there.

They are those that the run itself compiles: the step that Keras' `fit` jits, the
forward pass of `training.forward`, and the function of the `cam.Explainer`. Nothing is
computed, and weights are not loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from hiercam_keras import precision
from hiercam_keras.cam import Explainer, recommended
from hiercam_keras.data.batches import Batch
from hiercam_keras.models import xla_layers
from hiercam_keras.models.from_config import build
from hiercam_keras.plan import topology
from hiercam_keras.plan.recipe import Recipe
from hiercam_keras.training import compiling, forward

NAMES = ("train", "eval", "cam")
_FEW = 2  # images of the batch that shapes are read from


@dataclass(frozen=True)
class Lowered:
    """A program that is lowered for some devices.

    Attributes:
      lowered: a `jax.stages.Lowered`.
      arguments: of a call, as `jax.ShapeDtypeStruct`s.
      sizes: bytes on one device of its arguments without padding, by purpose:
        "weights", "optimizer", "input".
    """

    lowered: Any
    arguments: tuple
    sizes: Mapping[str, int]


class Programs:
    """The programs of a recipe for the devices of a mesh.

    Args:
      recipe: of the run.
      mesh: of `topology.mesh`.
      family: "tpu", "gpu" or "cpu", which decides on the fast layers and on the
        precision of "auto".
    """

    def __init__(self, recipe: Recipe, mesh: Any, family: str):
        self.recipe, self.mesh = recipe, mesh
        config = ConfigDict(dict(recipe.config))
        kinds = xla_layers.resolve_kinds(config.model.fast_layers, family)
        config.model.fast_layers = "+".join(kinds) or "none"
        asked = config.cam.get("precision", "auto")
        asked = precision.of_network(asked, config.model.dtype != "float32")
        config.cam.precision = precision.resolved(asked, family)
        self.config = config
        self._model = None

    @property
    def model(self) -> Any:
        """The network, compiled for training; it is built when it is first used."""
        if self._model is None:
            num_labels = dict(self.recipe.num_labels)
            model = build(self.config, num_labels, weights="none")
            compiling.compile_model(
                model,
                num_labels,
                self.config.train,
                self.recipe.steps,
                self.recipe.parents,
                self.recipe.spaces,
            )
            model._symbolic_build(data_batch=self._few())
            self._model = model
        return self._model

    def lower(self, name: str, batch: int) -> Lowered:
        """Lowers "train", "eval" or "cam" for a batch of images over all devices."""
        model = self.model  # made before there is a distribution of other devices
        with topology.data_parallel(self.mesh):
            return getattr(self, f"_{name}")(model, batch)

    def _train(self, model: Any, batch: int) -> Lowered:
        state = model._get_jax_state(
            trainable_variables=True,
            non_trainable_variables=True,
            optimizer_variables=True,
            metrics_variables=True,
        )
        state = self._replicated(state)
        data = self._rows(self._few(), batch)
        trainable, fixed, optimizer, metrics = state
        sizes = {
            "weights": _size((trainable, fixed)),
            "optimizer": _size((optimizer, metrics)),
            "input": _size(data) // self.mesh.devices.size,
        }
        lowered = train_function(model, state).lower(state, data)
        return Lowered(lowered, (state, data), sizes)

    def _eval(self, model: Any, batch: int) -> Lowered:
        weights = self._replicated(
            model._get_jax_state(trainable_variables=True, non_trainable_variables=True)
        )
        images = self._rows(self._few()[0], batch)
        function = forward.forward_function(model, self.config.cam.precision)
        return self._asked(function, weights, (images,))

    def _cam(self, model: Any, batch: int) -> Lowered:
        recipe, cam = self.recipe, self.config.cam
        ranks = tuple(recipe.num_labels)
        method, layer = recommended.resolved(
            cam.method, cam.layer, self.config.model.backbone
        )
        explain = Explainer(
            model,
            layer or model.cam_layer or None,
            taxonomy=recipe.taxonomy,
            rank=ranks[0] if len(ranks) == 1 else None,
            probabilities=False,
            method=method,
            precision=cam.precision,
        )
        images = self._few()[0]
        function, (weights, *rows) = explain.compiled_call(images, recipe.asked)
        weights = self._replicated(weights)
        rows = tuple(self._rows(rows, batch))
        return self._asked(function, (weights,), rows)

    def _asked(self, function: Any, weights: tuple, rows: tuple) -> Lowered:
        """A function of weights and of arrays with a row for each image."""
        count = self.mesh.devices.size
        sizes = {"weights": _size(weights), "input": _size(rows) // count}
        return Lowered(function.lower(*weights, *rows), (*weights, *rows), sizes)

    def _few(self) -> tuple[Any, ...]:
        """A batch of `fit` with few images, all black, with label 0."""
        recipe, data = self.recipe, self.config.data
        spaces = recipe.spaces or {}
        counts = {
            rank: spaces[rank].size if spaces else count
            for rank, count in recipe.num_labels.items()
        }
        weights = {rank: np.ones(_FEW, np.float32) for rank in counts}
        few = Batch(
            images=np.zeros((_FEW, data.image_size, data.image_size, 3), np.uint8),
            labels={rank: np.zeros(_FEW, np.int32) for rank in counts},
            example_ids=["0"] * _FEW,
            mask=np.ones(_FEW, bool),
            geometry=np.zeros((_FEW, 7), np.float32),
            weights=weights if recipe.has_weights else None,
        )
        return compiling.training_batch(few, counts, self.config.train, 0)

    def _replicated(self, tree: Any) -> Any:
        """Shapes of arrays that each device holds whole."""
        everywhere = self._sharding()
        return jax.tree.map(lambda one: _spec(one, one.shape, everywhere), tree)

    def _rows(self, tree: Any, batch: int) -> Any:
        """Shapes of arrays with a row for each image of a batch, rows over devices."""
        shared = self._sharding(topology.BATCH)
        return jax.tree.map(
            lambda one: _spec(one, (batch, *one.shape[1:]), shared), tree
        )

    def _sharding(self, *axes: str) -> Any:
        spec = jax.sharding.PartitionSpec(*axes)
        return jax.sharding.NamedSharding(self.mesh, spec)


def train_function(model: Any, state: Any) -> Any:
    """The train step as Keras' `fit` jits it: the state is donated and keeps its
    sharding.

    Keras reads the shardings from the variables, which are on this machine; here they
    are those of `state`, a tree of `jax.ShapeDtypeStruct`.
    """
    shardings = jax.tree.map(lambda one: one.sharding, state)
    return jax.jit(model.train_step, donate_argnums=0, out_shardings=(None, shardings))


def _spec(array: Any, shape: tuple[int, ...], sharding: Any) -> jax.ShapeDtypeStruct:
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _size(tree: Any) -> int:
    """Bytes of all arrays of a tree, in full."""
    return sum(
        int(np.prod(one.shape)) * one.dtype.itemsize for one in jax.tree.leaves(tree)
    )
