"""The stored picture that a page asks its network about before it uses WebGPU.

Graphics processors and their drivers differ, so a page compares the answers there with
those of ONNX Runtime on the CPU. The picture is drawn: a page may be published, and a
photograph of the data would be, too.
"""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras.export.function import LOGITS, MAPS, PATH, STEPS
from hiercam_keras.export.session import Session

_COMPARED = (LOGITS, PATH, MAPS, STEPS)
_WAVES = 12  # of each channel


def stored(model: Path) -> dict[str, Any]:
    """A picture and what an exported file answers for it.

    Args:
      model: the file.

    Returns:
      `pixels`, uint8 (H, W, 3), and by name the `outputs` that are compared, float32;
      all as base64.
    """
    session = Session(model)
    pixels = picture(*session.image_shape[:2])
    found = session(pixels[None])
    return {
        "pixels": _text(pixels),
        "outputs": {
            name: _text(found[name][0].astype("<f4"))
            for name in _COMPARED
            if name in found
        },
    }


def picture(height: int, width: int) -> np.ndarray:
    """Waves of several lengths with an edge through them: uint8 (height, width, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / max(height, width)
    found = np.zeros((height, width, 3))
    for channel in range(3):
        for down, across in rng.normal(0, 40, (_WAVES, 2)):
            phase = rng.uniform(0, 2 * np.pi)
            found[..., channel] += np.sin(down * y + across * x + phase)
    found = (
        127.5 + 30 * found + 60 * ((x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.04)[..., None]
    )
    return found.clip(0, 255).astype(np.uint8)


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
