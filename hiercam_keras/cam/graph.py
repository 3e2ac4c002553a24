"""Reads and shifts the output of any layer of any Keras 3 model.

While JAX traces, the `call` of a layer instance is replaced by a function that records
its output and adds a delta to it. With a delta of zeros the model's result is
unchanged, and the derivative with respect to the delta is the derivative with respect
to the layer's activations. It is exact even if other paths bypass the layer, works
equally for Functional, Sequential, subclassed and nested models, and the backward pass
ends at the layer. `_flatten_layers` is private in Keras, which has no public API for
the layers inside a layer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax.interpreters import ad

from hiercam_keras.errors import UserError
from hiercam_keras.models import stateless

_FORMATS = ("channels_first", "channels_last")

# Serializes tracing: threads would see each other's replaced calls.
_lock = threading.RLock()


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of one layer during a pass through the model.

    Attributes:
      path: layer names from the outermost inward, separated by slashes. The calls of a
        layer that is called several times end in ":0", ":1", ...
      layer: the layer or operation.
      index: number of this call among those of the layer, from 0.
      shape: of the output; None if it is not a single array.
      dtype: of the output.
      spatial: whether the output is a batch of maps with more than one cell.
      same_as: path of an inner layer with the same output array; None if there is none.
      taken: shape and type of the first argument; None if it is not a single array.
      before: whether this argument is meant in place of the output, see `input_of`.
    """

    path: str
    layer: Any
    index: int
    shape: tuple[int, ...] | None
    dtype: Any = None
    spatial: bool = False
    same_as: str | None = None
    taken: jax.ShapeDtypeStruct | None = None
    before: bool = False

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


# What the path of a call ends in where its input is meant.
INPUT = ":input"


def input_of(call: Call) -> Call:
    """What stands for the input of a call: to be recorded and shifted there.

    Raises:
      UserError: the first argument of the call is not one array.
    """
    if call.taken is None:
        raise UserError(f"layer {call.path!r} is not given one array as first argument")
    return Call(
        call.path + INPUT,
        call.layer,
        call.index,
        call.taken.shape,
        call.taken.dtype,
        before=True,
    )


def inside(calls: Sequence[Call], outer: Call) -> list[Call]:
    """The calls of the layers in a layer, during one call of it."""
    within = outer.path.split(":")[0] + "/"
    same = (call for call in calls if call.index == outer.index)
    return [call for call in same if call.path.startswith(within)]


def layers_of(model: keras.Model) -> list:
    """All layers and operations inside the model, at any depth, without the model."""
    found = {id(x): x for x in model._flatten_layers(include_self=False)}
    for layer in [model, *list(found.values())]:
        # In a Functional model keras.ops calls are graph nodes, not layers.
        for operation in getattr(layer, "operations", ()):
            found.setdefault(id(operation), operation)
    found.pop(id(model), None)
    return list(found.values())


@contextlib.contextmanager
def _replaced_calls(layers: Sequence, wrap: Callable) -> Iterator[None]:
    """Replaces `layer.call` by `wrap(layer, layer.call)` within the context.

    Other threads, which may use the model meanwhile, get `layer.call`.
    """
    owner = threading.get_ident()

    def chosen(original, replacement):
        @functools.wraps(original)
        def call(*args, **kwargs):
            ours = threading.get_ident() == owner
            return (replacement if ours else original)(*args, **kwargs)

        return call

    with _lock:
        replaced = []
        try:
            for layer in layers:
                replaced.append((layer, vars(layer).get("call")))
                # Bypasses Keras' __setattr__, which would track the attribute.
                call = chosen(layer.call, wrap(layer, layer.call))
                object.__setattr__(layer, "call", call)
            yield
        finally:
            for layer, before in reversed(replaced):
                if before is None:
                    object.__delattr__(layer, "call")
                else:
                    object.__setattr__(layer, "call", before)


def variables_of(model: keras.Model) -> tuple[list, list]:
    """Values of the trainable and the non-trainable variables, for `apply`."""
    trainable, state = stateless.variables(model)
    return [one.value for one in trainable], [one.value for one in state]


def apply(model: keras.Model, variables: tuple[list, list], inputs: Any) -> Any:
    """The model's outputs in inference, as a pure function of variables and inputs."""
    return stateless.call(model, *variables, inputs, training=False)[0]


class Pass(NamedTuple):
    """The record of one pass through a model.

    Attributes:
      calls: all layer calls, in the order in which they end.
      outputs: shapes and dtypes of the outputs, in the model's structure.
      ends: in the same structure, the innermost call that produced each output; None if
        no layer but code of the model did.
    """

    calls: list[Call]
    outputs: Any
    ends: Any


