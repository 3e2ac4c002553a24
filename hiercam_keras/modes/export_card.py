"""The model card of an exported network: what is known of it, and what is not."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras import runtime, wording
from hiercam_keras.data import crops, splits
from hiercam_keras.metrics import resampling
from hiercam_keras.modes import titles
from hiercam_keras.modes.eval import resampled
from hiercam_keras.modes.load import RunData
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run

SCHEMA_VERSION = 1
NOT_STATED = "not stated"
_CREDITS = 1000  # different ones that are listed
_VERSIONS = (
    *("hiercam_keras", "python", "keras", "jax", "onnx", "onnxruntime", "jax2onnx"),
    *("numpy", "pillow"),
)


def describe(
    run: Run, config: Any, network: Network, data: RunData | None, pictures: str
) -> dict[str, Any]:
    """What is known without a measurement.

    Args:
      run: of the network.
      config: of the run, with what the command line changes.
      network: of the run.
      data: the run with its images; None where photographs were named.
      pictures: those of the export, in words.
    """
    taxonomy = network.taxonomy
    asked = [rank for rank in taxonomy.ranks if network.answers(rank)]
    source = getattr(taxonomy, "source", None)
    return {
        "schema_version": SCHEMA_VERSION,
        "title": titles.of_network(
            titles.of_data(run.data_name, run.data_dir),
            config.data.get("noun", ""),
            network.ranks,
        ),
        "date": time.strftime("%Y-%m-%d"),
        "ranks": asked,
        "heads": list(network.ranks),
        "taxa": {rank: taxonomy.num_labels(rank) for rank in asked},
        "taxonomy": NOT_STATED if source is None else str(source),
        "taxonomy_source": None if source is None else source.to_json(),
        "network": _network(run, config),
        "data": _data(run, config, data, pictures),
        "licence": {"weights": _licence(run)},
        "attributions": _attributions(run, data),
        "versions": _versions(),
    }


def _network(run: Run, config: Any) -> dict[str, Any]:
    if run.imported:
        about = run.record["imported"]
        source = about.get("source") or {}
        name = source.get("name") or about["model"].rsplit("/", 1)[-1]
        package = " ".join(filter(None, (source.get("package"), source.get("version"))))
        origin = f"from {package}" if package else "trained elsewhere"
        return {"backbone": name, "origin": origin}
    begun = run.record.get("weights") or config.model.weights
    begun = begun.rsplit("/", 1)[-1]  # a path is of no use elsewhere
    return {
        "backbone": config.model.backbone,
        "origin": f"trained for {wording.count(config.train.epochs, 'epoch')} from the "
        f"weights '{begun}'"
        if begun != "none"
        else f"trained for {wording.count(config.train.epochs, 'epoch')} from scratch",
    }


def _data(run: Run, config: Any, data: RunData | None, pictures: str) -> dict[str, Any]:
    cropped = bool((config.get("detections") or {}).get("file", ""))
    found: dict[str, Any] = {
        "name": run.data_name,
        "noun": config.data.get("noun") or "object",
        "crops": crops.Options.of(config.detections).convention if cropped else "",
    }
    if run.imported:
        unknown = "What the network was trained on is not known."
        return {**found, "name": pictures, "split": None, "training": unknown}
    parts = (
        _counts(data.split)
        if data is not None
        else _counts(splits.load(run.path / "split"))
    )
    return {
        **found,
        "split": parts,
        "training": "The network was trained on the part train"
        + (", and val could choose the epoch." if parts.get("val") else "."),
    }


def _counts(split: splits.Split) -> dict[str, int]:
    names = (*splits.NAMES, splits.CALIBRATION)
    counts = {name: len(getattr(split, name)) for name in names}
    return {name: count for name, count in counts.items() if count}


def _licence(run: Run) -> str:
    source = (run.record.get("imported") or {}).get("source") or {}
    return source.get("licence") or NOT_STATED


def _attributions(run: Run, data: RunData | None) -> list[dict[str, Any]]:
    """Author and licence of the pictures of the training, as far as they are stated."""
    if data is None or run.imported:
        return []
    credits = data.source.credits()
    train = data.training_records() or ()
    counts = Counter(
        credits[record.example_id] for record in train if record.example_id in credits
    )
    return [
        {"text": text, "pictures": count}
        for text, count in counts.most_common(_CREDITS)
    ]


def _versions() -> dict[str, str]:
    found = runtime.versions()
    return {name: found[name] for name in _VERSIONS if name in found}


def accuracy_rows(
    data: RunData, example_ids: Sequence[str], predicted: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Accuracy with its interval at each rank, as `eval` computes it.

    Args:
      data: the run with its images.
      example_ids: of N images.
      predicted: labels (N,) by rank.
    """
    records = {record.example_id: record for record in data.source.records}
    shown = [records[example_id] for example_id in example_ids]
    groups = resampled(data, example_ids)
    rows = []
    for rank, labels in predicted.items():
        truth = data.labels(shown, rank)
        hits = np.where(truth >= 0, labels == truth, np.nan)
        found = resampling.share(hits, groups)
        rows.append(
            {
                "rank": rank,
                "taxa": data.taxonomy.num_labels(rank),
                "pictures": found.n,
                "accuracy": _known(found.value),
                "low": _known(found.low),
                "high": _known(found.high),
                "groups": found.groups,
            }
        )
    return rows


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
