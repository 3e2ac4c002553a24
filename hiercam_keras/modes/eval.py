"""--mode=eval: accuracy at the trained rank and every coarser one, as tables."""

from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import file_names, runtime, tables
from hiercam_keras.metrics import classification, hierarchy, resampling
from hiercam_keras.models import files
from hiercam_keras.modes import eval_calibration, eval_hierarchy, unseen
from hiercam_keras.modes.load import RunData, find_runs, open_run
from hiercam_keras.modes.multi_rank import write_paths
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import confusion
from hiercam_keras.taxonomy.scores import rank_scores, softmax
from hiercam_keras.training.predict import Predictions, predict_logits

HEADER = (
    "rank",
    "taxa",
    "images",
    "accuracy",
    "low",
    "high",
    "chance",
    "top5",
    "groups",  # taxa of the finest rank, which the interval resamples
)


def run(settings: Settings) -> str:
    """Writes eval/<split>/*.csv of a run and returns the table of accuracies."""
    (this,) = find_runs(settings, [settings.rank])
    data = open_run(settings, this)
    devices = settings.config.distribution.devices
    runtime.start(data.config.seed, data.config.model.dtype, devices)
    model, _ = files.load_model(this.model_path, data.config.model.fast_layers)
    with data.loader(settings.split) as loader:
        found = predict_logits(model, loader, this.ranks, f"eval {settings.split}")
    fitted = None
    if settings.split != "val" and data.has_images("val"):
        with data.loader("val") as loader:
            fitted = predict_logits(model, loader, this.ranks, "eval val")
    folder = Path(settings.out or this.path / "eval" / settings.split)
    rows = write_tables(folder, data, found)
    write_paths(folder / "paths.csv", found.logits, found.labels, data.taxonomy)
    tree, trust = write_trust(folder, data.taxonomy, found, fitted)
    told = unseen.of_split(
        data.records("train"),
        data.records(settings.split),
        [row[0] for row in rows],
        data.taxonomy,
        f"{settings.split} image",
    )
    lines = [
        f"{this.path}, {settings.split} split, 95 % intervals",
        tables.format_table(HEADER, rows),
        *filter(None, [told, one_answer(found, data.taxonomy)]),
        "",
        tables.format_table(eval_calibration.HEADER, trust),
        *filter(None, [eval_calibration.limit_sentence(trust)]),
    ]
    if len(rows) > 1:
        lines.append(
            f"answers on one path of the tree: {tree['path_consistency']:.3f}, right "
            f"at every rank: {tree['full_path_accuracy']:.3f}"
        )
    lines.append(f"tables: {folder}")
    return "\n".join(lines)


def one_answer(found: Predictions, taxonomy: Any) -> str:
    """Says that a model has not learned to tell images apart; "" where it has."""
    told = []
    for rank, logits in found.logits.items():
        answers = np.unique(logits.argmax(-1))
        if len(answers) == 1 and len(logits) > 1:
            told.append(f"{taxonomy.names(rank)[answers[0]]} ({rank})")
    if not told:
        return ""
    return (
        f"All images get one answer: {', '.join(told)}. A model that does not tell "
        "images apart has maps that mean little: train it longer or on more images."
    )


def write_tables(folder: Path, data: RunData, found: Predictions) -> list[list[Any]]:
    """Writes accuracy.csv, predictions.csv, mistakes.csv and a confusion per rank.

    Returns:
      Rows of `HEADER`, one for each rank that the model can answer, coarse to fine.
    """
    taxonomy, rows = data.taxonomy, []
    groups = found.labels[max(found.labels, key=taxonomy.ranks.index)]
    train = data.split.select(data.source.records, "train")[0]
    columns = {"example_id": found.example_ids}
    for rank, logits in rank_scores(found.logits, taxonomy).items():
        truth, predicted = found.labels[rank], logits.argmax(-1)
        rows.append(_accuracy_row(rank, logits, truth, groups, train, taxonomy))
        names = np.array(taxonomy.names(rank), object)
        columns[f"true_{rank}"] = names[truth]
        columns[f"predicted_{rank}"] = names[predicted]
        columns[f"probability_{rank}"] = softmax(logits).max(-1)
        _write_rank(folder, rank, truth, predicted, taxonomy)
    tables.write_csv(folder / "accuracy.csv", HEADER, rows)
    cells = list(zip(*columns.values(), strict=True))
    tables.write_csv(folder / "predictions.csv", tuple(columns), cells)
    _write_mistakes(folder / "mistakes.csv", found, taxonomy)
    return rows


