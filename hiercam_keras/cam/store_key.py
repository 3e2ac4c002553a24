"""The key of a map store: a hash of everything that its maps depend on."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import hiercam_keras

SCHEMA_VERSION = 1
FILE = "store.json"


def weights_digest(weights: Iterable[Any]) -> str:
    """Hexadecimal SHA-256 over shapes, dtypes and bytes of weights, in order.

    Equal for a model with stock layers and with fast layers.

    Args:
      weights: `model.weights`, or other arrays.
    """
    digest = hashlib.sha256()
    for weight in weights:
        array = np.ascontiguousarray(np.asarray(weight))
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def key(identity: Mapping[str, Any]) -> str:
    """Name of a store's folder: the first 16 hex digits of the identity's SHA-256."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity(
    *,
    weights: str,
    example_ids: Sequence[str],
    method: str,
    layer: str,
    targets: Sequence[str],
    preprocessing: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Everything that maps depend on, as JSON values.

    Args:
      weights: result of `weights_digest`.
      example_ids: ids of the split, in order.
      method, layer: as in the explanation.
      targets: unique names of the targets.
      preprocessing: image size, layout and other settings that affect pixels.
      **more: method options and other settings.
    """
    split = hashlib.sha256("\n".join(example_ids).encode()).hexdigest()
    return {
        "weights": weights,
        "split": split,
        "method": method,
        "layer": layer,
        "targets": list(targets),
        "preprocessing": dict(preprocessing),
        **more,
    }


def versions() -> dict[str, str]:
    """Versions of the packages that compute maps, without importing them."""
    found = {"hiercam_keras": hiercam_keras.__version__}
    found["python"] = platform.python_version()
    for name in ("numpy", "keras", "jax"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
