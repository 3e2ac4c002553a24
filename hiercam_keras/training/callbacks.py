"""Callbacks of an epoch: seeds, pace, validation and the log."""

import csv
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from absl import logging
from scipy.special import log_softmax

from hiercam_keras import first_touch, workdir
from hiercam_keras.training import rates
from hiercam_keras.training.predict import predict_logits


class EpochSeed(keras.callbacks.Callback):
    """Seeds dropout by (seed, epoch), so a resumed run draws the same."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the state of every seed generator of the model."""
        generators = [
            layer.seed_generator
            for layer in self.model.layers
            if getattr(layer, "seed_generator", None) is not None
        ]
        for number, generator in enumerate(generators):
            # Keras increments the second half of the state at each draw.
            state = [(self.seed * 1000 + number) % 2**32, (epoch << 20) % 2**32]
            generator.state.assign(np.array(state, np.uint32))


class Pace(keras.callbacks.Callback):
    """Keeps the host at most a few batches ahead of the device.

    JAX returns before a step is done. Without a limit the host would read a whole epoch
    into the device's queue, and the progress would be that of the reading. Keras calls
    `on_train_batch_end` in a separate thread, which waits for the figures of the step;
    the main thread waits only for a slot.

    On a CPU a step that follows at once allocates its temporary arrays before those of
    the last one are freed, which doubles the memory, and there is nothing to gain:
    the host and the device are the same cores.

    Args:
      ahead: number of batches; None for 1 on a CPU and 4 on other devices.
    """

    async_safe = True

    def __init__(self, ahead: int | None = None):
        super().__init__()
        if ahead is None:
            ahead = 1 if jax.default_backend() == "cpu" else 4
        self.slots = threading.Semaphore(ahead)

    def on_train_batch_begin(self, batch, logs=None):
        """Waits for a free slot."""
        self.slots.acquire()

    def on_train_batch_end(self, batch, logs=None):
        """Releases a slot: Keras has converted the figures of the step to numbers."""
        self.slots.release()


class FirstStep(keras.callbacks.Callback):
    """Records the memory of the first step, which later processes touch early."""

    async_safe = True

    def on_train_batch_end(self, batch, logs=None):
        """Records it once, see `first_touch`."""
        first_touch.record()


class Validation(keras.callbacks.Callback):
    """Exact loss and accuracy on the validation split, for any batch size.

    Keras' own validation weights the padded last batch like a full one.
    """

    def __init__(
        self,
        loader: Any,
        ranks: tuple[str, ...],
        check: Callable[[], None] | None = None,
    ):
        super().__init__()
        self.loader = loader
        self.ranks = ranks
        self.check = check  # called before each batch; may raise to stop

    def on_epoch_end(self, epoch, logs=None):
        """Adds val_loss and val_accuracy (per rank with several heads) to the logs."""
        if self.loader is None:
            return
        with rates.averaged(self.model):
            logs.update(validate(self.model, self.loader, self.ranks, self.check))


def validate(
    model: keras.Model,
    loader: Any,
    ranks: tuple[str, ...],
    check: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Exact loss (nats) and accuracy on a loader, as mean over its images.

    Only images with a label at a rank count.

    Args:
      model: gives logits, of one head or by rank.
      loader: with labels at `ranks`.
      ranks: of the heads.
      check: called before each batch; may raise to stop.

    Returns:
      val_loss and val_accuracy; with several heads both for each rank
      (val_<rank>_loss), and the sum of the losses as val_loss. A rank without labeled
      images has NaN, and is left out of the sum. A NaN loss of images is infinite in
      the sum, as no epoch is worse.
    """
    found = predict_logits(model, loader, ranks, check=check)
    figures, total = {}, 0.0
    for rank in ranks:
        known = found.labels[rank] >= 0
        truth, logits = found.labels[rank][known], found.logits[rank][known]
        log_p = log_softmax(logits.astype(np.float64), axis=-1)
        loss = -_mean(log_p[np.arange(len(truth)), truth])
        accuracy = _mean(logits.argmax(-1) == truth)
        total += np.nan_to_num(loss, nan=np.inf, posinf=np.inf) if known.any() else 0.0
        prefix = "val_" if len(ranks) == 1 else f"val_{rank}_"
        figures[prefix + "loss"] = loss
        figures[prefix + "accuracy"] = accuracy
    return {**figures, "val_loss": total}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


class EpochLog(keras.callbacks.Callback):
    """Keeps one row per epoch, rewrites log.csv atomically, and logs a summary."""

    def __init__(self, path: Path, rows: list[dict[str, float]], epochs: int):
        super().__init__()
        self.path = path
        self.rows = rows
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        """Writes the log."""
        figures = {name: float(value) for name, value in logs.items()}
        self.rows.append({"epoch": epoch + 1, **figures})
        write_log(self.path, self.rows)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        logging.info("epoch %d/%d: %s", epoch + 1, self.epochs, shown)


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes the rows as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    workdir.write_text(path, text.getvalue())


def tensorboard(folder: Path, wanted: bool) -> list[keras.callbacks.Callback]:
    """Keras' TensorBoard callback if it is wanted and its packages are installed."""
    if not wanted:
        return []
    try:
        import tensorboard  # noqa: F401

        return [keras.callbacks.TensorBoard(log_dir=str(folder / "tensorboard"))]
    except Exception as error:  # Keras raises its own exception class
        logging.warning(
            "no TensorBoard log: %s. Install it with `pip install tensorboard "
            "tensorflow`; log.csv has the same figures.",
            error,
        )
        return []
