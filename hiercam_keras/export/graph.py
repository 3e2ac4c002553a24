"""Builds the ONNX graph of a network, and writes it as one file.

    graph = build(network)
    write_onnx(graph, "model.onnx")
    parity = compare(network, "model.onnx", images)

The file's inputs and outputs are in the table of docs/EXPORT.md. What a network or the
converter does not allow is left out, and `ExportedGraph.left_out` says what and why.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax import export as jax_export

from hiercam_keras import __version__, workdir
from hiercam_keras.cam import graph as cam_graph
from hiercam_keras.cam.keras_network import KerasNetwork
from hiercam_keras.errors import UserError
from hiercam_keras.export import convert, function, layers
from hiercam_keras.export.parity import Parity, compare
from hiercam_keras.export.session import Session
from hiercam_keras.runs.network import Network

__all__ = ["ExportedGraph", "Parity", "WEIGHTS", "build", "compare", "write_onnx"]

WEIGHTS = ("float32", "float16")
_BOUND = 1e-3  # of the check of each attempt, on noise
_MOST = 2**31 - 2**16  # bytes of a file without weights outside of it


@dataclasses.dataclass(frozen=True)
class ExportedGraph:
    """A network as an ONNX graph.

    Attributes:
      model: `onnx.ModelProto`, float32.
      ranks: of the path, its maps and its steps, coarse to fine.
      heads: ranks of the heads, coarse to fine.
      layer: that the maps explain; "" without maps.
      image_size: (H, W) in pixels.
      batch: pictures that the file takes at once; None for any number.
      inputs, outputs: shapes by name, in the file's order; names stand for sizes that
        may vary.
      left_out: sentences on outputs that the file does not have, and why.
    """

    model: Any = dataclasses.field(repr=False)
    ranks: tuple[str, ...]
    heads: tuple[str, ...]
    layer: str
    image_size: tuple[int, int]
    batch: int | None
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    left_out: tuple[str, ...]

    @property
    def has_maps(self) -> bool:
        """Whether the file computes maps."""
        return function.MAPS in self.outputs


def build(
    network: Network, *, maps: bool = True, taxa: bool = True, batch: int | None = None
) -> ExportedGraph:
    """Converts the network of a run.

    The fast layers of the program are replaced by Keras' own while it is traced, and
    layers that compute in 16 bits compute in float32. Each
    attempt is run in ONNX Runtime on noise and compared with the same function in JAX;
    the first that agrees is taken: with maps and any number of pictures, with maps and
    `batch` pictures, and both without maps.

    Args:
      network: of `runs.network.load`.
      maps: whether to compute maps.
      taxa: whether the file takes taxa and returns their maps.
      batch: pictures that the file takes at once; None for any number where the
        converter can, else 1.

    Raises:
      UserError: a package is missing, or no attempt agrees.
    """
    convert.need()
    with layers.stock(network.model), layers.in_float32(network.model):
        return _build(network, maps, taxa, batch)


def _build(
    network: Network, maps: bool, taxa: bool, batch: int | None
) -> ExportedGraph:
    traced = network.explainer().network()
    space = traced.outputs.space
    _check(traced)
    left_out: list[str] = []
    if maps and taxa and space.head_of[space.finest].independent:
        left_out.append(
            "maps of given taxa, and steps: the labels are independent of one another, "
            "and have no marginal scores"
        )
    variables = cam_graph.variables_of(network.model)
    attempts = _attempts(maps, batch)
    model, (with_maps, size) = _first(traced, variables, taxa, attempts, left_out)
    _describe(model, traced, with_maps)
    return ExportedGraph(
        model,
        tuple(space.ranks),
        tuple(space.heads),
        traced.layers[0].path if with_maps else "",
        tuple(function.specs(traced, 1)[0].shape[1:3]),
        size,
        _shapes(model.graph.input),
        _shapes(model.graph.output),
        tuple(left_out),
    )


def write_onnx(
    graph: ExportedGraph, path: str | os.PathLike, dtype: str = "float32"
) -> Path:
    """Writes the graph as one file, whole or not at all.

    Args:
      graph: of `build`.
      path: of the file; one that is there is replaced.
      dtype: of the weights, of `WEIGHTS`; float16 ones are cast up when they are used.

    Raises:
      UserError: the dtype is unknown, the file is too large for ONNX or cannot be
        written.
    """
    if dtype not in WEIGHTS:
        raise UserError(f"weights are {' or '.join(WEIGHTS)}, found {dtype!r}")
    model = convert.halved(graph.model) if dtype == "float16" else graph.model
    size = model.ByteSize()
    if size > _MOST:
        raise UserError(
            f"the network has {size / 2**30:.1f} GiB, and an ONNX file without weights "
            "outside of it at most 2. Use --weights_dtype=float16"
        )
    path = Path(path)
    workdir.write_bytes(path, model.SerializeToString(), "--out")
    return path


def _check(network: KerasNetwork) -> None:
    """Raises UserError for networks that the file's inputs cannot be those of."""
    if len(network.inputs) > 1:
        raise UserError(
            f"the network has several inputs ({network.inputs}); a file is made of a "
            "network of the photo alone"
        )
    shape = network.inputs.image_shape
    if shape is None or None in shape:
        raise UserError(
            f"the network takes images of any size ({shape}): import it with "
            "--config.data.image_size"
        )


