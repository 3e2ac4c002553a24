"""Class activation maps for Keras 3 models on the JAX backend.

Other networks can be explained as two functions of JAX arrays.

    from hiercam_keras import cam
    explain = cam.Explainer(model)  # finds the last convolutional activation
    result = explain(images, cam.targets.predicted(), method="gradcam")

Importing this package does not import jax, keras or TensorFlow; names are resolved at
first use. The modules targets, store, heatmaps and profiles need NumPy only.
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
    # No submodule has a name of _NAMES, so an import never shadows one of them.
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
