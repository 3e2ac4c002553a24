"""The engine: images and targets in, maps out.

One jitted function runs the model once, picks the targets from its logits, pulls all K
gradients of all B images back through the part above the layer in one batched
vector-Jacobian product, and makes the maps of every method that was asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from absl import logging

from hiercam_keras.cam import arrays, graph, layer_choice, methods, targets
from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.inputs import Inputs
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.cam.program import INPUT, Options, Program
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError
from hiercam_keras.models.xla_layers import shards
from hiercam_keras.taxonomy.labels import Labels


class Explainer:
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
        of a layer that is used several times ("relu:3"), or a sequence of these. None
        finds the last convolutional activation and logs which it is.
      taxonomy: what the labels mean; without it there are no coarser ranks and names.
      names: of the labels where there is no taxonomy: a list, or rank -> list.
      labels: what the outputs mean, in the network's own order, where this is not that
        of a taxonomy: `taxonomy.label_table.Labels`, the path of a table with one row
        an output (`taxonomy.label_table.read_labels`), or a sequence with a Lineage, a
        name or None (left out of the softmax) for each output; for several outputs a
        dict of sequences by name. Outputs of one label are merged: under a softmax by
        the sum of their probabilities, as sigmoids by whether any of them is true.
      order: as `labels`, with numbers: the label in `taxonomy` of each output, -1 for
        one that is left out; by rank for several outputs.
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
      data_format: of the layer, where the model does not tell.
      reshape: turns the layer's output into (B, h, w, C), for maps that are tokens.
      batch_size: larger input is cut to this, the last piece padded, so that nothing
        is compiled twice. None takes the input as it comes.
      options: see `Options`.

    Raises:
      UserError: another backend, a layer that does not exist or gives no maps of
        several cells (the message names those that do), outputs that are no logits,
        several sigmoids without `activation`, labels of other outputs than the model
        has, several inputs that could be the image.
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
        rank: str | None = None,
        output: str | int | None = None,
        activation: str | Mapping[str, str] = "auto",
        probabilities: bool | None = None,
        image_input: str | int | None = None,
        data_format: str | None = None,
        reshape: Callable | None = None,
        batch_size: int | None = None,
        options: Options | None = None,
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
        self.model = model
        self.options = options or Options()
        self.batch_size = batch_size
        self._asked_layers = layer
        self._inputs = Inputs(model, image_input)
        self._outputs = Outputs(
            taxonomy, rank, output, probabilities, activation, names, labels, order
        )
        self._data_format = data_format
        self._reshape = reshape
        self._paths: tuple[str, ...] = ()
        self._programs: dict[tuple, Program] = {}
        self._compiled: dict[tuple, Callable] = {}
        self._doubted = self._warned = False
        self._takes_bytes = False
        known = self._inputs.static(batch=2)
        if known is not None:
            self._prepare(*known)

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
            self._outputs.prepare(recorded)
            dtype = self._inputs.image_dtype
            self._takes_bytes = arrays.takes_bytes(recorded.calls, dtype)
        calls = self._find_calls(recorded.calls, image, others)
        program = Program(
            model=self.model,
            calls=calls,
            inputs=self._inputs,
            outputs=self._outputs,
            layouts=tuple(
                self._data_format or graph.data_format_of(call, self.model)
                for call in calls
            ),
            image_layout=self._data_format or graph.image_layout(self.model),
            reshape=self._reshape,
            options=self.options,
        )
        for call, shape in zip(calls, program.map_shapes(), strict=True):
            if shape[0] * shape[1] == 1:
                size = " x ".join(map(str, image.shape[1:]))
                larger = self._size_that_does(program, call.path, image, others)
                raise UserError(
                    f"the layer {call.path!r} gives maps of one cell for images of "
                    f"{size}, which mark the whole image. Give {larger}, or explain "
                    f"an earlier layer; {graph.would_do(recorded.calls)}"
                )
        self._paths = tuple(call.path for call in calls)
        self._programs[_shapes(image, others)] = program
        return program

    def _size_that_does(self, program: Program, path: str, image, others) -> str:
        """The least doubling of the images that gives a layer's maps several cells."""
        axes = (2, 3) if program.image_layout == "channels_first" else (1, 2)
        first = program.layouts[0] == "channels_first"
        shape = list(image.shape)
        for _ in range(5 if self._reshape is None else 0):
            for axis in axes:
                shape[axis] *= 2
            spec = self._inputs.pack(
                jax.ShapeDtypeStruct(tuple(shape), image.dtype), others
            )
            try:
                calls = graph.record(self.model, spec).calls
            except (TypeError, ValueError):  # the model is of one size
                break
            found = graph.find_call(calls, path).shape
            height, width = found[2:4] if first else found[1:3]
            if height * width > 1:
                return f"images of {' x '.join(map(str, shape[1:]))} or more"
        return (
            "larger images to a network that is built for them, or one with a finer "
            "output stride"
        )

    def _find_calls(
        self, calls: list[graph.Call], image, others: tuple
    ) -> tuple[graph.Call, ...]:
        if self._paths:  # of images of another size: the same calls, by their paths
            by_path = {call.path: call for call in calls}
            return tuple(by_path[path] for path in self._paths)
        seeing, blind = layer_choice.split(
            self.model, self._inputs, calls, image, others
        )
        if self._asked_layers is None:
            found = graph.last_activation(seeing)
            size = "x".join(map(str, found.shape[1:]))
            logging.info("explaining the layer %s, %s", found.path, size)
            return (found,)
        several = isinstance(self._asked_layers, (list, tuple))
        asked = self._asked_layers if several else [self._asked_layers]
        tokens = self._reshape is not None
        return tuple(layer_choice.find(seeing, blind, one, tokens) for one in asked)

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the layers that are explained."""
        return self._paths

    @property
    def space(self) -> ScoreSpace:
        """What the model can be asked; known once it has seen an image's shape."""
        return self._outputs.space

    @property
    def labels(self) -> Labels | None:
        """What the outputs mean, where it was given with `labels` or `order`."""
        return self._outputs.labels

    def __call__(
        self,
        images,
        asked: Any = None,
        method: str | Sequence[str] = "gradcam",
        *,
        other_inputs: Any = None,
        seeds: Sequence[int] | None = None,
        variables: tuple[list, list] | None = None,
    ) -> Explanation | dict[Any, Explanation]:
        """Explains a batch.

        Args:
          images: (B, H, W, C), as the model takes them (uint8 or float), an array of
            any library; or all inputs of the model, a dict or list as Keras takes it.
          asked: targets: None (the predicted class), integer labels (B,) or (B, K), a
            Target or a sequence of Targets. See `targets`.
          method: a name in METHODS, or several, which share the forward pass.
          other_inputs: of a model of several inputs, held fixed: a dict by name, a list
            in the model's order without the image, or the array of the only one. One
            row for each image, or one for all.
          seeds: one integer an image, for methods that draw; default its position.
          variables: weights in place of the model's own, see `randomization`.

        Returns:
          An Explanation. For several methods a dict by method, for several layers by
          layer path, for several of both by (method, layer path).

        Raises:
          UserError: images or other inputs that the model cannot take, NaN among them,
            a wrong method, target, or number of targets.
        """
        return self.submit(
            images,
            asked,
            method,
            other_inputs=other_inputs,
            seeds=seeds,
            variables=variables,
        )()

    def submit(
        self,
        images,
        asked: Any = None,
        method: str | Sequence[str] = "gradcam",
        *,
        other_inputs: Any = None,
        seeds: Sequence[int] | None = None,
        variables: tuple[list, list] | None = None,
    ) -> Callable[[], Explanation | dict[Any, Explanation]]:
        """Starts the work and returns at once; calling the result waits for it.

        So the device computes while the host decodes the next batch. Arguments are
        those of `__call__`.
        """
        chosen = methods.get_methods(method)
        images, others = self._given(images, other_inputs)
        program = self._program(images, others)
        self._check_range(images)
        asked = targets.expand(asked, self.space)
        count = len(images)
        codes = targets.encode(asked, self.space, count)
        seeds = np.arange(count) if seeds is None else np.asarray(seeds)
        if seeds.shape != (count,):
            raise UserError(f"expected {count} seeds, found shape {seeds.shape}")
        run = self._function(program, chosen)
        if variables is None:
            variables = graph.variables_of(self.model)
        pieces = [
            run(variables, *piece)
            for piece in self._pieces(images, others, codes, seeds.astype(np.uint32))
        ]
        return functools.partial(self._collect, pieces, count, chosen, asked, method)

    def _given(self, images, other_inputs) -> tuple[Any, tuple]:
        """The checked image array (B, H, W, C), and the other inputs' (B, ...)."""
        images, other_inputs = self._inputs.split(images, other_inputs)
        images = arrays.as_array(images, "images")
        arrays.check_images(images, self._inputs.image_shape)
        return images, self._inputs.others(other_inputs, len(images))

    def _program(self, images, others) -> Program:
        """The program for arrays of these shapes."""
        known = self._programs.get(_shapes(images, others))
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

    def _pieces(self, images, others, codes, seeds) -> Iterator[tuple]:
        """Batches of `batch_size`, the last one padded by repeating its last image.

        All local devices share each of them, where a distribution is active.
        """
        size = shards.padded_size(self.batch_size or len(images))
        for start in range(0, len(images), size):
            rows = np.minimum(np.arange(start, start + size), len(images) - 1)
            whole = start == 0 and size == len(images)
            piece = (images, others)
            if not whole:
                piece = jax.tree.map(lambda array: array[rows], piece)  # noqa: B023
            asked = targets.Codes(*(field[rows] for field in codes))
            yield shards.place((*piece, asked, seeds[rows]))

    def _function(self, program: Program, chosen) -> Callable:
        key = (id(program), *(method.name for method in chosen))
        if key not in self._compiled:
            self._compiled[key] = jax.jit(functools.partial(program.run, chosen))
        return self._compiled[key]

    def _collect(self, pieces, count, chosen, asked, method):
        """Waits for the pieces, joins them, cuts the padding off."""
        pieces = jax.device_get(pieces)
        maps, degenerate, shared, extras = jax.tree.map(
            lambda *arrays: np.concatenate(arrays)[:count], *pieces
        )
        unsure = np.isnan(shared["logits"]).any(1)
        if unsure.any():
            logging.warning(
                "the network's outputs for %d of %d images are NaN, the first is "
                "number %d: they have no scores and no heatmaps. Look for NaN in its "
                "weights and in other inputs",
                unsure.sum(),
                count,
                np.flatnonzero(unsure)[0],
            )
        elif not self._doubted:
            self._doubted = True
            for doubt in self._outputs.doubts(shared["logits"]):
                logging.warning("%s", doubt)
        titles = tuple(target.title for target in asked)
        # JAX sorts dicts by key; the order asked for is the one given back.
        order = {m.name: i for i, m in enumerate(chosen)}
        places = {path: i for i, path in enumerate(self.layers)}

        def rank_of(item):
            (name, layer), _ = item
            return order[name], places.get(layer, 0)

        found = {
            key: Explanation(
                cams=cams,
                degenerate=degenerate[key],
                titles=titles,
                method=key[0],
                layer=key[1],
                space=self.space,
                extras=extras.get(key, {}),
                **shared,
            )
            for key, cams in sorted(maps.items(), key=rank_of)
        }
        many_methods = not isinstance(method, str)
        many_layers = isinstance(self._asked_layers, (list, tuple))
        if many_methods and many_layers:
            return found
        if many_methods:
            return {name: value for (name, _), value in found.items()}
        if many_layers and INPUT not in {layer for _, layer in found}:
            return {layer: value for (_, layer), value in found.items()}
        return next(iter(found.values()))


def _shapes(images: Any, others: tuple) -> tuple:
    """What a program depends on: the shapes of one image and its other inputs."""
    return tuple(None if x is None else tuple(x.shape[1:]) for x in (images, *others))


def _spec_of_two(array: Any) -> jax.ShapeDtypeStruct:
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    return jax.ShapeDtypeStruct((2, *array.shape[1:]), dtype)
