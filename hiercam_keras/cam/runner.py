"""Runs a program on batches, for every kind of network.

One jitted function runs the network once, picks the targets from its logits, pulls all
K gradients of all B images back through the part above the layer in one batched
vector-Jacobian product, and makes the maps of every method that was asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from hiercam_keras.cam import methods, targets
from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.program import INPUT, Program
from hiercam_keras.errors import UserError


class Runner:
    """Batches, compiled programs and results: what all explainers share.

    Args:
      batch_size: larger input is cut to this, the last piece padded. None takes the
        input as it comes.
      many_layers: whether results are given by layer.
    """

    def __init__(self, batch_size: int | None, many_layers: bool):
        self.batch_size = batch_size
        self._many_layers = many_layers
        self._compiled: dict[tuple, Callable] = {}
        self._doubted = False

    def start_program(
        self,
        program: Program,
        variables: Any,
        images: Any,
        others: tuple,
        asked: Any,
        method: str | Sequence[str],
        seeds: Sequence[int] | None,
    ) -> Callable[[], Explanation | dict[Any, Explanation]]:
        """Starts the work on checked images; calling the result waits for it."""
        space = program.network.outputs.space
        chosen = methods.get_methods(method)
        asked = targets.expand(asked, space)
        count = len(images)
        codes = targets.encode(asked, space, count)
        seeds = np.arange(count) if seeds is None else np.asarray(seeds)
        if seeds.shape != (count,):
            raise UserError(f"expected {count} seeds, found shape {seeds.shape}")
        run = self._function(program, chosen)
        pieces = [
            run(variables, *piece)
            for piece in self._pieces(images, others, codes, seeds.astype(np.uint32))
        ]
        return functools.partial(
            self._collect, program, pieces, count, chosen, asked, method
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
            asked = targets.Codes(*(field[rows] for field in codes))
            yield self._place((*piece, asked, seeds[rows]))

    def _function(self, program: Program, chosen) -> Callable:
        key = (id(program), *(method.name for method in chosen))
        if key not in self._compiled:
            self._compiled[key] = jax.jit(functools.partial(program.run, chosen))
        return self._compiled[key]

    def _collect(self, program, pieces, count, chosen, asked, method):
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
            for doubt in program.network.outputs.doubts(shared["logits"]):
                logging.warning("%s", doubt)
        titles = tuple(target.title for target in asked)
        # JAX sorts dicts by key; the order asked for is the one given back.
        order = {m.name: i for i, m in enumerate(chosen)}
        paths = [layer.path for layer in program.network.layers]
        places = {path: i for i, path in enumerate(paths)}

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
                space=program.network.outputs.space,
                extras=extras.get(key, {}),
                **shared,
            )
            for key, cams in sorted(maps.items(), key=rank_of)
        }
        many_methods = not isinstance(method, str)
        if many_methods and self._many_layers:
            return found
        if many_methods:
            return {name: value for (name, _), value in found.items()}
        if self._many_layers and INPUT not in {layer for _, layer in found}:
            return {layer: value for (_, layer), value in found.items()}
        return next(iter(found.values()))