def record(model: keras.Model, inputs: Any) -> Pass:
    """Records one pass through the model in inference, by abstract evaluation.

    Args:
      model: built.
      inputs: of the model's call, as arrays or `jax.ShapeDtypeStruct`s.
    """
    ended: list[tuple] = []
    stack: list[str] = []
    ends: list[int | None] = []

    def wrap(layer, original):
        @functools.wraps(original)
        def call(*args, **kwargs):
            stack.append(layer.name)
            try:
                output = original(*args, **kwargs)
            finally:
                path = "/".join(stack)
                stack.pop()
            ended.append((path, layer, output, _spec(args)))
            return output

        return call

    def forward(variables, inputs):
        outputs = apply(model, variables, inputs)
        for leaf in keras.tree.flatten(outputs):
            made = (i for i, (*_, output, _) in enumerate(ended) if output is leaf)
            ends.append(next(made, None))
        return outputs

    with _replaced_calls(layers_of(model), wrap):
        outputs = jax.eval_shape(forward, variables_of(model), inputs)
    calls = _name_calls(ended, _data_formats(model))
    found = [None if i is None else calls[i] for i in ends]
    return Pass(calls, outputs, keras.tree.pack_sequence_as(outputs, found))


def _spec(args: tuple) -> jax.ShapeDtypeStruct | None:
    """Of the first of the arguments, where it is an array."""
    if not args or not hasattr(args[0], "shape") or not hasattr(args[0], "dtype"):
        return None
    return jax.ShapeDtypeStruct(tuple(args[0].shape), args[0].dtype)


def calls_that_see(
    model: keras.Model, inputs_of: Callable[[Any], Any], image: jax.ShapeDtypeStruct
) -> set[tuple[int, int]]:
    """(id of the layer, index) of the calls with an output that depends on the image.

    Calls in the other tower of a siamese network do not depend on it. Dependence is
    found by abstract forward-mode differentiation: outputs that depend on the image
    have a tangent. If a model rounds its image to integers there are no tangents, and
    the result is empty.

    Args:
      model: built.
      inputs_of: function from an image array to all inputs of the model.
      image: shape and dtype of the image array.
    """
    seen: set[tuple[int, int]] = set()
    counts: dict[int, int] = {}

    def wrap(layer, original):
        @functools.wraps(original)
        def call(*args, **kwargs):
            output = original(*args, **kwargs)
            index = counts.get(id(layer), 0)
            counts[id(layer)] = index + 1
            leaves = jax.tree.leaves(output)
            if any(isinstance(leaf, ad.JVPTracer) for leaf in leaves):
                seen.add((id(layer), index))
            return output

        return call

    def forward(variables, image):
        return jax.jvp(
            lambda image: apply(model, variables, inputs_of(image)), (image,), (image,)
        )

    image = jax.ShapeDtypeStruct(image.shape, jnp.float32)
    with _replaced_calls(layers_of(model), wrap):
        jax.eval_shape(forward, variables_of(model), image)
    return seen


def _name_calls(ended: list[tuple], formats: set[str]) -> list[Call]:
    times: dict[int, int] = {}
    for _, layer, *_ in ended:
        times[id(layer)] = times.get(id(layer), 0) + 1
    calls, seen, first = [], {}, {}
    for path, layer, output, taken in ended:
        index = seen.get(id(layer), 0)
        seen[id(layer)] = index + 1
        if times[id(layer)] > 1:
            path = f"{path}:{index}"
        if not hasattr(output, "shape"):
            calls.append(Call(path, layer, index, None, taken=taken))
            continue
        same_as = first.setdefault(id(output), path)
        calls.append(
            Call(
                path,
                layer,
                index,
                tuple(output.shape),
                output.dtype,
                _is_spatial(layer, output, formats),
                None if same_as == path else same_as,
                taken,
            )
        )
    return calls


def _is_spatial(layer, output, formats: set[str]) -> bool:
    if output.ndim != 4 or not jnp.issubdtype(output.dtype, jnp.floating):
        return False
    own = getattr(layer, "data_format", None)
    formats = {own} if own in _FORMATS else formats
    h, w = output.shape[2:] if formats == {_FORMATS[0]} else output.shape[1:3]
    return h * w > 1


def find_call(calls: Sequence[Call], layer: Any) -> Call:
    """The call of a layer given as object, name or path.

    A path may omit outer layers.

    A path that ends in ":input" means what the layer is given.

    Raises:
      UserError: no call or several calls match, or the output is not a single array.
        The message lists alternatives.
    """
    before = isinstance(layer, str) and layer.endswith(INPUT)
    if isinstance(layer, str):
        want = layer.removesuffix(INPUT).strip("/")
        # The whole path of an outer layer may be the end of an inner one's.
        fits = [c for c in calls if c.path == want]
        fits = fits or [c for c in calls if c.path.endswith("/" + want)]
    else:
        want = getattr(layer, "name", layer)
        fits = [c for c in calls if c.layer is layer]
    if len(fits) == 1 and before:
        return input_of(fits[0])
    if len(fits) == 1 and fits[0].shape is not None:
        return fits[0]
    if len(fits) == 1:
        raise UserError(f"layer {want!r} gives several arrays; {would_do(calls)}")
    if fits:
        names = ", ".join(c.path for c in fits[:12])
        raise UserError(f"layer {want!r} is used {len(fits)} times; say which: {names}")
    again = [c for c in calls if c.name.rsplit(":", 1)[0] == want]
    if again:
        names = ", ".join(c.path for c in again[:12])
        raise UserError(
            f"layer {want!r} is called {len(again)} times; say which: {names}"
        )
    raise UserError(f"the model has no layer {want!r} in its pass; {would_do(calls)}")


