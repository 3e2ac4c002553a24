"""Accuracy of each model at each rank, corrected for chance.

147 families are easier to guess than 1,486 species, so accuracies at two ranks cannot
be compared directly. Cohen's kappa and the bits above chance can.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments.evidence import Models
from hiercam_keras.experiments.pooling import MeasuredRun, Pool, paired
from hiercam_keras.experiments.results import Result, number, verdict
from hiercam_keras.metrics import classification, resampling
from hiercam_keras.metrics.resampling import Estimate

# Lower bound on probabilities in logarithms: 20 bits.
_FLOOR = -20.0


def accuracy_gap(
    first: Sequence[MeasuredRun], second: Sequence[MeasuredRun], rank: str
) -> Estimate:
    """Accuracy at a rank: first model minus second, paired by image."""

    def value(*tables: Table) -> np.ndarray:
        one, two = (table.right(f"asked-{rank}") for table in tables)
        return one.astype(float) - two

    return paired([first, second], value)


def each_seed(measured: Sequence[MeasuredRun], rank: str) -> str:
    """The accuracy of each seed, as text."""
    shares = [one.table.right(f"asked-{rank}").mean() for one in measured]
    return ", ".join(f"{share:.3f}" for share in shares)


def kappa(pool: Pool, rank: str, num_labels: int) -> Estimate:
    """Cohen's kappa (1960, doi:10.1177/001316446002000104): (p - c) / (1 - c).

    p is the accuracy, and c the agreement of independent answers with the same
    frequencies of taxa.
    """
    question = f"asked-{rank}"
    true, predicted = pool.of("true", question), pool.of("predicted", question)
    sums, (seeds, groups) = kappa_sums(
        true, predicted, pool.seeds, pool.groups, num_labels
    )
    found = resampling.of_sums(sums, groups, kappa_of, seeds, weights=sums[:, 0])
    return dataclasses.replace(found, n=len(true))


def kappa_sums(
    true: np.ndarray,
    predicted: np.ndarray,
    seeds: np.ndarray,
    groups: np.ndarray,
    num_labels: int,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The summands of `kappa_of`, (cells, 2 + 2 labels), with each cell's seed and
    group, (cells,) each; all arguments are (N,).

    A cell is a group and seed: an indicator for every image would be too large.
    """
    names, group = np.unique(groups, return_inverse=True)
    cells, place = np.unique(np.stack([seeds, group]), axis=1, return_inverse=True)
    place = place.ravel()
    sums = np.zeros((cells.shape[1], 2 + 2 * num_labels))
    np.add.at(sums[:, 0], place, 1.0)
    np.add.at(sums[:, 1], place, true == predicted)
    np.add.at(sums, (place, 2 + true), 1.0)
    np.add.at(sums, (place, 2 + num_labels + predicted), 1.0)
    return sums, (cells[0], names[cells[1]])


def kappa_of(sums: np.ndarray) -> np.ndarray:
    """Sums (R, 2 + 2 labels) -> (R,)."""
    count = sums[:, 0]
    first, second = np.split(sums[:, 2:], 2, axis=1)
    chance = (first * second).sum(axis=1) / count**2
    return (sums[:, 1] / count - chance) / (1 - chance)


def bits(pool: Pool, rank: str, train_labels: np.ndarray, num_labels: int) -> Estimate:
    """Bits above chance: mean of log2 p(true) - log2 q(true), where p is the model's
    probability and q the taxon's share of the training images (plus one each).

    It is 0 for a model that predicts the training shares, at most their entropy (log2
    of the number of taxa if they are equally common), and negative for a model with
    confident wrong answers. Each image counts at least -20 bits.
    """
    prior, question = log2_prior(train_labels, num_labels), f"asked-{rank}"
    true = pool.of("true", question)
    return pool.mean(gained_bits(pool.of("log2_true", question), true, prior))


