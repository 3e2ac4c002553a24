"""cam room: the engine. Images and targets in, maps out.

One jitted function runs the model once, picks the targets from its logits, pulls all K
gradients of all B images back through the part above the layer in one batched
vector-Jacobian product, and makes the maps of every method that was asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from absl import logging

from hiercam_keras.cam import graph, methods, targets
from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.cam.program import INPUT, Options, Program
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError
from hiercam_keras.models.xla_layers import shards


class Explainer:
    """Explains any Keras 3 model on the JAX backend.

        explain = Explainer(model, layer="top_activation", taxonomy=taxonomy)
        result = explain(images, targets.path())
        result.cams  # (B, K, h, w), signed

    Weights are read at every call, so training may go on in between.

    Args:
      model: Functional, Sequential or subclassed, of one image input (B, H, W, C) and
        logits (B, N), or a dict of rank -> logits. One that was never called is built.
      layer: a layer, a name, a path through nested layers ("backbone/conv5"), one call
        of a layer that is used several times ("relu:3"), or a sequence of these. None
        finds the last convolutional activation and logs which it is.
      taxonomy: what the labels mean; without it there are no coarser ranks and names.
      rank: the rank of a single-output model; default: the one whose number of taxa
        fits, the finest if several do.
      output: which output of a model that has several without being a dict of ranks.
      probabilities: the model ends in a softmax; scores are then of its logarithm.
      data_format: of the layer, where the model does not tell.
      reshape: turns the layer's output into (B, h, w, C), for maps that are tokens.
      batch_size: larger input is cut to this, the last piece padded, so that nothing
        is compiled twice. None takes the input as it comes.
      options: see `Options`.

    Raises:
      UserError: another backend, a layer that does not exist or gives no maps (the
        message names those that do), outputs that are no logits.
    """

    def __init__(
        self,
        model: keras.Model,
        layer: Any = None,
        *,
        taxonomy=None,
        rank: str | None = None,
        output: str | int | None = None,
        probabilities: bool = False,
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
        self.model = model
        self.options = options or Options()
        self.batch_size = batch_size
        self._asked_layers = layer
        self._outputs = Outputs(taxonomy, rank, output, probabilities)
        self._data_format = data_format
        self._reshape = reshape
        self._calls: tuple[graph.Call, ...] | None = None
        self._checked = False
        self._program: Program | None = None
        self._compiled: dict[tuple[str, ...], Callable] = {}
        shape = _static_input_shape(model)
        if shape is not None:
            self._prepare(jax.ShapeDtypeStruct((2, *shape), jnp.float32))

    def _prepare(self, images) -> None:
        """Finds the layers and the outputs, by one pass that computes nothing."""
        if not self.model.built:
            self.model(np.zeros((1, *images.shape[1:]), np.float32))
        spec = jax.ShapeDtypeStruct((2, *images.shape[1:]), images.dtype)
        calls, outputs = graph.record_calls(self.model, spec)
        asked = self._asked_layers
        if asked is None:
            self._calls = (graph.last_activation(calls),)
            logging.info(
                "explaining the layer %s, %s",
                self._calls[0].path,
                "x".join(map(str, self._calls[0].shape[1:])),
            )
        else:
            several = isinstance(asked, (list, tuple))
            asked = asked if several else [asked]
            self._calls = tuple(graph.find_call(calls, one) for one in asked)
        for call in self._calls:
            if call.shape[0] != 2 or (len(call.shape) != 4 and not self._reshape):
                raise UserError(
                    f"layer {call.path!r} gives an array of shape "
                    f"{('batch', *call.shape[1:])}, not a batch of maps; "
                    f"{graph.would_do(calls)}. For tokens, give reshape="
                )
        self._outputs.prepare(outputs)
        self._program = Program(
            model=self.model,
            calls=self._calls,
            outputs=self._outputs,
            layouts=tuple(
                self._data_format or graph.data_format_of(call, self.model)
                for call in self._calls
            ),
            image_layout=self._data_format or graph.image_layout(self.model),
            reshape=self._reshape,
            options=self.options,
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the layers that are explained."""
        return tuple(call.path for call in self._calls or ())

    @property
    def space(self) -> ScoreSpace:
        """What the model can be asked; known once it has seen an image's shape."""
        return self._outputs.space

    def __call__(
        self,
        images,
        asked: Any = None,
        method: str | Sequence[str] = "gradcam",
        *,
        seeds: Sequence[int] | None = None,
        variables: tuple[list, list] | None = None,
    ) -> Explanation | dict[Any, Explanation]:
        """Explains a batch.

        Args:
          images: (B, H, W, C), as the model takes them (uint8 or float).
          asked: targets: None (the predicted class), integer labels (B,) or (B, K), a
            Target or a sequence of Targets. See `targets`.
          method: a name in METHODS, or several, which share the forward pass.
          seeds: one integer an image, for methods that draw; default its position.
          variables: weights in place of the model's own, see `randomization`.

        Returns:
          An Explanation. For several methods a dict by method, for several layers by
          layer path, for several of both by (method, layer path).

        Raises:
          UserError: a wrong shape, method, target, or number of targets.
        """
        return self.submit(images, asked, method, seeds=seeds, variables=variables)()

    def submit(
        self,
        images,
        asked: Any = None,
        method: str | Sequence[str] = "gradcam",
        *,
        seeds: Sequence[int] | None = None,
        variables: tuple[list, list] | None = None,
    ) -> Callable[[], Explanation | dict[Any, Explanation]]:
        """Starts the work and returns at once; calling the result waits for it.

        So the device computes while the host decodes the next batch. Arguments are
        those of `__call__`.
        """
        if getattr(images, "ndim", 0) != 4 or not len(images):
            raise UserError(
                "images are a batch (B, H, W, C) with at least one image; found "
                f"{type(images).__name__} of shape {getattr(images, 'shape', None)}"
            )
        chosen = methods.get_methods(method)
        if self._calls is None:
            self._prepare(images)
        asked = targets.expand(asked, self.space)
        count = len(images)
        codes = targets.encode(asked, self.space, count)
        seeds = np.arange(count) if seeds is None else np.asarray(seeds)
        if seeds.shape != (count,):
            raise UserError(f"expected {count} seeds, found shape {seeds.shape}")
        run = self._function(chosen)
        if variables is None:
            variables = graph.variables_of(self.model)
        pieces = [
            run(variables, *piece)
            for piece in self._pieces(images, codes, seeds.astype(np.uint32))
        ]
        return functools.partial(self._collect, pieces, count, chosen, asked, method)

    def _pieces(self, images, codes, seeds) -> Iterator[tuple]:
        """Batches of `batch_size`, the last one padded by repeating its last image.

        All local devices share each of them, where a distribution is active.
        """
        size = shards.padded_size(self.batch_size or len(images))
        for start in range(0, len(images), size):
            rows = np.minimum(np.arange(start, start + size), len(images) - 1)
            whole = start == 0 and size == len(images)
            piece = images if whole else images[rows]
            asked = targets.Codes(*(field[rows] for field in codes))
            yield shards.place((piece, asked, seeds[rows]))

    def _function(self, chosen) -> Callable:
        names = tuple(method.name for method in chosen)
        if names not in self._compiled:
            self._compiled[names] = jax.jit(
                functools.partial(self._program.run, chosen)
            )
        return self._compiled[names]

    def _collect(self, pieces, count, chosen, asked, method):
        """Waits for the pieces, joins them, cuts the padding off."""
        pieces = jax.device_get(pieces)
        maps, degenerate, shared, extras = jax.tree.map(
            lambda *arrays: np.concatenate(arrays)[:count], *pieces
        )
        self._check_logits(shared["logits"])
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

    def _check_logits(self, logits) -> None:
        if self._checked or self._outputs.probabilities:
            return
        self._checked = True
        head = logits[:, : self.space.num_labels[self.space.heads[0]]]
        if (head >= 0).all() and np.allclose(head.sum(-1), 1, atol=1e-3):
            logging.warning(
                "the model's outputs look like probabilities (they sum to 1), and are "
                "taken for logits: pass probabilities=True to explain their logarithm"
            )


def _static_input_shape(model):
    """(H, W, C) where the model knows it, else None."""
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) != 1 or None in inputs[0].shape[1:] or len(inputs[0].shape) != 4:
        return None
    return tuple(inputs[0].shape[1:])
