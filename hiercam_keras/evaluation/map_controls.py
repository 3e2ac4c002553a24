"""Maps of a picture that know nothing of the network, as controls. NumPy only.

The random map and the centered Gaussian are methods of `cam.methods`; these two need
the picture alone.
"""

import numpy as np

AREA, EDGES = "area", "edges"
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def area(images: np.ndarray) -> np.ndarray:
    """A constant map (B, 1, 1): its energy on a part is the part's area."""
    return np.ones((len(images), 1, 1))


def edges(images: np.ndarray) -> np.ndarray:
    """Magnitude of the gradient of the luma: (B, H, W), of pictures (B, H, W, 3)."""
    gray = np.asarray(images, np.float64) @ _LUMA
    down, across = np.gradient(gray, axis=(1, 2))
    return np.hypot(down, across)


CONTROLS = {AREA: area, EDGES: edges}
