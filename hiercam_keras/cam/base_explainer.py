"""Runs a program on batches, for every kind of network.

One jitted function runs the network once, picks the targets from its logits, pulls all
K gradients of all B images back through the part above the layer in one batched
vector-Jacobian product, and makes the maps of every method that was asked for.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from hiercam_keras import halves, image_by_image, malloc, precision, trace_cache
from hiercam_keras.cam import targets
from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.methods import ANY_NETWORK, METHODS, Method, get_methods
from hiercam_keras.cam.network import CHANNELS_FIRST, Network
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.cam.program import Options, Program
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.labels import Labels


class BaseExplainer(abc.ABC):
    """Batches, compiled programs and results: what explainers of all networks share.

    Args:
      method: a name in METHODS, for the calls that name none.
      batch_size: larger input is cut to this, the last piece padded. None takes the
        input as it comes.
      options: see `Options`.
      precision: of products of float32 factors, see `precision.resolved`.
    """

    # Set by each kind: how the network's outputs are read, programs by image shape.
    _outputs: Outputs
    _programs: dict[Any, Program]

    def __init__(
        self,
        method: str,
        batch_size: int | None,
        options: Options | None,
        precision_name: str,
    ):
        (self.method,) = _one_method(method)
        precision.check(precision_name)
        self.precision = precision_name
        self.batch_size = batch_size
        self.options = options or Options()
        self._compiled: dict[tuple, Callable] = {}
        self._doubted = False

    @property
    @abc.abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are explained."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that this network can be asked, in the order of METHODS.

        Methods of attention need a transformer, those of several layers need these. As
        long as no shape of an image is known, none of them is named.
        """
        program = next(iter(self._programs.values()), None)
        return tuple(
            name
            for name, method in METHODS.items()
            if (program.can(method) if program else method.source in ANY_NETWORK)
        )

    @property
    def space(self) -> ScoreSpace | None:
        """What the network can be asked; None until the shape of an image is known."""
        return self._outputs.space

    @property
    def labels(self) -> Labels | None:
        """What the outputs mean, if given with `labels` or `order`."""
        return self._outputs.labels

    @abc.abstractmethod
    def _open(
        self, images: Any, other_inputs: Any, variables: Any
    ) -> tuple[Program, Any, Any, tuple]:
        """What a call needs: the program for images of this shape, the weights
        (`variables`, or the network's own for None), the checked images, and the other
        inputs."""

    def __call__(
        self,
        images,
        asked: Any = None,
        method: str | None = None,
        *,
        other_inputs: Any = None,
        seeds: Sequence[int] | None = None,
        variables: Any = None,
    ) -> Explanation:
        """Explains a batch by one method at one layer.

        Args:
          images: (B, H, W, C), as the model takes them (uint8 or float), an array of
            any library; or all inputs of the model, a dict or list as Keras takes it.
          asked: targets: None (the predicted class), integer labels (B,) or (B, K), a
            Target or a sequence of Targets. See `targets`.
          method: a name in METHODS; None is the explainer's own.
          other_inputs: of a model of several inputs, held fixed: a dict by name, a list
            in the model's order without the image, or the array of the only one. One
            row for each image, or one for all.
          seeds: one integer an image, for methods that draw; default its position.
          variables: weights in place of the model's own, see `randomization`.

        Raises:
          UserError: images or other inputs that the model cannot take, NaN among them,
            a wrong method, target, or number of targets; several methods, or a method
            of the layer where the explainer has several layers: those are asked with
            `explain_many`.
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
        method: str | None = None,
        *,
        other_inputs: Any = None,
        seeds: Sequence[int] | None = None,
        variables: Any = None,
    ) -> Callable[[], Explanation]:
        """Starts the work and returns at once; calling the result waits for it.

        So the device computes while the host decodes the next batch. Arguments are
        those of `__call__`.
        """
        chosen = _one_method(method) if method is not None else (self.method,)
        wait = self._start(images, asked, chosen, other_inputs, seeds, variables)
        if len(self.layers) > 1 and chosen[0].place is None:
            raise UserError(
                f"one call explains one layer, and this explainer has "
                f"{', '.join(self.layers)}: use explain_many(images, asked, "
                f"[{chosen[0].name!r}]), which returns a dict by (method, layer)"
            )
        return lambda: next(iter(wait().values()))

    def explain_many(
        self,
        images,
        asked: Any = None,
        methods: str | Sequence[str] | None = None,
        *,
        other_inputs: Any = None,
        seeds: Sequence[int] | None = None,
        variables: Any = None,
    ) -> dict[tuple[str, str], Explanation]:
        """Explains a batch by several methods, at all layers, in one forward pass.

        Args:
          methods: one or several names in METHODS; None is the explainer's own.
          images, asked, other_inputs, seeds, variables: as for `__call__`.

        Returns:
          (method, layer path) -> Explanation, in the order of `methods` and `layers`.
          Methods that explain no layer of their own have the one of `Method.place`:
          "input" (saliency, smoothgrad, integrated_gradients), "attention" (rollout,
          legrad, gradient_x_attention) or "fused" (refinecam).
        """
        chosen = (self.method,) if methods is None else get_methods(methods)
        return self._start(images, asked, chosen, other_inputs, seeds, variables)()

    def compiled_call(
        self, images, asked: Any = None, method: str | None = None
    ) -> tuple[Callable, tuple]:
        """The function that explains a batch, and its arguments, without a call of it.

        Args:
          images, asked, method: as for `__call__`.

        Returns:
          The function of `jax.jit`, which a caller may lower for another device, and
          its arguments: a tree of the network's weights, then trees of arrays with one
          row for each image.
        """
        chosen = _one_method(method) if method is not None else (self.method,)
        program, _, arguments = self._prepared(images, asked, chosen)
        return self._function(program, chosen), arguments

    def _prepared(
        self, images, asked, chosen, other_inputs=None, seeds=None, variables=None
    ) -> tuple[Program, Sequence, tuple]:
        """The program, the targets, and the arguments of the function for a batch."""
        program, variables, images, others = self._open(images, other_inputs, variables)
        program.check(chosen)
        space = program.network.outputs.space
        asked = targets.expand(asked, space)
        count = len(images)
        codes = targets.encode(asked, space, count)
        seeds = np.arange(count) if seeds is None else np.asarray(seeds)
        if seeds.shape != (count,):
            raise UserError(f"expected {count} seeds, found shape {seeds.shape}")
        seeds = seeds.astype(np.uint32)
        return program, asked, (variables, images, others, codes, seeds)

    def _start(
        self, images, asked, chosen, other_inputs, seeds, variables
    ) -> Callable[[], dict[tuple[str, str], Explanation]]:
        """Starts the work of `chosen` methods; calling the result waits for it."""
        program, asked, (variables, images, *rest) = self._prepared(
            images, asked, chosen, other_inputs, seeds, variables
        )
        run = self._function(program, chosen)

        def started(piece):
            # With kept memory JAX computes in this thread, so waiting costs nothing.
            if malloc.is_kept() and halves.pay(run, piece):
                return halves.run(run, (variables,), piece)
            return run(variables, *malloc.complete(piece))

        pieces = [started(piece) for piece in self._pieces(images, *rest)]
        network, count = program.network, len(images)
        size = _picture_size(images, network.image_layout)
        return functools.partial(
            self._collect, network, pieces, count, chosen, asked, size
        )

    def _padded_size(self, count: int) -> int:
        """The number of images that a piece of `count` is padded to."""
        return count

    def _place(self, piece: tuple) -> tuple:
        """A piece where the device or devices will read it."""
        return piece

    def _pieces(self, images, others, codes, seeds) -> Iterator[tuple]:
        """Batches of `batch_size`, the last one padded by repeating its last image."""
        size = self._padded_size(self.batch_size or len(images))
        for start in range(0, len(images), size):
            rows = np.minimum(np.arange(start, start + size), len(images) - 1)
            whole = start == 0 and size == len(images)
            piece = (images, others)
            if not whole:
                piece = jax.tree.map(lambda array: array[rows], piece)  # noqa: B023
            asked = codes.take(rows)
            yield self._place((*piece, asked, seeds[rows]))

    def _function(self, program: Program, chosen) -> Callable:
        key = (id(program), *(method.name for method in chosen))
        if key not in self._compiled:
            name = precision.resolved(self.precision)
            methods = [method.name for method in chosen]

            def run(*arguments):
                with precision.of_products(name):
                    return program.run(chosen, *arguments)

            def trace_key():
                own = self._trace_key(program, methods)
                return own and trace_cache.digest(own, name)

            run = image_by_image.of(run, num_fixed=1)
            self._compiled[key] = trace_cache.jit(run, trace_key)
        return self._compiled[key]

    def _trace_key(self, program: Program, methods: Sequence[str]) -> str | None:
        """A digest of what a program depends on, besides the shapes of its arguments;
        None if this is not known."""
        return None

    def _collect(self, network: Network, pieces, count, chosen, asked, size):
        """Waits for the pieces, joins them, cuts the padding off.

        Returns:
          (method, layer) -> Explanation, in the order asked for.
        """
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
            for doubt in network.outputs.doubts(shared["logits"]):
                logging.warning("%s", doubt)
        titles = tuple(target.title for target in asked)
        # JAX sorts dicts by key; the order asked for is the one given back.
        order = {m.name: i for i, m in enumerate(chosen)}
        places = {layer.path: i for i, layer in enumerate(network.layers)}

        def rank_of(item):
            (name, layer), _ = item
            return order[name], places.get(layer, 0)

        return {
            key: Explanation(
                cams=cams,
                degenerate=degenerate[key],
                titles=titles,
                method=key[0],
                layer=key[1],
                space=network.outputs.space,
                image_size=size,
                extras=extras.get(key, {}),
                **shared,
            )
            for key, cams in sorted(maps.items(), key=rank_of)
        }


def _picture_size(images: Any, layout: str) -> tuple[int, int]:
    """(height, width) of a batch of images."""
    first = layout == CHANNELS_FIRST
    height, width = images.shape[2:] if first else images.shape[1:3]
    return int(height), int(width)


def _one_method(name: Any) -> tuple[Method]:
    if not isinstance(name, str):
        raise UserError(
            f"one call explains by one method, found {name!r}: give a name, or use "
            "explain_many(images, asked, methods), which returns a dict by (method, "
            "layer)"
        )
    return get_methods(name)
