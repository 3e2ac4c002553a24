"""Layers at the ends of a network's stages: those that are worth a comparison of maps.

A stage of a residual network is a row of blocks of the same size and number of
channels. It ends in the sum (or concatenation) of its last block, or in the activation
that follows it directly. A network without sums has a stage for each size of its maps,
which ends in the last activation of that size. A transformer is cut at four depths.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import keras
import numpy as np

from hiercam_keras.cam import graph, layer_choice, tokens
from hiercam_keras.cam.inputs import known_specs
from hiercam_keras.cam.keras_network import KerasLayer
from hiercam_keras.cam.network import CHANNELS_FIRST

_MERGES = ("Add", "Concatenate", "Average", "Maximum")
_MOST = 6  # stages by size and channels; where there are more, by size alone
_DEPTHS = 4  # of a transformer


def ends(model: keras.Model) -> tuple[str, ...]:
    """Paths of the layers at the ends of the stages, the last stage first.

    Args:
      model: with known input shapes, a convolutional network or a transformer that
        `tokens.find` knows.

    Returns:
      Names that an Explainer takes as layers; a transformer's end in ":input". Empty
      where the model has neither.
    """
    calls = graph.record(model, known_specs(model, 2)).calls
    return tuple(dict.fromkeys(call.path for call in reversed(_ends(calls, model))))


def before(
    calls: Sequence[graph.Call],
    model: keras.Model,
    explained: KerasLayer,
    layer_of: Callable[[graph.Call], KerasLayer],
    most: int,
) -> tuple[KerasLayer, ...]:
    """The ends of earlier stages, of which the maps can refine those of a layer.

    Each has finer maps than what follows it, save in a transformer with one grid of
    tokens, where they are as fine.

    Args:
      calls: of `graph.record`.
      model: the model.
      explained: the layer.
      layer_of: makes a layer of a call.
      most: how many there are at most, those of the latest stages.

    Returns:
      Layers in the order of the network.
    """
    places = {(id(call.layer), call.index): at for at, call in enumerate(calls)}

    def place(call: graph.Call) -> int:
        return places[id(call.layer), call.index]

    known = tokens.find(calls)
    one_grid = known is not None and len(known.grids) == 1
    found = [explained]
    for call in reversed(_ends(calls, model)):
        if len(found) > most or place(call) >= place(explained.call):
            continue
        layer = layer_of(call)
        finer = layer.map_size() > found[0].map_size()
        if finer or (one_grid and layer.map_size() == found[0].map_size()):
            found.insert(0, layer)
    return tuple(found[:-1])


def _ends(calls: Sequence[graph.Call], model: keras.Model) -> list[graph.Call]:
    blocks = tokens.block_inputs(calls)
    if blocks:
        last = np.linspace(0, len(blocks), min(_DEPTHS, len(blocks)) + 1)[1:]
        found = [blocks[round(place) - 1] for place in last]
    else:
        found = _of_convolutions(calls, lambda call: _cells(call, model))
    return found


def _of_convolutions(
    calls: Sequence[graph.Call], cells_of: Callable[[graph.Call], Hashable]
) -> list[graph.Call]:
    activations = layer_choice.activations(calls)
    merged = [
        _activated(calls, call)
        for call in activations
        if type(call.layer).__name__ in _MERGES
    ]
    stages = _last_of_each(merged, lambda call: call.shape[1:])
    if len(stages) > _MOST or not stages:
        stages = _last_of_each(merged or activations, cells_of)
    return stages


def _last_of_each(
    calls: Sequence[graph.Call], key: Callable[[graph.Call], Hashable]
) -> list[graph.Call]:
    """The last call of each key, in the order of these."""
    last = {key(call): place for place, call in enumerate(calls)}
    return [calls[place] for place in sorted(last.values())]


def _activated(calls: Sequence[graph.Call], call: graph.Call) -> graph.Call:
    """The activation that directly follows a call; the call itself without one."""
    place = calls.index(call) + 1
    if place < len(calls):
        following = calls[place]
        kind = type(following.layer).__name__
        if ("Activation" in kind or "ReLU" in kind or "Relu" in kind) and (
            following.shape == call.shape
        ):
            return following
    return call


def _cells(call: graph.Call, model: keras.Model) -> tuple[int, ...]:
    first = graph.data_format_of(call, model) == CHANNELS_FIRST
    return call.shape[2:] if first else call.shape[1:3]
