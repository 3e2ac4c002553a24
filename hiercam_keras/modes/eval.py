"""--mode=eval: writes tables of accuracy at the trained rank and all coarser ranks."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import file_names, runtime, tables, wording
from hiercam_keras.metrics import classification, clusters, hierarchy, resampling
from hiercam_keras.modes import (
    belief,
    detected,
    eval_belief,
    eval_calibration,
    eval_hierarchy,
    predict,
)
from hiercam_keras.modes.load import RunData, find_runs, open_run
from hiercam_keras.modes.multi_rank import write_paths
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import confusion
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.training.predict import Predictions

HEADER = (
    "rank",
    "taxa",
    "images",
    "accuracy",
    "low",
    "high",
    "chance",
    "top5",
    "groups",  # number of taxa of the finest rank, or of groups, that are resampled
)


def run(settings: Settings) -> str:
    """Writes eval/<split>/*.csv of a run and returns the table of accuracies."""
    (this,) = find_runs(settings, [settings.rank])
    data = open_run(settings, this)
    devices = settings.config.distribution.devices
    runtime.start(data.config.seed, data.config.model.dtype, devices)
    network = networks.load(this, data.config)
    lost = data.unknown(data.records(settings.split), _answered(network))
    data.check_known(settings.split, tuple(lost))
    with data.loader(settings.split) as loader:
        found = network.predict(loader, f"eval {settings.split}")
    fitted = None
    if settings.split != "val" and data.has_images("val"):
        with data.loader("val") as loader:
            fitted = network.predict(loader, "eval val")
    folder = Path(settings.out or this.results / "eval" / settings.split)
    rows = write_tables(folder, data, found, network)
    write_paths(folder / "paths.csv", found.logits, found.labels, data.taxonomy)
    tree, trust = write_trust(folder, network, found, fitted)
    rule = belief.rule_of(this, data.config.believe)
    if network.finest in network.independent:
        rule = None
    believed = []
    if rule is not None:
        records = {one.example_id: one for one in data.source.records}
        shown = [records[example_id] for example_id in found.example_ids]
        truth = belief.true_labels(shown, data.truth, [row[0] for row in rows])
        believed = eval_belief.write(
            folder, rule, network, found, truth, resampled(data, found.example_ids)
        )
    asked = data.in_words(settings.split)
    told = data.unanswerable(
        data.records(settings.split),
        [row[0] for row in rows],
        f"{settings.split} image" if "split" in asked else "image",
    )
    if data.may_lack_taxa:
        write_unknown(folder / "unknown.csv", lost)
    lines = [
        f"{this.path}, {asked.removeprefix('the ')}, 95 % intervals",
        tables.format_table(HEADER, [_shown(row) for row in rows]),
        *filter(None, [told, one_answer(found, data.taxonomy, this.imported)]),
        *filter(None, [predict.masked_sentence(found).strip()]),
        "",
    ]
    if trust:
        lines.append(tables.format_table(eval_calibration.HEADER, trust))
        told = (
            eval_calibration.few_sentence(trust),
            eval_calibration.limit_sentence(trust),
        )
        lines += filter(None, told)
    else:
        lines.append("no calibration: the labels are independent sigmoids")
    if len(rows) > 1:
        whole, total = tree["whole_lineages"], len(found.example_ids)
        of = f" (of {wording.count(whole, 'image')})" if whole < total else ""
        lines.append(
            f"answers on one path of the tree: {tree['path_consistency']:.3f}, right "
            f"at every rank: {_number(tree['full_path_accuracy'])}{of}"
        )
    if rule is not None:
        lines += eval_belief.sentences(believed, rule, found.example_ids)
    lines.append(f"tables: {folder}")
    return "\n".join(lines)


def _answered(network: Network) -> tuple[str, ...]:
    """Ranks that the network predicts and that have several taxa, coarse to fine."""
    taxonomy = network.taxonomy
    asked = [rank for rank in taxonomy.ranks if network.answers(rank)]
    return tuple(rank for rank in asked if taxonomy.num_labels(rank) > 1)


def _shown(row: list[Any]) -> list[Any]:
    """A row of HEADER for display.

    An imported network has no known training data, so its chance level is "unknown".
    """
    place = HEADER.index("chance")
    chance = "unknown" if math.isnan(row[place]) else row[place]
    return [*row[:place], chance, *row[place + 1 :]]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def write_unknown(path: Path, lost: Mapping[str, Mapping[str, int]]) -> None:
    """Writes unknown.csv: number of images by taxon that the network does not know.

    Args:
      path: of the file.
      lost: images by taxon, by rank.
    """
    rows = [[rank, *one] for rank, names in lost.items() for one in names.items()]
    tables.write_csv(path, ("rank", "taxon", "images"), rows)


def one_answer(found: Predictions, taxonomy: Any, imported: bool = False) -> str:
    """A warning if all images have the same prediction at a rank; "" otherwise.

    Args:
      found: predictions of the model.
      taxonomy: of the model.
      imported: whether the network was imported, which changes the advice.
    """
    told = []
    for rank, logits in found.logits.items():
        answers = np.unique(logits.argmax(-1))
        if len(answers) == 1 and len(logits) > 1:
            told.append(f"{taxonomy.names(rank)[answers[0]]} ({rank})")
    if not told:
        return ""
    advice = "train it longer or on more images."
    if imported:
        advice = "does it take other pixels (--config.model.preprocessing, at import)?"
    return (
        f"All images get one answer: {', '.join(told)}. A model that does not tell "
        f"images apart has maps that mean little: {advice}"
    )


def write_tables(
    folder: Path, data: RunData, found: Predictions, network: Network
) -> list[list[Any]]:
    """Writes accuracy.csv, predictions.csv, mistakes.csv and confusions by rank.

    Images with a true taxon that the network does not know at a rank occur only in
    predictions.csv.

    Returns:
      Rows of `HEADER`, one for each rank that the model predicts, coarse to fine.
    """
    taxonomy, rows = data.taxonomy, []
    groups = resampled(data, found.example_ids)
    columns = {"example_id": found.example_ids}
    if any(of_group := group_names(data, found.example_ids)):
        columns["group"] = of_group
    for rank, logits in network.scores(found.logits).items():
        truth, predicted = found.labels[rank], logits.argmax(-1)
        before = data.training_labels(rank)
        rows.append(_accuracy_row(rank, logits, truth, groups, before, taxonomy))
        names = np.array([*taxonomy.names(rank), ""], object)
        columns[f"true_{rank}"] = names[truth]
        columns[f"predicted_{rank}"] = names[predicted]
        probability = network.probabilities(rank, logits)
        columns[f"probability_{rank}"] = probability.max(-1)
        known = truth >= 0
        if known.any():
            _write_rank(folder, rank, truth[known], predicted[known], taxonomy)
    if found.masked is not None:
        columns[predict.MASKED] = found.masked
    tables.write_csv(folder / "accuracy.csv", HEADER, rows)
    cells = list(zip(*columns.values(), strict=True))
    table = detected.with_boxes(tuple(columns), cells, data.source.records)
    tables.write_csv(folder / "predictions.csv", *table)
    _write_mistakes(folder / "mistakes.csv", found, taxonomy)
    return rows


def resampled(data: RunData, example_ids: Sequence[str]) -> np.ndarray:
    """(N,): what intervals of these images resample, see `clusters.independent`."""
    taxa = {one.example_id: one.lineage.taxa for one in data.source.records}
    names = np.array(["/".join(taxa[example_id]) for example_id in example_ids])
    groups = np.array(group_names(data, example_ids))
    return clusters.independent(names, groups)


def group_names(data: RunData, example_ids: Sequence[str]) -> list[str]:
    """The group of each image; "" for one in none."""
    groups = {one.example_id: one.group or "" for one in data.source.records}
    return [groups[example_id] for example_id in example_ids]


def write_trust(
    folder: Path, network: Network, found: Predictions, fitted: Predictions | None
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Writes the files of `eval_hierarchy` and `eval_calibration`.

    Args:
      folder: of the files.
      network: of the run.
      found: predictions for the reported split.
      fitted: predictions for the validation split, to fit temperatures; None for no
        temperatures.

    Returns:
      The result of `eval_hierarchy.write`, and the rows of `eval_calibration.write`,
      which are empty if all heads are independent sigmoids.
    """
    scores = network.scores(found.logits)
    tree = eval_hierarchy.write(folder, scores, found.labels, network.taxonomy)
    exclusive = [
        rank
        for rank in scores
        if rank not in network.independent and (found.labels[rank] >= 0).any()
    ]
    if not exclusive:
        return tree, []
    measured = _known({rank: scores[rank] for rank in exclusive}, found.labels)
    val = (None, None)
    if fitted is not None:
        val = _known(network.scores(fitted.logits), fitted.labels)
    return tree, eval_calibration.write(folder, *measured, *val)


def _known(
    scores: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores and labels, by rank, of the images with a known true taxon."""
    known = {rank: labels[rank] >= 0 for rank in scores}
    return (
        {rank: found[known[rank]] for rank, found in scores.items()},
        {rank: labels[rank][known[rank]] for rank in scores},
    )


def _accuracy_row(
    rank: str,
    logits: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    before: np.ndarray | None,
    taxonomy: Any,
) -> list[Any]:
    count, known = taxonomy.num_labels(rank), truth >= 0
    hits = np.where(known, logits.argmax(-1) == truth, np.nan)
    right = resampling.share(hits, groups)
    chance = float("nan")
    if before is not None:
        chance = classification.majority_chance(before, truth, count)
    k = min(5, count)
    top5 = classification.top_k_accuracy(logits[known], truth[known], k)
    accuracy = (right.value, right.low, right.high)
    return [rank, count, right.n, *accuracy, chance, top5, right.groups]


def _write_rank(
    folder: Path, rank: str, truth: np.ndarray, predicted: np.ndarray, taxonomy: Any
) -> None:
    """Writes confusion_<rank>.csv, confusion_<rank>.png and taxa_<rank>.csv."""
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
    """Writes the severity of each head's mistakes: ranks up to the common ancestor."""
    rows = []
    scores, labels = _known(found.logits, found.labels)
    for rank, logits in scores.items():
        truth = labels[rank]
        severity = hierarchy.mistake_severity(truth, logits.argmax(-1), taxonomy, rank)
        k = min(5, logits.shape[-1])
        at_5 = hierarchy.lca_distance_at_k(logits, truth, taxonomy, rank, k)
        mistakes = int((logits.argmax(-1) != truth).sum())
        rows.append([rank, severity, _mean(at_5), len(truth), mistakes])
    header = ("rank", "mistake_severity", "lca_distance_at_5", "images", "mistakes")
    tables.write_csv(path, header, rows)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
