"""Checkpoints at the end of each epoch: the last one, whole, and the best one.

Each is one Keras file with the optimizer's state inside and the rows of the log beside
it in the same archive, so that what belongs together cannot come apart.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
from absl import logging

from hiercam_keras import workdir
from hiercam_keras.errors import UserError
from hiercam_keras.models import files
from hiercam_keras.models.initializers import numpy_initializers


class Checkpoints:
    """The folder `checkpoints/` of a run: last.keras and best.keras."""

    def __init__(self, folder: Path, ranks: tuple[str, ...]):
        self.last = folder / "last.keras"
        self.best = folder / "best.keras"
        self.ranks = ranks

    def callback(self, rows: list[dict[str, float]]) -> keras.callbacks.Callback:
        """Saves the epoch that `rows` ends with; it comes after the log's callback."""
        return _Save(self, rows)

    def restore(self, model: keras.Model) -> list[dict[str, float]]:
        """Puts the last epoch's weights and optimizer state into a compiled model.

        Returns:
          The rows of the log so far; none when there is no checkpoint.
        """
        if not self.last.is_file():
            return []
        return copy_state(self.last, model)["log"]

    def load_best(self, model: keras.Model) -> None:
        """Puts the weights of the epoch with the lowest val loss into the model."""
        if not self.best.is_file():
            return
        saved, metadata = files.load_model(self.best, accelerate="none")
        model.set_weights(saved.get_weights())
        logging.info("kept epoch %d, the best on val", metadata["log"][-1]["epoch"])


def save_state(path: Path, model: keras.Model, metadata: dict[str, Any]) -> None:
    """Writes a compiled model with its optimizer, and the metadata in the same file."""
    text = json.dumps({"schema_version": files.SCHEMA_VERSION, **metadata})
    with workdir.atomic_path(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(files.METADATA_MEMBER, text)


def copy_state(path: Path, model: keras.Model) -> dict[str, Any]:
    """Puts weights and optimizer state of a saved training into a compiled model.

    Returns:
      The metadata of the file.

    Raises:
      UserError: the file is damaged, or holds another model.
    """
    try:
        metadata = files.read_metadata(path)
        with numpy_initializers():
            saved = keras.saving.load_model(path)
        if getattr(saved, "optimizer", None) is None:
            raise ValueError("it holds no optimizer")
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"{path}: ")
        raise UserError(
            f"cannot go on from the checkpoint {path}: {reason.rstrip('.')}. Start "
            "over with --overwrite."
        ) from error
    # `weights`, as `variables` has the metrics' too, which come and go.
    shapes = [tuple(variable.shape) for variable in saved.weights]
    if shapes != [tuple(variable.shape) for variable in model.weights]:
        raise UserError(
            f"{path} holds another model than this config makes. Resume with the flags "
            "of the first call, or start over with --overwrite."
        )
    model.optimizer.build(model.trainable_variables)
    pairs = [*zip(model.weights, saved.weights, strict=True)]
    ours, theirs = model.optimizer.variables, saved.optimizer.variables
    for variable, value in [*pairs, *zip(ours, theirs, strict=True)]:
        variable.assign(value)
    return metadata


class _Save(keras.callbacks.Callback):
    def __init__(self, checkpoints, rows):
        super().__init__()
        self.checkpoints = checkpoints
        self.rows = rows

    def on_epoch_end(self, epoch, logs=None):
        metadata = {"ranks": list(self.checkpoints.ranks), "log": self.rows}
        losses = [row.get("val_loss", 0.0) for row in self.rows]
        if losses[-1] <= min(losses):
            files.save_model(self.checkpoints.best, self.model, metadata)
        save_state(self.checkpoints.last, self.model, metadata)
