"""Each coarser rank against the finest one, each answered by its own model.

"Family trains better than species": compares the family model's accuracy at family with
the species model's at species, together with chance-corrected figures.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments import accuracy
from hiercam_keras.experiments.evidence import Models
from hiercam_keras.experiments.pooling import MeasuredRun, matched, paired
from hiercam_keras.experiments.results import ORIGINAL, Result, verdict
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.resampling import Estimate


def gaps_table(
    models: Models,
    train_labels: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
    order: Sequence[str],
) -> Result:
    """Each coarser single-rank model minus the finest one.

    Args:
      models: all on the same images.
      train_labels: rank -> labels of the training images.
      counts: rank -> number of taxa.
      order: ranks, coarse to fine.
    """
    rows, answers = [], []
    single = [
        (ranks[0], words, measured)
        for ranks, words, measured in models
        if not ranks[1:]
    ]
    for words in dict.fromkeys(words for _, words, _ in single):
        here = sorted(
            ((rank, measured) for rank, own, measured in single if own == words),
            key=lambda pair: order.index(pair[0]),
        )
        if not here:
            continue
        finest, base = here[-1]
        for rank, measured in here[:-1]:
            found = differences(measured, base, (rank, finest), train_labels, counts)
            rows.append(
                (f"{rank} at {rank}, {finest} at {finest}", words, *found.values())
            )
            what = ", ".join(
                f"{name} "
                + verdict(one, "higher", "lower", "not significantly different")
                for name, one in found.items()
            )
            answers.append(f"{rank} against {finest}, {words}: {what}")
    return Result(
        name="gaps",
        title="Each rank by its own model, against the finest",
        source=ORIGINAL,
        claim="Family trains better than species: is the family model better at family "
        "than the species model is at species, once chance is taken out?",
        header=("first, second", "data", "accuracy", "kappa", "bits", "share of bits"),
        rows=rows,
        answer=". ".join(one[:1].upper() + one[1:] for one in answers) + "."
        if answers
        else "Nothing to compare: models of one rank only.",
        note="The first minus the second, on the same images. Kappa and bits are 0 for "
        "guessing by frequency; bits grow with the number of taxa, so their share of "
        "the largest possible value is given, too. Brackets: 95 % intervals, "
        "species and seeds resampled, pairing images and seeds.",
    )


def differences(
    first: Sequence[MeasuredRun],
    second: Sequence[MeasuredRun],
    ranks: tuple[str, str],
    train_labels: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
) -> dict[str, Estimate]:
    """The first model at its rank minus the second at its own, by figure.

    Args:
      first, second: trainings of each model.
      ranks: of the first and of the second.
      train_labels, counts: as for `gaps_table`.
    """
    pair = first, second
    most = [accuracy.most_bits(train_labels[r], counts[r]) for r in ranks]
    priors = [accuracy.log2_prior(train_labels[r], counts[r]) for r in ranks]
    return {
        "accuracy": _accuracy(*pair, ranks),
        "kappa": _kappa(*pair, ranks, counts),
        "bits over chance": _bits(*pair, ranks, priors, (1.0, 1.0)),
        "share of most bits": _bits(*pair, ranks, priors, most),
    }


def _accuracy(first, second, ranks) -> Estimate:
    def value(*tables: Table) -> np.ndarray:
        one, two = (
            table.right(f"asked-{rank}")
            for table, rank in zip(tables, ranks, strict=True)
        )
        return one.astype(float) - two

    return paired([first, second], value)


def _bits(first, second, ranks, priors, most) -> Estimate:
    """Bits over chance, each divided by its `most`."""

    def value(*tables: Table) -> np.ndarray:
        one, two = (
            accuracy.gained_bits(
                table.of("log2_true", f"asked-{rank}"),
                table.of("true", f"asked-{rank}"),
                prior,
            )
            / total
            for table, rank, prior, total in zip(
                tables, ranks, priors, most, strict=True
            )
        )
        return one - two

    return paired([first, second], value)


def _kappa(
    first: Sequence[MeasuredRun],
    second: Sequence[MeasuredRun],
    ranks: Sequence[str],
    counts: Mapping[str, int],
) -> Estimate:
    """Cohen's kappa: first model at its rank minus second model at its own."""
    answers, groups, seeds = [], [], []
    for seed, pair in matched([first, second]):
        said = [
            table.of(name, f"asked-{rank}")
            for table, rank in zip(pair, ranks, strict=True)
            for name in ("true", "predicted")
        ]
        answers.append(np.stack(said))
        groups.append(pair[0].clusters)
        seeds.append(np.full(len(pair[0]), seed))
    if not answers:
        return Estimate(float("nan"))
    said = np.concatenate(answers, axis=1)
    cells = np.concatenate(seeds), np.concatenate(groups)
    parts = [
        accuracy.kappa_sums(*said[2 * i : 2 * i + 2], *cells, counts[rank])
        for i, rank in enumerate(ranks)
    ]
    sums, (by_seed, by_group) = np.concatenate([p[0] for p in parts], 1), parts[0][1]
    width = parts[0][0].shape[1]

    def statistic(total: np.ndarray) -> np.ndarray:
        own, other = total[:, :width], total[:, width:]
        return accuracy.kappa_of(own) - accuracy.kappa_of(other)

    images = parts[0][0][:, 0]
    found = resampling.of_sums(sums, by_group, statistic, by_seed, weights=images)
    return dataclasses.replace(found, n=said.shape[1])