def log2_prior(train_labels: np.ndarray, num_labels: int) -> np.ndarray:
    """log2 of each taxon's share of the training images, plus one each: (labels,)."""
    counts = np.bincount(train_labels, minlength=num_labels) + 1.0
    return np.log2(counts / counts.sum())


def gained_bits(
    log2_true: np.ndarray, true: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """Bits above chance of each image, (N,)."""
    return np.maximum(log2_true - prior[true], _FLOOR)


def most_bits(train_labels: np.ndarray, num_labels: int) -> float:
    """Entropy of the taxa's shares: the bits of a model that is right and certain."""
    share = np.bincount(train_labels, minlength=num_labels) / len(train_labels)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def accuracy_table(
    models: Models, train_labels: Mapping[str, np.ndarray], counts: Mapping[str, int]
) -> Result:
    """Accuracy, kappa and bits of every model at every rank that it can answer.

    Args:
      models: all on the same images.
      train_labels: rank -> labels of the training images.
      counts: rank -> number of taxa.
    """
    rows = []
    for ranks, condition, measured in models:
        pool = Pool(measured)
        for rank in dict.fromkeys(measured[0].table.ranks):
            labels, count = train_labels[rank], counts[rank]
            rows.append(
                (
                    "+".join(ranks),
                    condition,
                    rank if rank in ranks else f"{rank} (rolled up)",
                    count,
                    classification.majority_chance(
                        labels, pool.of("true", f"asked-{rank}"), count
                    ),
                    pool.accuracy(rank),
                    each_seed(measured, rank),
                    kappa(pool, rank, count),
                    bits(pool, rank, labels, count),
                    most_bits(labels, count),
                )
            )
    return Result(
        name="accuracy",
        title="Accuracy",
        claim="At equal epochs the family model reaches a higher accuracy than the "
        "species model (0.67 against 0.56 after five epochs): is family learned "
        "better, or only easier to guess?",
        header=(
            "model",
            "data",
            "asked for",
            "taxa",
            "guessing",
            "accuracy",
            "each seed",
            "kappa",
            "bits",
            "most bits",
        ),
        rows=rows,
        answer=_answer(models),
        short=_short(models, counts),
        note="Guessing: always the commonest taxon of the training images. Kappa: "
        "Cohen's, 0 for guessing by frequency, 1 for no errors. Bits: mean of log2 "
        "of the true taxon's probability over its share of the training images, at "
        "least -20 for an image; 0 for a model that predicts these shares, at most the "
        "last column. Rolled up: the sum of the probabilities below each taxon. "
        "Brackets: 95 % intervals, species and seeds resampled.",
    )


def _short(models: Models, counts: Mapping[str, int]) -> str:
    """Accuracy and kappa of each model at its own rank."""
    found = []
    for ranks, condition, measured in models:
        if len(ranks) == 1:
            pool, (rank,) = Pool(measured), ranks
            right, beyond = pool.accuracy(rank), kappa(pool, rank, counts[rank])
            found.append(
                f"{rank} ({condition}) {number(right.value)}, {number(beyond.value)}"
            )
    return f"Accuracy and kappa at the trained rank: {'; '.join(found)}."


def _answer(models: Models) -> str:
    """Each model at its own rank against all other models that can answer there."""
    found = []
    for ranks, condition, measured in models:
        for others, same, rival in models:
            if len(ranks) > 1 or same != condition or others == ranks:
                continue
            if ranks[0] not in rival[0].table.ranks:
                continue
            name = f"the {'+'.join(others)} model"
            found.append(
                f"At {ranks[0]}, {condition}, the model trained at {ranks[0]} is "
                + verdict(
                    accuracy_gap(measured, rival, ranks[0]),
                    f"better than {name}",
                    f"worse than {name}",
                    f"not significantly different from {name}",
                )
            )
    if not found:
        return "Nothing to compare: only one model was trained."
    return ". ".join([*found, ""]).strip()
