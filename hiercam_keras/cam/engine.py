"""Explains Keras models: images and targets in, maps out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from absl import logging

from hiercam_keras import trace_cache
from hiercam_keras.cam import (
    arrays,
    attention_layers,
    graph,
    keras_network,
    layer_choice,
    stages,
    tokens,
)
from hiercam_keras.cam.base_explainer import BaseExplainer
from hiercam_keras.cam.inputs import Inputs
from hiercam_keras.cam.keras_network import KerasLayer, KerasNetwork
from hiercam_keras.cam.meaning import Meaning
from hiercam_keras.cam.methods import unavailable
from hiercam_keras.cam.network import CHANNELS_FIRST
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.cam.program import Options, Program
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError
from hiercam_keras.models import model_digest, stateless
from hiercam_keras.models.layers import all_layers, is_mixed
from hiercam_keras.models.xla_layers import shards
from hiercam_keras.precision import of_network


class Explainer(BaseExplainer):
    """Explains any Keras 3 model on the JAX backend.

        explain = Explainer(model, layer="top_activation", taxonomy=taxonomy)
        result = explain(images, targets.path())
        result.cams  # (B, K, h, w), signed

    Weights are read at every call, so training may go on in between. One program is
    compiled for each shape of images.

    Args:
      model: Functional, Sequential or subclassed, of images (B, H, W, C), perhaps with
        other inputs, and logits (B, N), or a dict of rank -> logits. One that was
        never called is built. One that ends in a softmax or sigmoid is read before it,
        where the layer is found, so that scores are logits.
      layer: a layer, a name, a path through nested layers ("backbone/conv5"), one call
        of a layer that is used several times ("relu:3"), what a layer is given
        ("block_12:input"), or a sequence of these. None finds the last convolutional
        activation, or in a transformer that is known what `tokens.find` says, and logs
        which it is.
      taxonomy: what the labels mean; without it there are no coarser ranks and names.
      names: of the labels where there is no taxonomy: a list, or rank -> list.
      labels: what the outputs mean, in the network's own order, where this is not that
        of a taxonomy: `taxonomy.labels.Labels`, the path of a table with one row
        an output (`taxonomy.label_table.read_labels`), or a sequence with a Lineage, a
        name or None (left out of the softmax) for each output; for several outputs a
        dict of sequences by name. Outputs of one label are merged: under a softmax by
        the sum of their probabilities, as sigmoids by whether any of them is true.
      order: as `labels`, with numbers: the label in `taxonomy` of each output, -1 for
        one that is left out; by rank for several outputs.
      allowed_taxa: the only taxa that answers may be of, each with all its descendants:
        names, Lineages, or the path of a table (see `taxonomy.allowed.read`). Outputs
        of other taxa are left out before the softmax.
      rank: the rank of a single-output model; default: the one whose number of taxa
        fits, the finest if several do.
      output: which output of a model that has several without being a dict of ranks.
      activation: "softmax" (labels exclude one another), "sigmoid" (each label is true
        or not, independent of the others), or a dict of these by rank. "auto" takes
        that which ends the model, else "softmax". One logit is two classes either way,
        with the scores -z and z.
      probabilities: whether the outputs are probabilities of `activation`. True
        explains the logarithm of a softmax and the log-odds of sigmoids; False takes
        the outputs as they are for logits; None reads a model before the activation
        that ends it, and takes any other outputs for logits.
      image_input: name, dict key or place of the image among several inputs.
      data_format: of the layer, where the model does not say.
      reshape: turns the layer's output into (B, h, w, C), for maps that are tokens.
        The tokens of ViT, DeiT, DINOv2, DINOv3, Swin and MiT of keras-hub need none.
      method: a name in METHODS, for the calls that name none.
      batch_size: larger input is cut to this, the last piece padded, so that nothing
        is compiled twice. None takes the input as it comes.
      options: see `Options`.
      precision: of products of float32 factors, which TPUs and GPUs round: "default",
        "high" or "highest", as in JAX. "auto" is JAX's own setting, and for a float32
        model on a TPU that at which maps agree with a CPU's to 1e-3 (docs/SCALING.md).

    Raises:
      UserError: another backend, a layer that does not exist or gives no maps of
        several cells (the message names those that do), outputs that are no logits,
        several sigmoids without `activation`, a method that the network cannot be asked
        by, labels of other outputs than the model has, several inputs that could be the
        image.
    """

    def __init__(
        self,
        model: keras.Model,
        layer: Any = None,
        *,
        taxonomy=None,
        names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        labels: Any = None,
        order: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        allowed_taxa: Any = None,
        rank: str | None = None,
        output: str | int | None = None,
        activation: str | Mapping[str, str] = "auto",
        probabilities: bool | None = None,
        image_input: str | int | None = None,
        data_format: str | None = None,
        reshape: Callable | None = None,
        method: str = "gradcam",
        batch_size: int | None = None,
        options: Options | None = None,
        precision: str = "auto",
    ):
        if keras.backend.backend() != "jax":
            raise UserError(
                f"Keras runs on {keras.backend.backend()}, the CAM engine needs jax: "
                "set KERAS_BACKEND=jax before keras is imported"
            )
        if not isinstance(model, keras.Layer):
            raise UserError(
                f"expected a Keras 3 model, found {type(model).__name__}: read a file "
                "with keras.saving.load_model(path, compile=False)"
            )
        super().__init__(
            method, batch_size, options, of_network(precision, is_mixed(model))
        )
        self.model = model
        self._asked_layers = layer
        self._inputs = Inputs(model, image_input)
        self._outputs = Outputs(
            Meaning(
                taxonomy=taxonomy,
                names=names,
                labels=labels,
                order=order,
                allowed_taxa=allowed_taxa,
                rank=rank,
                output=output,
                activation=activation,
                probabilities=probabilities,
            )
        )
        self._data_format = data_format
        self._reshape = reshape
        self._about_outputs: Any = None
        self._traced: set[Any] = set()  # `_state` at each trace
        self._paths: tuple[str, ...] = ()
        self._programs: dict[tuple, Program] = {}
        self._warned = False
        self._takes_bytes = False
        known = self._inputs.static(batch=2)
        if known is not None:
            self._prepare(*known).check([self.method])

    def _prepare(self, image, others: tuple) -> Program:
        """Finds the layers and the outputs, by one pass that computes nothing.

        Args:
          image, others: `jax.ShapeDtypeStruct`s of two images and their other inputs.
        """
        specs = self._inputs.pack(image, others)
        if not self.model.built:
            floats = jax.ShapeDtypeStruct(image.shape, jnp.float32)
            self.model(
                jax.tree.map(
                    lambda x: np.zeros((1, *x.shape[1:]), x.dtype),
                    self._inputs.pack(floats, others),
                ),
                training=False,
            )
        recorded = graph.record(self.model, specs)
        if self._outputs.space is None:
            keras_network.prepare_outputs(self._outputs, recorded)
            dtype = self._inputs.image_dtype
            self._takes_bytes = keras_network.takes_bytes(recorded.calls, dtype)
        network = self._network(recorded.calls, image, others)
        for layer in network.layers:
            if layer.map_size() == (1, 1):
                size = " x ".join(map(str, image.shape[1:]))
                larger = self._size_that_does(network, layer, image, others)
                raise UserError(
                    f"the layer {layer.path!r} gives maps of one cell for images of "
                    f"{size}, which mark the whole image. Give {larger}, or explain "
                    f"an earlier layer; {graph.would_do(recorded.calls)}"
                )
        self._paths = tuple(layer.path for layer in network.layers)
        program = Program(network, self.options)
        self._programs[self._key(image, others)] = program
        return program

    def _size_that_does(self, network: KerasNetwork, layer, image, others) -> str:
        """The least doubling of the images that gives a layer's maps several cells."""
        axes = (2, 3) if network.image_layout == CHANNELS_FIRST else (1, 2)
        shape = list(image.shape)
        folded = self._reshape is not None or len(layer.shape) != 4
        for _ in range(0 if folded else 5):
            for axis in axes:
                shape[axis] *= 2
            spec = self._inputs.pack(
                jax.ShapeDtypeStruct(tuple(shape), image.dtype), others
            )
            try:
                calls = graph.record(self.model, spec).calls
            except (TypeError, ValueError):  # the model is of one size
                break
            found = graph.find_call(calls, layer.path).shape
            if dataclasses.replace(layer, shape=found).map_size() != (1, 1):
                return f"images of {' x '.join(map(str, shape[1:]))} or more"
        return (
            "larger images to a network that is built for them, or one with a finer "
            "output stride"
        )

    def _network(self, calls: list[graph.Call], image, others: tuple) -> KerasNetwork:
        """The model with the layers that are explained."""
        seeing, blind = layer_choice.split(
            self.model, self._inputs, calls, image, others
        )
        known = tokens.find(seeing) if self._reshape is None else None
        found = self._find_calls(seeing, blind, known)
        layer_of = functools.partial(
            keras_network.layer_of, self.model, self._data_format
        )
        layers = tuple(layer_of(call, self._fold(call, known)) for call in found)

        def fused() -> tuple[KerasLayer, ...]:
            if len(layers) > 1:
                return layers
            return self._stages(seeing, known, layers[0])

        return KerasNetwork(
            self.model,
            self._inputs,
            self._outputs,
            layers,
            self._data_format,
            fused,
            lambda: attention_layers.find(
                seeing, known or tokens.find(seeing), layer_of
            ),
        )

    def _find_calls(
        self,
        seeing: list[graph.Call],
        blind: list[graph.Call],
        known: tokens.Transformer | None,
    ) -> tuple[graph.Call, ...]:
        """The calls that are explained."""
        if self._paths:  # of images of another size: the same calls, by their paths
            by_path = {call.path: call for call in (*seeing, *blind)}
            return tuple(
                graph.input_of(by_path[path.removesuffix(graph.INPUT)])
                if path.endswith(graph.INPUT)
                else by_path[path]
                for path in self._paths
            )
        if self._asked_layers is None:
            found = known.call if known else layer_choice.last_activation(seeing)
            size = "x".join(map(str, found.shape[1:]))
            logging.info("explaining the layer %s, %s", found.path, size)
            if known:
                grid = known.grid_of(found)
                logging.info("the tokens of a %s are %s patches", known.name, grid)
            return (found,)
        several = isinstance(self._asked_layers, (list, tuple))
        asked = self._asked_layers if several else [self._asked_layers]
        folded = self._reshape is not None or known is not None
        return tuple(layer_choice.find(seeing, blind, one, folded) for one in asked)

    def _stages(
        self,
        calls: Sequence[graph.Call],
        known: tokens.Transformer | None,
        layer: KerasLayer,
    ) -> tuple[KerasLayer, ...]:
        """The explained layer after the ends of the two stages before it."""
        if self._reshape is not None:
            raise unavailable("layers", "with reshape= it needs a list of layers")

        def layer_of(call: graph.Call) -> KerasLayer:
            fold = self._fold(call, known)
            return keras_network.layer_of(self.model, self._data_format, call, fold)

        earlier = stages.before(calls, self.model, layer, layer_of, most=2)
        if not earlier:
            raise unavailable(
                "layers",
                f"no stage before the layer {layer.path!r} has finer maps; give layer= "
                "a list",
            )
        fused = (*earlier, layer)
        logging.info("fused: %s", ", ".join(one.path for one in fused))
        return fused

    def _fold(
        self, call: graph.Call, known: tokens.Transformer | None
    ) -> Callable | None:
        if known is None:
            return self._reshape
        grid = known.grid_of(call)
        return None if grid is None else grid.fold

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the layers that are explained."""
        return self._paths

    def network(self) -> KerasNetwork:
        """The model as a pure function, with the layers that are explained.

        Raises:
          UserError: the model has not seen an image yet and does not say the shapes of
            its inputs.
        """
        program = next(iter(self._programs.values()), None)
        if program is None:
            raise UserError(
                "the model does not say the shapes of its inputs: explain some images "
                "first"
            )
        return program.network

    def scorer(self) -> Scorer:
        """What asks the model about changed images, reading it as the maps are made.

        Raises:
          UserError: the model has not seen an image yet and does not say the shapes of
            its inputs.
        """
        if self.space is None:
            raise UserError(
                "the model does not say the shapes of its inputs: explain some images "
                "before you ask for a scorer"
            )
        network = KerasNetwork(
            self.model, self._inputs, self._outputs, data_format=self._data_format
        )
        return Scorer.of_network(
            network,
            lambda: graph.variables_of(self.model),
            self._inputs.others,
            self.precision,
        )

    def _open(self, images, other_inputs, variables):
        images, others = self._given(images, other_inputs)
        program = self._program(images, others)
        self._check_range(images)
        if variables is None:
            variables = graph.variables_of(self.model)
        return program, variables, images, others

    def _given(self, images, other_inputs) -> tuple[Any, tuple]:
        """The checked image array (B, H, W, C), and the other inputs' (B, ...)."""
        images, other_inputs = self._inputs.split(images, other_inputs)
        images = arrays.as_array(images, "images")
        arrays.check_images(images, self._inputs.image_shape)
        return images, self._inputs.others(other_inputs, len(images))

    def _program(self, images, others) -> Program:
        """The program for arrays of these shapes."""
        known = self._programs.get(self._key(images, others))
        if known is not None:
            return known
        specs = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (2, *x.shape[1:]), jax.dtypes.canonicalize_dtype(x.dtype)
            ),
            (images, others),
        )
        try:
            return self._prepare(*specs)
        except UserError:
            raise
        except (TypeError, ValueError) as error:  # of Keras or of the model's own code
            raise UserError(
                f"the model cannot be run on images of shape {tuple(images.shape)}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error

    def _key(self, images, others: tuple) -> tuple:
        """What a program depends on."""
        order = stateless.order(*stateless.variables(self.model))
        return (*_shapes(images, others), order)

    def _check_range(self, images) -> None:
        """Warns once where a network of 0 .. 255 is given 0 .. 1."""
        floats = not jnp.issubdtype(images.dtype, jnp.integer)
        if self._warned or not (self._takes_bytes and floats):
            return
        if 0 < np.max(np.asarray(images)) <= 1:
            self._warned = True
            logging.warning(
                "the images are within 0 and 1, and the model's first layers scale "
                "0 .. 255: multiply the images by 255"
            )

    def keep_traces(self, about_outputs: Any) -> None:
        """Keeps traced programs in files, see `trace_cache`.

        Args:
          about_outputs: JSON values that determine how the outputs are read: all that
            this explainer was given on labels and taxonomy.
        """
        self._about_outputs = about_outputs

    def is_current(self) -> bool:
        """Whether a new explainer would have the same programs as this one.

        Not if none was traced yet, or where it is not known what they depend on.
        """
        return len(self._traced) == 1 and self._traced == {self._state() or ""}

    def _state(self) -> tuple | None:
        """What programs depend on besides the arguments; None where it is not known."""
        own = model_digest.of_model(self.model)
        layers = tuple(map(id, all_layers(self.model)))
        return None if own is None else (own, trace_cache.settings(), layers)

    def _trace_key(self, program: Program, methods: Sequence[str]) -> str | None:
        state = self._state()
        self._traced.add(state)
        own = state and state[0]
        if own is None or self._about_outputs is None or self._reshape is not None:
            return None
        return trace_cache.digest(
            "explain",
            own,
            self._about_outputs,
            list(methods),
            list(self._paths),
            program.network.image_layout,
            self._data_format,
            dataclasses.asdict(self.options),
        )

    def _padded_size(self, count: int) -> int:
        return shards.padded_size(count)

    def _place(self, piece: tuple) -> tuple:
        """All local devices share a piece, where a distribution is active."""
        return shards.place(piece)


def _shapes(images: Any, others: tuple) -> tuple:
    """The shapes of one image and its other inputs."""
    return tuple(None if x is None else tuple(x.shape[1:]) for x in (images, *others))
