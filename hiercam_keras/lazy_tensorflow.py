"""Keeps Keras from importing TensorFlow where it only asks whether it is there."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def not_asked_for() -> Iterator[None]:
    """Keras takes TensorFlow for missing within the context, unless it is imported.

    To seed it, and to see whether an object in a config is TensorFlow's, Keras imports
    TensorFlow under every backend, which takes seconds. Nothing can be TensorFlow's
    before that is imported.
    """
    from keras.src.utils import module_utils

    lazy = module_utils.tensorflow
    if "tensorflow" in sys.modules or lazy.module is not None:
        yield
        return
    known = lazy._available
    lazy._available = False
    try:
        yield
    finally:
        lazy._available = known
