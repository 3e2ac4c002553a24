"""What a network looks at, asked for the species or for the family.

    import hiercam_keras as hc

    run = hc.load_run("runs/synthetic_birds/species/seed0")
    explain = run.explainer(method="gradcam")
    result = explain(run.images("bird.jpg"), hc.targets.path())

docs/API.md documents the public names. Importing this package does not import keras,
jax or tensorflow; names are resolved at first use. It requires Keras with the JAX
backend. If KERAS_BACKEND is not set and keras is not imported yet, the first use of a
name sets KERAS_BACKEND=jax.
"""

import importlib
import os
import sys

__version__ = "0.1.0"

# Public name -> the module that defines it, below hiercam_keras.
_NAMES = {
    "Explainer": "cam.engine",
    "Explanation": "cam.explanation",
    "FunctionExplainer": "cam.function",
    "explain_function": "cam.function",
    "Options": "cam.program",
    "Scorer": "cam.scorer",
    "Target": "cam.targets",
    "heatmap": "cam.heatmaps",
    "Lineage": "taxonomy.lineage",
    "Taxonomy": "taxonomy.tree",
    "Labels": "taxonomy.labels",
    "read_labels": "taxonomy.label_table",
    "Run": "api",
    "load_config": "api",
    "load_run": "api",
    "load_model": "api",
    "train": "api",
    "load_images": "data.sources.photos",
    "Question": "evaluation.question",
    "Table": "evaluation.table",
    "evaluate": "evaluation.evaluate",
    "Comparison": "evaluation.compare",
    "compare": "evaluation.compare",
    "Estimate": "metrics.resampling",
    "Faithfulness": "evaluation.faithfulness",
    "faithfulness": "evaluation.faithfulness",
    "overlay": "report.overlay",
    "save_image": "report.overlay",
    "UserError": "errors",
    "fast_memory": "runtime",
}
_MODULES = {"methods": "cam.methods", "targets": "cam.targets", "store": "cam.store"}

__all__ = sorted([*_NAMES, *_MODULES])


def __getattr__(name: str):
    where = _NAMES.get(name) or _MODULES.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "jax")
    module = importlib.import_module(f"{__name__}.{where}")
    return module if name in _MODULES else getattr(module, name)


def __dir__():
    return [*__all__, "__version__"]
