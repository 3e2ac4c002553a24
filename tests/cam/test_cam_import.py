"""Importing cam loads no large library, and TensorFlow is never imported."""

import subprocess
import sys
import textwrap

import hiercam_keras
from hiercam_keras import cam


def run(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_import_and_numpy_parts_load_no_framework():
    printed = run("""
        import sys
        from hiercam_keras import cam
        from hiercam_keras.cam import heatmaps, profiles, store, targets
        heavy = {"jax", "keras", "tensorflow", "matplotlib", "scipy"}
        print(sorted(heavy & set(sys.modules)))
    """)
    assert printed.strip() == "[]"


def test_explains_where_tensorflow_cannot_be_imported():
    printed = run("""
        import os, sys
        sys.modules["tensorflow"] = None
        sys.modules["tensorflow_datasets"] = None
        os.environ["KERAS_BACKEND"] = "jax"
        import keras, numpy as np
        from hiercam_keras import cam
        model = keras.Sequential([
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(2, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ])
        result = cam.Explainer(model)(np.zeros((1, 6, 6, 3), "uint8"))
        training = [m for m in sys.modules if m.startswith("hiercam_keras.training")]
        print(result.cams.shape, training)
    """)
    assert printed.strip() == "(1, 1, 4, 4) []"


def test_all_names_are_there():
    assert hiercam_keras.cam is cam
    for name in cam.__all__:
        assert getattr(cam, name) is not None
    assert set(cam.__all__) == set(dir(cam))
