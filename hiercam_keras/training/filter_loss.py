"""The filter loss of interpretable CNNs (Zhang, Wu and Zhu 2018, arXiv:1710.00935).

The loss makes a filter of the last convolution respond at one position of the map for
images of one category, and nowhere for others: it maximizes the mutual information of
its maps x (n x n, after ReLU) and templates. T is one of n^2 positive templates, with a
peak at each position, or the negative one:

    p(T_mu) = alpha/n^2,  p(T-) = 1 - alpha,  alpha = n^2/(1 + n^2)
    p(x|T) = exp(tr(x.T)) / Z_T,   Z_T = sum over the images x of exp(tr(x.T))
    loss = -MI(X; T) = -sum_T p(T) sum_x p(x|T) log(p(x|T)/p(x))

As in the paper, each filter has its own loss, and their sum is minimized, so the
gradient of one filter does not depend on their number. Layers of a thousand filters
with weak maps have an initial mutual information (MI) of a few 1e-5 nats a filter, so
the weight depends on the layer. The paper adapts it after each epoch to the size of the
maps; here it is a number of the config.

The images are those of the batch. The paper's mask layer, which multiplies each map by
its template in the forward pass, is not implemented: it would need a layer that stock
Keras lacks.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from hiercam_keras.errors import UserError

BETA = 4.0  # decay of a template; the paper's value


def templates(n: int) -> np.ndarray:
    """The n^2 positive templates and, last, the negative one: float32 (n^2 + 1, n^2).

    t_ij = tau max(1 - beta |[i,j] - mu|_1 / n, -1) for the peak mu, t_ij = -tau for the
    negative one; tau = 0.5/n^2, beta = 4.
    """
    place = np.stack(np.meshgrid(range(n), range(n), indexing="ij"), -1).reshape(-1, 2)
    distance = np.abs(place[:, None] - place[None]).sum(-1)
    positive = np.maximum(1.0 - BETA * distance / n, -1.0)
    negative = np.full((1, n * n), -1.0)
    tau = 0.5 / (n * n)
    return (tau * np.concatenate([positive, negative])).astype(np.float32)


def filter_loss(maps: Any, labels: Any = None, num_labels: int = 0) -> Any:
    """Sum of the C filters' losses, a scalar of 0 or less, in nats.

    Without labels it is -MI over the batch, with its exact gradient. With labels the
    gradient is the paper's approximation, in which only the target template counts: the
    best positive one for images of the filter's category, and the negative one for all
    others. The category of a filter is the one with its strongest mean activation, here
    over the batch. The value is the same.

    Args:
      maps: (B, n, n, C) activations; negative values count as 0.
      labels: int (B,), -1 for an image of unknown category, which has no target; or
        distributions (B, N), of which the most probable label counts.
      num_labels: N.

    Raises:
      UserError: the maps are not square.
    """
    batch, n, width, channels = maps.shape
    if n != width:
        raise UserError(
            f"config.train.filter_loss needs square maps, found {n} x {width}."
        )
    x = ops.relu(ops.reshape(ops.cast(maps, "float32"), (-1, n * n, channels)))
    shapes = ops.convert_to_tensor(templates(n))
    fit = ops.einsum("bpc,tp->tbc", x, shapes)  # tr(x.T)
    log_prior = np.full((n * n + 1, 1, 1), -np.log1p(n * n), np.float32)
    log_given = ops.log_softmax(fit, axis=1)  # log p(x|T)
    log_x = ops.logsumexp(log_prior + log_given, axis=0)
    gain = log_given - log_x
    shares = ops.exp(log_prior + log_given)  # p(T) p(x|T)
    loss = -ops.sum(shares * gain)
    if labels is None:
        return loss
    wanted = _wanted(x, fit, labels, num_labels)  # (T, B, C) of 0 and 1
    slope = ops.stop_gradient(-wanted * shares * gain)
    surrogate = ops.sum(slope * fit)
    return ops.stop_gradient(loss) + surrogate - ops.stop_gradient(surrogate)


def _wanted(x, fit, labels, num_labels):
    """One-hot target templates (T, B, C), one for each image and filter."""
    if len(labels.shape) > 1 and labels.shape[-1] > 1:
        labels = ops.argmax(labels, axis=-1)
    labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
    members = ops.one_hot(labels, num_labels, dtype="float32")  # (B, N)
    fired = ops.matmul(ops.transpose(members), ops.sum(x, axis=1))  # (N, C)
    counts = ops.maximum(ops.sum(members, axis=0), 1.0)
    category = ops.argmax(fired / counts[:, None], axis=0)  # (C,)
    own = ops.equal(labels[:, None], ops.cast(category, "int32")[None])  # (B, C)
    best = ops.argmax(fit[:-1], axis=0)
    last = fit.shape[0] - 1
    chosen = ops.where(own, ops.cast(best, "int32"), last)
    chosen = ops.where(labels[:, None] < 0, -1, chosen)  # one-hot: zeros
    return ops.one_hot(chosen, last + 1, axis=0, dtype="float32")


class Tap:
    """Keeps the output of a layer in the pass that is being traced, for the loss.

    The alternative is a further output of the model, which would also be in its file.
    """

    def __init__(self, layer: keras.layers.Layer):
        self._call = layer.call
        self.output = None
        layer.call = self

    def __call__(self, *args, **kwargs):
        """Calls the layer and keeps its output."""
        self.output = self._call(*args, **kwargs)
        return self.output

    def take(self) -> Any:
        """Returns and clears the output."""
        output, self.output = self.output, None
        return output
