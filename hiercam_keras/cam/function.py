"""Explains networks that are no Keras models, as two functions of JAX arrays.

f maps images to activations and g activations to logits, so that g(f(images)) is the
network: of Flax NNX, Equinox, or plain JAX. Methods, targets and results are those of
`Explainer`. Neither Keras nor the library of the network is imported here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from hiercam_keras.cam import arrays
from hiercam_keras.cam.attention import Attention
from hiercam_keras.cam.base_explainer import BaseExplainer
from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.meaning import Meaning
from hiercam_keras.cam.methods import unavailable
from hiercam_keras.cam.network import CHANNELS_LAST, FORMATS, Layer, fold_of
from hiercam_keras.cam.outputs import Outputs
from hiercam_keras.cam.program import Options, Program
from hiercam_keras.errors import UserError

if TYPE_CHECKING:
    from hiercam_keras.cam.scorer import Scorer


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionNetwork:
    """A `network.Network`: f and g, which take the weights first."""

    f: Callable[[Any, jax.Array], Any]
    g: Callable[[Any, Any], Any]
    layers: tuple[Layer, ...]
    outputs: Outputs
    image_layout: str
    image_dtype: Any = None

    def order(self) -> tuple[()]:
        """See `network.Network`."""
        return ()

    def stages(self) -> tuple[Layer, ...]:
        """See `network.Network`."""
        if len(self.layers) < 2:
            raise unavailable(
                "layers", "f gives the activations of one layer, not a dict of several"
            )
        return self.layers

    def attention(self) -> Attention:
        """See `network.Network`."""
        raise unavailable("attention", "two functions do not show their attention")

    def __call__(
        self,
        variables: Any,
        images: jax.Array,
        others: tuple = (),
        taps: Sequence[Layer] = (),
        deltas: Sequence[jax.Array] = (),
    ) -> tuple[jax.Array, list[jax.Array]]:
        """See `network.Network`; `taps` are all of `layers`, or none."""
        activations = self.f(variables, images)
        if not taps:
            return self.outputs.logits(self.g(variables, activations)), []
        flat, tree = jax.tree.flatten(activations)
        pairs = list(zip(flat, deltas, strict=True))
        wide = [array.astype(delta.dtype) for array, delta in pairs]
        shifted = [
            (array + delta).astype(own.dtype)
            for array, (own, delta) in zip(wide, pairs, strict=True)
        ]
        return self.outputs.logits(self.g(variables, tree.unflatten(shifted))), wide


class FunctionExplainer(BaseExplainer):
    """Explains the network g(f(images)).

        explain = FunctionExplainer(f, g, variables=weights, taxonomy=taxonomy)
        result = explain(images, targets.path())
        result.cams  # (B, K, h, w), signed

    One program is compiled for each shape of images and each set of methods, and kept.

    Args:
      f: images (B, H, W, C) -> activations (B, h, w, C), as the network has them in
        evaluation: no dropout, batch normalization by its running statistics. It is
        given images as the user gives them, uint8 or float; scorecam, saliency,
        smoothgrad and integrated_gradients give it floats of the same range. A dict of
        several arrays is a dict of layers, each explained where g takes it.
      g: activations -> logits (B, n), or a dict of rank -> logits. Both functions are
        pure and can be transformed by `jax.jit` and `jax.vmap`.
      variables: the weights, any pytree of arrays. With it the functions are called as
        f(variables, images) and g(variables, activations). Without it they are called
        without weights, and weights that they close over become constants of the
        compiled program: changes to them are not seen.
      data_format: of images and activations, "channels_last" or "channels_first".
      reshape: turns the activations into (B, h, w, C), for tokens.
      layer: name of the activations in results.
      image_shape: (H, W, C) of images. With it `layers` and `space` are known at once,
        without it from the first images on.
      method, batch_size, options, precision: as for `Explainer`.
      meaning: taxonomy, names, labels, order, allowed_taxa, rank, output, activation,
        probabilities, as for `Explainer`. The end of g is not looked into: where g ends
        in a softmax or sigmoid, pass probabilities=True, or better, leave that
        activation out.

    Raises:
      UserError: an unknown method, activation or data format, weights that are no
        arrays.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        g: Callable[..., Any],
        *,
        variables: Any = None,
        data_format: str = CHANNELS_LAST,
        reshape: Callable | None = None,
        layer: str = "activations",
        image_shape: Sequence[int] | None = None,
        method: str = "gradcam",
        batch_size: int | None = None,
        options: Options | None = None,
        precision: str = "auto",
        **meaning: Any,
    ):
        super().__init__(method, batch_size, options, precision)
        for name, function in (("f", f), ("g", g)):
            if not callable(function):
                raise UserError(
                    f"{name} is a function of JAX arrays; found "
                    f"{type(function).__name__}"
                )
        if data_format not in FORMATS:
            raise UserError(
                f"data_format is one of {', '.join(FORMATS)}, not {data_format!r}"
            )
        self._variables = _checked(variables)
        self._f = _traced("f", f, variables is None)
        self._g = _traced("g", g, variables is None)
        self._outputs = Outputs(Meaning(**meaning))
        self._data_format = data_format
        self._fold = fold_of(data_format, reshape)
        self._tokens = reshape is not None
        self._layer = layer
        self._paths: tuple[str, ...] = ()
        self._programs: dict[Any, Program] = {}
        if image_shape is not None:
            image = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
            self._prepare(self._variables, image).check([self.method])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the activations; see `image_shape`."""
        return self._paths

    def scorer(self) -> Scorer:
        """What asks the network about changed images, see `hc.faithfulness`.

        Raises:
          UserError: no images were explained yet, and there is no `image_shape`.
        """
        # It imports keras, which the maps do without.
        from hiercam_keras.cam.scorer import Scorer

        if self.space is None:
            raise UserError(
                "the outputs of g are not known: explain some images before you ask "
                "for a scorer, or give image_shape="
            )
        network = FunctionNetwork(
            self._f, self._g, (), self._outputs, self._data_format
        )
        return Scorer.of_network(
            network, lambda: self._variables, _no_others, self.precision
        )

    def _open(self, images, other_inputs, variables):
        _no_others(other_inputs, len(images))
        if variables is not None and self._variables is None:
            raise UserError(
                "f and g were given without variables=, so they take no weights: make "
                "the explainer with variables="
            )
        weights = self._variables if variables is None else _checked(variables)
        images = arrays.as_array(images, "images")
        arrays.check_images(images, None)
        dtype = jax.dtypes.canonicalize_dtype(images.dtype)
        image = jax.ShapeDtypeStruct((2, *images.shape[1:]), dtype)
        leaves, structure = jax.tree.flatten(weights)
        # The activations may be of the type of the weights.
        key = (image, structure, *(leaf.dtype for leaf in leaves))
        if key not in self._programs:
            self._programs[key] = self._prepare(weights, image)
        return self._programs[key], weights, images, ()

    def _prepare(self, weights: Any, images: jax.ShapeDtypeStruct) -> Program:
        """Finds layers and outputs, by one pass on two images that computes nothing."""
        activations = jax.eval_shape(self._f, weights, images)
        layers = self._find_layers(activations, images)
        outputs = jax.eval_shape(self._g, weights, activations)
        if self._outputs.space is None:
            self._outputs.prepare(outputs, jax.tree.map(lambda _: None, outputs))
        self._paths = tuple(layer.path for layer in layers)
        network = FunctionNetwork(
            self._f, self._g, layers, self._outputs, self._data_format
        )
        # Libraries that notice a network in training mode do so in a gradient's trace.
        deltas = [layer.zeros(2) for layer in layers]
        jax.eval_shape(
            lambda weights, images: jax.vjp(
                lambda deltas: network(weights, images, (), layers, deltas)[0], deltas
            )[0],
            weights,
            images,
        )
        return Program(network, self.options)

    def _find_layers(self, activations: Any, images: Any) -> tuple[Layer, ...]:
        if isinstance(activations, Mapping):
            named = {name: activations[name] for name in sorted(activations)}
        else:
            named = {self._layer: activations}
        layers = []
        for name, array in named.items():
            if not hasattr(array, "shape"):
                raise UserError(
                    "f returns activations (B, h, w, C), or a dict of name -> "
                    f"activations; found {type(array).__name__}"
                )
            shape = ("B", *array.shape[1:])
            fits = array.shape[:1] == (2,) and (len(array.shape) == 4 or self._tokens)
            if not fits or not jnp.issubdtype(array.dtype, jnp.floating):
                raise UserError(
                    f"the activations {name!r} are {array.dtype} of shape {shape} for "
                    f"images {('B', *images.shape[1:])}; expected floats (B, h, w, C), "
                    "or for tokens reshape="
                )
            if self._data_format == CHANNELS_LAST and not self._tokens:
                _warn_of_channels_first(name, array.shape, images.shape)
            layer = Layer(str(name), array.shape, array.dtype, self._fold)
            if layer.map_size() == (1, 1):
                raise UserError(
                    f"the activations {name!r} {shape} are maps of one cell, which "
                    "mark the whole image: give larger images, or let f end at an "
                    "earlier layer"
                )
            layers.append(layer)
        return tuple(layers)


def explain_function(
    f: Callable[..., Any],
    g: Callable[..., Any],
    images: Any,
    asked: Any = None,
    method: str = "gradcam",
    *,
    variables: Any = None,
    seeds: Sequence[int] | None = None,
    **settings: Any,
) -> Explanation:
    """Explains one batch of the network g(f(images)); see `FunctionExplainer`.

    Each call compiles. For several batches make a `FunctionExplainer` once.

    Args:
      f, g, variables, settings: as for `FunctionExplainer`.
      images, asked, method, seeds: as for its call.
    """
    explain = FunctionExplainer(f, g, variables=variables, method=method, **settings)
    return explain(images, asked, seeds=seeds)


def _warn_of_channels_first(name: Any, shape: tuple, image: tuple) -> None:
    """Says that the cells of a map have the proportions of the images in the last two
    axes and not in the first two; each may be a cell off."""
    height, width = image[1:3]

    def fits(rows: int, columns: int) -> bool:
        return abs(rows * width - columns * height) <= max(height, width)

    _, one, two, three = shape
    if fits(two, three) and not fits(one, two):
        logging.warning(
            "the activations %r of shape (B, %d, %d, %d) are read as maps of %d x %d "
            "cells, for images of %d x %d. If they are channels first, let f return "
            "jnp.moveaxis(activations, 1, -1), or give data_format='channels_first' "
            "where the images are, too",
            name,
            *shape[1:],
            one,
            two,
            height,
            width,
        )


def _no_others(other_inputs: Any, count: int) -> tuple:
    """The other inputs of `count` images: none."""
    if other_inputs is not None:
        raise UserError(
            "f takes images alone, found other_inputs=: let f and g close over what is "
            "the same for all images"
        )
    return ()


def _checked(variables: Any) -> Any:
    """Weights as JAX arrays, which are arguments of a compiled program."""

    def one(path, leaf):
        if isinstance(leaf, jax.Array):
            return leaf
        if isinstance(leaf, (np.ndarray, np.generic, float, int)):
            return jnp.asarray(leaf)
        raise UserError(
            f"variables{jax.tree_util.keystr(path)} is {type(leaf).__name__}, no "
            "array. Give the arrays alone: of Equinox equinox.partition(model, "
            "equinox.is_array)[0], of Flax flax.nnx.split(model)[1]"
        )

    return jax.tree_util.tree_map_with_path(one, variables)


def _traced(name: str, function: Callable, weightless: bool) -> Callable:
    """The user's function of (weights, array), with an error that names it."""

    def call(weights: Any, array: Any) -> Any:
        try:
            return function(array) if weightless else function(weights, array)
        except Exception as error:  # of the user's code or of any library in it
            shapes = jax.tree.map(lambda x: ("B", *x.shape[1:]), array)
            raise UserError(
                f"{name} cannot be traced by JAX on {shapes}: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}. It must be pure, with dropout "
                "and batch normalization in evaluation mode"
            ) from error

    return call
