"""Class activation maps for any Keras 3 model on the JAX backend, and for any other
network as two functions of JAX arrays.

    from hiercam_keras import cam
    explain = cam.Explainer(model)  # finds the last convolutional activation
    result = explain(images, cam.targets.predicted(), method="gradcam")

Importing this imports neither jax nor keras nor TensorFlow; names are looked up when
they are used. targets, store, heatmaps and profiles need NumPy only.
"""

import importlib

_NAMES = {
    "Explainer": "engine",
    "Explanation": "explanation",
    "FunctionExplainer": "function",
    "explain_function": "function",
    "Options": "program",
    "METHODS": "methods",
    "Target": "targets",
    "heatmap": "heatmaps",
}
_MODULES = (
    "targets",
    "methods",
    "engine",
    "heatmaps",
    "profiles",
    "store",
    "score_space",
    "explanation",
)

__all__ = sorted([*_NAMES, *_MODULES])


def __getattr__(name: str):
    # Submodules first: an import sets the attribute, and shadows nothing of _NAMES.
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
