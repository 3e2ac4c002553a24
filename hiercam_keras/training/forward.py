"""Logits of one batch on all devices, and gathering over all processes."""

import weakref
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np

from hiercam_keras import halves, image_by_image, precision
from hiercam_keras.models import stateless
from hiercam_keras.models.layers import is_mixed
from hiercam_keras.models.xla_layers import shards

_FORWARD: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


Forward = Callable[[list, list, Any], Any]


def predict_batch(
    model: keras.Model, images: np.ndarray, forward: Forward | None = None
) -> Any:
    """The model's outputs in inference for this process's images, one row per image.

    With a distribution it is a collective: every process must call it equally often,
    with the same number of images.

    Args:
      model: with an output (B, N), or a dict of such outputs.
      images: (B, S, S, 3), any B of at least 1.
      forward: of `compiled`, in place of the model's own outputs.
    """
    variables = stateless.variables(model)
    forward = forward or _known_forward(model, "default", stateless.order(*variables))
    trainable, state = ([one.value for one in part] for part in variables)
    if keras.distribution.distribution() is None:
        return halves.run(forward, (trainable, state), (images,))
    count = len(images)
    rows = np.minimum(np.arange(shards.padded_size(count)), count - 1)
    outputs = forward(trainable, state, shards.place(images[rows]))
    return jax.tree.map(lambda array: shards.local_rows(array)[:count], outputs)


def forward_function(model: keras.Model, products: str = "default") -> Forward:
    """The jitted forward pass of `predict_batch`, compiled once for a shape.

    Another one once `trainable` of a layer was changed, see `stateless.order`.

    Args:
      model: the model.
      products: precision of float32 products, see `precision.resolved`.
    """
    order = stateless.order(*stateless.variables(model))
    return _known_forward(model, products, order)


def _known_forward(model: keras.Model, products: str, order: tuple) -> Forward:
    products = precision.of_network(products, is_mixed(model))
    known = _FORWARD.setdefault(model, {})
    key = products, order
    if key not in known:
        # A strong reference in the closure would keep the model alive forever.
        reference = weakref.ref(model)

        def forward(trainable, state, images):
            with precision.of_products(products):
                return stateless.call(
                    reference(), trainable, state, images, training=False
                )[0]

        known[key] = compiled(forward)
    return known[key]


def compiled(forward: Forward) -> Forward:
    """A jitted function of trainable variables, state and images, rows over devices."""
    shared = keras.distribution.distribution() is not None
    options = {"out_shardings": shards.sharding()} if shared else {}
    return jax.jit(image_by_image.of(forward, num_fixed=2), **options)


def gather(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenates the rows of all processes, in the order of the global batches.

    Args:
      parts: one array (b, ...) per batch, of the same shapes in every process.

    Returns:
      (sum of all b of all processes, ...).
    """
    here = np.stack(parts)  # (batches, b, ...)
    if jax.process_count() == 1:
        return here.reshape(-1, *here.shape[2:])
    from jax.experimental import multihost_utils

    everywhere = np.asarray(multihost_utils.process_allgather(here))
    # (processes, batches, b, ...): within a batch the processes follow one another.
    return np.swapaxes(everywhere, 0, 1).reshape(-1, *here.shape[2:])


def gather_text(parts: list[list[str]]) -> list[str]:
    """`gather` for texts, which are sent as UTF-8 in arrays of one width."""
    if jax.process_count() == 1:
        return [text for part in parts for text in part]
    from jax.experimental import multihost_utils

    encoded = [[text.encode("utf-8", "surrogateescape") for text in p] for p in parts]
    width = max((len(text) for part in encoded for text in part), default=0)
    width = int(np.max(multihost_utils.process_allgather(np.array(width))))
    rows = [
        np.stack([np.frombuffer(t.ljust(width, b"\0"), np.uint8) for t in part])
        for part in encoded
    ]
    return [
        row.tobytes().rstrip(b"\0").decode("utf-8", "surrogateescape")
        for row in gather(rows)
    ]