def write_trust(
    folder: Path, taxonomy: Any, found: Predictions, fitted: Predictions | None
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Writes what `eval_hierarchy` and `eval_calibration` write.

    Args:
      folder: where.
      taxonomy: of the run.
      found: of the split that is reported.
      fitted: of the validation split, for temperatures; None: none.

    Returns:
      Figures of the hierarchy and rows of the calibration.
    """
    scores = rank_scores(found.logits, taxonomy)
    tree = eval_hierarchy.write(folder, scores, found.labels, taxonomy)
    val = (None, None)
    if fitted is not None:
        val = rank_scores(fitted.logits, taxonomy), fitted.labels
    return tree, eval_calibration.write(folder, scores, found.labels, *val)


def _accuracy_row(
    rank: str,
    logits: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    train: list,
    taxonomy: Any,
) -> list[Any]:
    count = taxonomy.num_labels(rank)
    right = resampling.share(logits.argmax(-1) == truth, groups)
    before = taxonomy.labels([record.lineage for record in train], rank)
    chance = classification.majority_chance(before, truth, count)
    top5 = classification.top_k_accuracy(logits, truth, min(5, count))
    accuracy = (right.value, right.low, right.high)
    return [rank, count, right.n, *accuracy, chance, top5, right.groups]


def _write_rank(
    folder: Path, rank: str, truth: np.ndarray, predicted: np.ndarray, taxonomy: Any
) -> None:
    """confusion_<rank>.csv (.png) and taxa_<rank>.csv."""
    names = taxonomy.names(rank)
    matrix = classification.confusion(truth, predicted, len(names))
    cells = zip(matrix.true, matrix.predicted, matrix.count, strict=True)
    rows = [[names[true], names[guess], int(count)] for true, guess, count in cells]
    tables.write_csv(
        folder / file_names.file_name(f"confusion_{rank}", ".csv"),
        ("true", "predicted", "images"),
        rows,
    )
    per_taxon = classification.per_taxon(matrix)
    cells = zip(names, *per_taxon.values(), strict=True)
    header = ("taxon", *per_taxon)
    path = folder / file_names.file_name(f"taxa_{rank}", ".csv")
    tables.write_csv(path, header, [list(row) for row in cells])
    parents = None
    at = taxonomy.ranks.index(rank)
    if at and taxonomy.num_labels(taxonomy.ranks[at - 1]) > 1:
        coarse = taxonomy.ranks[at - 1]
        parents = np.array(taxonomy.names(coarse))[taxonomy.parents(rank, coarse)]
    confusion.save_confusion(
        folder / file_names.file_name(f"confusion_{rank}", ".png"),
        matrix.dense(),
        names,
        parents,
        rank,
    )


def _write_mistakes(path: Path, found: Predictions, taxonomy: Any) -> None:
    """How far off the mistakes of each head are, in ranks up to the shared taxon."""
    rows = []
    for rank, logits in found.logits.items():
        truth = found.labels[rank]
        severity = hierarchy.mistake_severity(truth, logits.argmax(-1), taxonomy, rank)
        k = min(5, logits.shape[-1])
        at_5 = hierarchy.lca_distance_at_k(logits, truth, taxonomy, rank, k)
        mistakes = int((logits.argmax(-1) != truth).sum())
        rows.append([rank, severity, float(np.mean(at_5)), len(truth), mistakes])
    header = ("rank", "mistake_severity", "lca_distance_at_5", "images", "mistakes")
    tables.write_csv(path, header, rows)