def _attempts(maps: bool, batch: int | None) -> list[tuple[bool, int | None]]:
    """(with maps, pictures at once), the best first."""
    sizes = (None, 1) if batch is None else (batch,)
    return list(itertools.product((True, False) if maps else (False,), sizes))


def _first(network, variables, taxa, attempts, left_out):
    """The first attempt that agrees with JAX: its graph, and which it is.

    What those before it failed of is added to `left_out`.
    """
    reasons: dict[tuple[bool, int | None], str] = {}
    for attempt in attempts:
        with_maps, size = attempt
        try:
            made = _made(network, variables, with_maps, taxa, size)
        except Exception as error:  # the converter's, ONNX Runtime's, of any kind
            reasons[attempt] = _first_line(error)
            logging.info("not exported with %s: %s", _named(attempt), reasons[attempt])
            continue
        maps = [why for (one, _), why in reasons.items() if one and not with_maps]
        sizes = [why for (one, _), why in reasons.items() if one == with_maps]
        if maps:
            left_out.append(f"maps: {maps[-1]}")
        if sizes:
            left_out.append(f"any number of pictures at once: {sizes[-1]}")
        return made, attempt
    listed = "; ".join(f"{_named(one)}: {why}" for one, why in reasons.items())
    raise UserError(f"the network cannot be exported. {listed}")


def _named(attempt: tuple[bool, int | None]) -> str:
    maps, size = attempt
    return f"{'maps' if maps else 'no maps'} and {size or 'any number of'} pictures"


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def _made(network, variables, maps: bool, taxa: bool, size: int | None):
    """A graph that agrees with its function on noise."""
    called = function.make(network, variables, maps=maps, taxa=taxa)
    specs = function.specs(network, *_sizes(size, called.taxa))
    model = convert.convert(called, specs)
    _verify(model, called, network, size)
    return model


def _sizes(size: int | None, taxa: bool) -> Sequence[Any]:
    """Of the pictures and the taxa; symbols where they may vary."""
    names = [*["N"] * (size is None), *["T"] * taxa]
    found = list(jax_export.symbolic_shape(", ".join(names))) if names else []
    return [*found] if size is None else [size, *found]


def _verify(model: Any, called: function.Function, network, size: int | None) -> None:
    """Raises ValueError where ONNX Runtime and JAX differ on noise."""
    rng = np.random.default_rng(0)
    session = Session(model.SerializeToString())
    count = size or 2
    photos, *leaves = (
        rng.uniform(0, 255, spec.shape).astype(np.float32)
        for spec in function.specs(network, count, 3 if called.taxa else None)
    )
    leaves = [(one > 128).astype(np.float32) for one in leaves]
    expected = jax.jit(called.call)(photos, *leaves)
    found = session(photos, *leaves)
    for name, one in zip(called.outputs, expected, strict=True):
        one = np.asarray(one)
        known = np.isfinite(one) | np.isfinite(found[name])
        difference = np.abs(found[name][known] - one[known]).max(initial=0.0)
        largest = max(np.abs(one[known]).max(initial=0.0), 1e-6)
        if found[name].shape != one.shape or not difference <= _BOUND * largest:
            raise ValueError(f"{name} differs by {difference:.1e} of {largest:.1e}")


def _describe(model: Any, network: KerasNetwork, maps: bool) -> None:
    """Names the program in the file."""
    model.producer_name, model.producer_version = "hiercam_keras", __version__
    del model.metadata_props[:]
    about = {
        "ranks": ", ".join(network.outputs.space.ranks),
        "layer": network.layers[0].path if maps else "",
        "photos": "RGB in 0 .. 255, (N, height, width, 3)",
    }
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)


def _shapes(values: Any) -> dict[str, tuple[int | str, ...]]:
    return {
        one.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param
            for dim in one.type.tensor_type.shape.dim
        )
        for one in values
    }
