"""Tables on mistakes in the taxonomy tree and on the consistency of ranks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import tables, workdir
from hiercam_keras.metrics import hierarchy
from hiercam_keras.taxonomy.tree import Taxonomy

HEADER = (
    "rank",
    "accuracy",
    "mistake_severity",
    "lca_distance_at_1",
    "lca_distance_at_5",
    "best_lca_distance_at_5",
    "hierarchical_precision",
    "hierarchical_recall",
    "hierarchical_f1",
    "images",
    "mistakes",  # number of images averaged in mistake_severity
    "whole_lineages",  # images that hierarchical_* are of: their finest taxon is known
)


def write(
    folder: Path,
    answers: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """Writes hierarchy.csv, severity.csv and hierarchy.json.

    Args:
      folder: of the files.
      answers: scores (N, taxa) of the model by rank, coarse to fine.
      labels: true labels (N,) by rank, -1 for an image that is excluded at the rank.
      taxonomy: of the model.

    Returns:
      Content of hierarchy.json: a row for each rank; over all ranks, the share of
      images with predictions on a single path of the tree, and the share with correct
      predictions at every rank.
    """
    rows, counts = [], []
    finest = list(answers)[-1]
    for rank, scores in answers.items():
        known = labels[rank] >= 0
        if not known.any():
            continue
        truth, predicted = labels[rank][known], scores[known].argmax(-1)
        rows.append(_row(rank, scores, labels[rank], labels[finest], finest, taxonomy))
        by_height = hierarchy.severity_counts(truth, predicted, taxonomy, rank)
        counts += [[rank, height, int(n)] for height, n in enumerate(by_height)]
    tables.write_csv(folder / "hierarchy.csv", HEADER, rows)
    header = ("rank", "ranks_to_the_shared_taxon", "images")
    tables.write_csv(folder / "severity.csv", header, counts)
    predictions = {rank: scores.argmax(-1) for rank, scores in answers.items()}
    consistent = hierarchy.path_consistency(predictions, taxonomy)
    known = labels[finest] >= 0
    leaves = labels[finest][known]
    of_known = {rank: answers[known] for rank, answers in predictions.items()}
    right = hierarchy.full_path_correct(of_known, leaves, finest, taxonomy)
    union = hierarchy.hierarchical_precision_recall(leaves, finest, of_known, taxonomy)
    source = taxonomy.source
    about = {
        **({} if source is None else {"taxonomy": source.to_json()}),
        "ranks": [tables.json_row(dict(zip(HEADER, row, strict=True))) for row in rows],
        "path_consistency": float(consistent.mean()),
        "full_path_accuracy": float(right.mean()) if len(right) else None,
        "whole_lineages": len(right),
        "all_answers": tables.json_row(
            {f"hierarchical_{k}": v for k, v in union.items()}
        ),
    }
    workdir.write_json(folder / "hierarchy.json", about)
    return about


def _row(rank, scores, truth, finest_truth, finest, taxonomy) -> list[Any]:
    whole = finest_truth >= 0
    shares = hierarchy.hierarchical_precision_recall(
        finest_truth[whole], finest, {rank: scores[whole].argmax(-1)}, taxonomy
    )
    scores, truth = scores[truth >= 0], truth[truth >= 0]
    predicted = scores.argmax(-1)
    count = scores.shape[-1]
    k = min(5, count)
    distance = [
        float(hierarchy.lca_distance_at_k(scores, truth, taxonomy, rank, n).mean())
        for n in (1, k)
    ]
    best = hierarchy.best_lca_distance_at_k(truth, taxonomy, rank, k)
    return [
        rank,
        float((predicted == truth).mean()),
        hierarchy.mistake_severity(truth, predicted, taxonomy, rank),
        *distance,
        float(best.mean()),
        shares["precision"],
        shares["recall"],
        shares["f1"],
        len(truth),
        int((predicted != truth).sum()),
        int(whole.sum()),
    ]
