"""Runs an exported file in ONNX Runtime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.export.function import PHOTOS, TAXA

_PIECE = 16  # pictures at once, where the file takes any number


class Session:
    """An exported file, opened in ONNX Runtime on the CPU.

    Args:
      file: path, or the bytes of the file.
      threads: of one operator; None for as many as there are cores.

    Attributes:
      batch: pictures that the file takes at once; None for any number.
      image_shape: (H, W, 3).
      outputs: shapes by name; a number that may vary is a name or None.
      taxa: whether the file takes taxa.
    """

    def __init__(self, file: str | os.PathLike | bytes, threads: int | None = None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        given = file if isinstance(file, bytes) else os.fspath(file)
        try:
            self._session = onnxruntime.InferenceSession(
                given, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own kinds, one for each cause
            name = "the file" if isinstance(file, bytes) else given
            raise UserError(
                f"{name} cannot be read by ONNX Runtime: {str(error).splitlines()[0]}"
            ) from error
        known = (
            *self._session.get_inputs(),
            *self._session.get_overridable_initializers(),
        )
        inputs = {one.name: one.shape for one in known}
        if PHOTOS not in inputs:
            raise UserError(
                f"the file takes {', '.join(inputs)}, expected {PHOTOS}: it was not "
                "written by --mode=export"
            )
        size, *shape = inputs[PHOTOS]
        self.batch = size if isinstance(size, int) else None
        self.image_shape = tuple(shape)
        self.taxa = TAXA in inputs
        self._leaves = inputs[TAXA][1] if self.taxa else 0
        self.outputs = {one.name: one.shape for one in self._session.get_outputs()}

    def __call__(self, photos: Any, taxa: Any = None) -> dict[str, np.ndarray]:
        """The outputs by name.

        Args:
          photos: (N, H, W, 3), RGB in 0 .. 255, resized.
          taxa: (T, C) of 0 and 1, the leaves of each taxon; None to ask for none.
        """
        photos = np.asarray(photos, np.float32)
        feeds = {}
        if taxa is None and self.taxa:
            taxa = np.zeros((1, self._leaves))
        if taxa is not None:
            feeds[TAXA] = np.asarray(taxa, np.float32)
        size = self.batch or min(_PIECE, len(photos))
        found = []
        for start in range(0, len(photos), size):
            piece = photos[start : start + size]
            if len(piece) < size and self.batch:
                more = np.repeat(piece[-1:], size - len(piece), axis=0)
                piece = np.concatenate([piece, more])
            found.append(self._session.run(None, {PHOTOS: piece, **feeds}))
        return {
            name: np.concatenate(parts)[: len(photos)]
            for name, parts in zip(self.outputs, zip(*found, strict=True), strict=True)
        }