def would_do(calls: Sequence[Call]) -> str:
    """Part of an error message that lists layers with maps, at most 12."""
    names = [c.path for c in calls if c.spatial and c.same_as is None]
    if not names:
        return "none of its layers gives a 4-D map"
    return f"these give maps, the last ones first: {', '.join(names[:-13:-1])}"


def _data_formats(model: keras.Model) -> set[str]:
    found = {getattr(layer, "data_format", None) for layer in layers_of(model)}
    return found & set(_FORMATS) or {keras.config.image_data_format()}


def data_format_of(call: Call, model: keras.Model) -> str:
    """Data format of a call's output, "channels_first" or "channels_last".

    It is that of the layer if it has one, else that of the model's other layers, else
    Keras' setting.

    Raises:
      UserError: the layer has no data format and the model's other layers disagree.
    """
    own = getattr(call.layer, "data_format", None)
    if own in _FORMATS:
        return own
    formats = _data_formats(model)
    if len(formats) > 1:
        raise UserError(
            f"the model mixes {' and '.join(sorted(formats))} layers; say which one "
            f"the layer {call.path} gives with data_format="
        )
    return formats.pop()


def image_layout(model: keras.Model) -> str:
    """Layout of the model's image input, "channels_first" or "channels_last".

    It is determined by the axis of size 3, else by the first layer with a data format,
    else by Keras' setting.
    """
    shapes = [one.shape for one in getattr(model, "inputs", None) or ()]
    shapes = [shape for shape in shapes if len(shape) == 4]
    if len(shapes) == 1 and (shapes[0][1] == 3) != (shapes[0][3] == 3):
        return "channels_first" if shapes[0][1] == 3 else "channels_last"
    for layer in layers_of(model):
        if getattr(layer, "data_format", None) in _FORMATS:
            return layer.data_format
    return keras.config.image_data_format()


def apply_with_deltas(
    model: keras.Model,
    variables: tuple[list, list],
    inputs: Any,
    calls: Sequence[Call],
    deltas: Sequence[jax.Array],
) -> tuple[Any, list[jax.Array]]:
    """Runs the model with a delta added to the output of each of `calls`.

    Args:
      model: built.
      variables: of `variables_of`.
      inputs: of the model's call.
      calls: of `record`.
      deltas: one array for each call, with the shape of its output, float32 or wider.

    Returns:
      The model's outputs, and the activations of `calls` before the delta, in the
      dtypes of the deltas.
    """
    activations: list = [None] * len(calls)

    def moved(place, array):
        delta = deltas[place]
        wide = array.astype(delta.dtype)
        activations[place] = wide
        return (wide + delta).astype(array.dtype)

    def shift(place, original, args, kwargs):
        if calls[place].before:
            return original(moved(place, args[0]), *args[1:], **kwargs)
        return moved(place, original(*args, **kwargs))

    with changed_calls(calls, shift):
        outputs = apply(model, variables, inputs)
    return outputs, activations


@contextlib.contextmanager
def changed_calls(calls: Sequence[Call], change: Callable) -> Iterator[None]:
    """Replaces the results of `calls` by those of `change` within the context.

    If several of `calls` are the same call of a layer, each receives the result of the
    one before it.

    Other calls of the same layers are not changed.

    Args:
      calls: of `record`.
      change: function of the index in `calls`, the layer's own call, its args and
        kwargs.
    """
    wanted: dict[tuple[int, int], list[int]] = {}
    for place, call in enumerate(calls):
        wanted.setdefault((id(call.layer), call.index), []).append(place)
    counts: dict[int, int] = {}

    def wrap(layer, original):
        @functools.wraps(original)
        def call(*args, **kwargs):
            index = counts.get(id(layer), 0)
            counts[id(layer)] = index + 1
            changed = original
            for place in wanted.get((id(layer), index), ()):
                changed = _changed(change, place, changed)
            return changed(*args, **kwargs)

        return call

    layers = list({id(call.layer): call.layer for call in calls}.values())
    with _replaced_calls(layers, wrap):
        yield


def _changed(change: Callable, place: int, original: Callable) -> Callable:
    return lambda *args, **kwargs: change(place, original, args, kwargs)
