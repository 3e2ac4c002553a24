"""Pretraining of a backbone on the traits of procedural birds, with random trees.

Every random tree assigns the four traits (body plan, bill and tail, wing pattern, place
of the patch) to the ranks in another way. For each tree and each rank the model has a
small group of logits, one per child of a taxon at the rank above; the loss of an image
uses only the groups of its own tree. It is the mean of the four cross-entropies, which
no single trait can minimize.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from absl import logging
from keras import ops

from hiercam_keras.errors import Stopped, UserError
from hiercam_keras.progress import progress
from hiercam_keras.training.checkpoint import Checkpoints
from hiercam_keras.training.stopping import StopSignals

NUM_CHANNELS = 4  # traits, and ranks that they distinguish
_FAR = -1e9  # logit of a child that a tree lacks


def head_size(num_values: np.ndarray) -> int:
    """Number of logits for all trees: trees x ranks x the most children."""
    return num_values.shape[0] * NUM_CHANNELS * int(num_values.max())


def tree_logits(outputs: Any, tree: Any, num_values: np.ndarray) -> Any:
    """Picks the logits of each image's own tree.

    Args:
      outputs: (B, head_size) logits.
      tree: int (B,), the tree of each image.
      num_values: int (trees, 4), children at each rank of each tree.

    Returns:
      (B, 4, V) logits; those of children that the tree lacks are -1e9.
    """
    trees, most = num_values.shape[0], int(num_values.max())
    grouped = ops.reshape(outputs, (-1, trees, NUM_CHANNELS, most))
    index = ops.reshape(ops.cast(tree, "int32"), (-1, 1, 1, 1))
    own = ops.squeeze(ops.take_along_axis(grouped, index, axis=1), axis=1)
    exists = np.arange(most) < num_values[..., None]  # (trees, 4, V)
    present = ops.take(ops.convert_to_tensor(exists), ops.cast(tree, "int32"), axis=0)
    return ops.where(present, own, _FAR)


@keras.saving.register_keras_serializable("hiercam_keras")
class TreeLoss(keras.losses.Loss):
    """Mean cross-entropy, in nats, over the four ranks of each image's own tree.

    y_true is int (B, 5): the tree, then the child at each rank.
    """

    def __init__(self, num_values: Any, name: str = "tree_loss", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.num_values = np.asarray(num_values)

    def call(self, y_true, y_pred):
        """Loss of each image, (B,)."""
        logits = tree_logits(y_pred, y_true[:, 0], self.num_values)
        each = keras.losses.sparse_categorical_crossentropy(
            y_true[:, 1:], logits, from_logits=True
        )
        return ops.mean(each, axis=-1)

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {**super().get_config(), "num_values": self.num_values.tolist()}


@keras.saving.register_keras_serializable("hiercam_keras")
class TreeAccuracy(keras.metrics.Mean):
    """Share of right children over all ranks of all images."""

    def __init__(self, num_values: Any, name: str = "accuracy", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.num_values = np.asarray(num_values)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch; y_true as for TreeLoss."""
        logits = tree_logits(y_pred, y_true[:, 0], self.num_values)
        right = ops.equal(ops.argmax(logits, -1), ops.cast(y_true[:, 1:], "int32"))
        return super().update_state(ops.cast(right, "float32"))

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {**super().get_config(), "num_values": self.num_values.tolist()}


def compile_model(
    model: keras.Model, num_values: np.ndarray, learning_rate: float, total_steps: int
) -> None:
    """Compiles with Adam, a warm-up of 3 % and a cosine from `learning_rate` to 0.

    Args:
      model: one output of `head_size` logits.
      num_values: int (trees, 4), children at each rank of each tree.
      learning_rate: at its peak.
      total_steps: of the whole training.
    """
    warmup = max(1, round(0.03 * total_steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, total_steps - warmup),
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    model.compile(
        keras.optimizers.Adam(rate),
        loss=TreeLoss(num_values),
        metrics=[TreeAccuracy(num_values)],
    )


class _Keep(keras.callbacks.Callback):
    """Saves the whole training state at an interval of minutes, and at a stop."""

    def __init__(self, checkpoints: Checkpoints, minutes: float, signals: StopSignals):
        super().__init__()
        self.checkpoints = checkpoints
        self.signals = signals
        self.seconds = minutes * 60
        self.first_step = self.saved_step = 0  # of the present call of fit
        self.saved = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        step = self.first_step + batch
        late = time.monotonic() - self.saved >= self.seconds
        asked = self.signals.received is not None
        if (late or asked) and step > self.saved_step:
            self.model.jax_state_sync()
            self.save(step)
        try:
            self.signals.check(step)
        except Stopped as stop:
            self.checkpoints.wait()
            raise Stopped(
                f"{stop}, stopped at step {step}. All is saved: continue with --resume "
                "and the same flags.",
                stop.status,
            ) from None

    def save(self, step):
        if self.checkpoints.save(self.model, {"step": step}) is None:
            raise UserError(
                f"the loss became nan or infinite before step {step}. Lower "
                "config.pretrain.learning_rate and start over with --overwrite."
            )
        self.saved_step, self.saved = step, time.monotonic()


def fit_stream(
    model: keras.Model,
    stream: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    first_step: int,
    last_step: int,
    checkpoints: Checkpoints,
    checkpoint_minutes: float,
    report_every: int = 100,
) -> list[dict[str, float]]:
    """Trains on the batches from `first_step` up to, without, `last_step`.

    Args:
      model: compiled, one output of `head_size` logits.
      stream: (images, tree, labels) batches, uint8 (B, S, S, 3), (B,), (B, 4), from
        `first_step` on.
      checkpoints: of this training, written every `checkpoint_minutes` and at the end;
        its metadata has the `step`.
      report_every: batches in one row of the result.

    Returns:
      Rows with step, loss and accuracy, means over `report_every` batches.

    Raises:
      Stopped: a signal arrived; the state is saved.
    """
    rows: list[dict[str, float]] = []
    batches = _pairs(progress(stream, last_step - first_step, "pretrain", "batch"))
    with StopSignals() as signals:
        keep = _Keep(checkpoints, checkpoint_minutes, signals)
        keep.saved_step = first_step
        for start in range(first_step, last_step, report_every):
            count = min(report_every, last_step - start)
            keep.first_step = start
            history = model.fit(
                batches,
                steps_per_epoch=count,
                callbacks=[keep],
                shuffle=False,
                verbose=0,
            ).history
            figures = {name: values[-1] for name, values in history.items()}
            rows.append({"step": start + count, **figures})
            logging.info(
                # By name: Keras gives the accuracy first.
                "step %(step)d: loss %(loss).4f, accuracy %(accuracy).4f",
                rows[-1],
            )
        if last_step > keep.saved_step:
            keep.save(last_step)
        checkpoints.wait()
    return rows


def measure(
    model: keras.Model,
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_values: np.ndarray,
) -> np.ndarray:
    """Accuracy at each of the four ranks, float (4,), over the batches."""
    right = []
    for images, tree, labels in batches:
        logits = tree_logits(model.predict_on_batch(images), tree, num_values)
        right.append(np.argmax(np.asarray(logits), -1) == labels)
    return np.concatenate(right).mean(0)


def _pairs(
    stream: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for images, tree, labels in stream:
        yield images, np.concatenate([tree[:, None], labels], 1).astype(np.int32)
