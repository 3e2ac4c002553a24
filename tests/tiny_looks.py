"""Looks made by hand, for the tests of the experiments' tables."""

import numpy as np

from hiercam_keras.experiments.looks import Looks


def make_looks(energy, **changed) -> Looks:
    """Looks of N images: energy (N, K, 3) of background, bill and patch."""
    energy = np.asarray(energy, np.float32)
    count = len(energy)
    fields = {
        "example_ids": np.array([f"{number:02d}.jpg" for number in range(count)]),
        "group": np.arange(count, dtype=np.int32),
        "keys": np.array(["asked-species", "step-species"][: energy.shape[1]]),
        "energy": energy,
        "area": np.tile(np.float32([0.5, 0.3, 0.2]), (count, 1)),
        "hot": np.full(energy.shape[:2], 0.1, np.float32),
        "degenerate": np.zeros(energy.shape[:2], bool),
        "ranks": np.array(["family", "species"]),
        "true": np.zeros((count, 2), np.int32),
        "predicted": np.zeros((count, 2), np.int32),
        "rolled": np.zeros((count, 2), np.int32),
        "log2_true": np.zeros((count, 2), np.float32),
        "maps": np.ones((count, 1, 2, 2), np.float16) / 4,
    }
    return Looks(**fields | changed)
