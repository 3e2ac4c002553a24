"""--mode=curves: how well each rank is learned at equal epochs, properly compared.

A model of each rank, several seeds, one split; beside them the species model rolled up
to the coarser ranks, and one model with a head for each rank.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hiercam_keras.experiments import accuracy, figures, page, pieces, runs, views
from hiercam_keras.experiments.evidence import by_model
from hiercam_keras.experiments.looks import Looks
from hiercam_keras.experiments.pieces import Piece
from hiercam_keras.experiments.seen import Pool, Seen, paired
from hiercam_keras.experiments.tables import Table, joined, told
from hiercam_keras.metrics import hierarchy, resampling
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import curves as learning
from hiercam_keras.report.tables import read_log
from hiercam_keras.taxonomy.tree import Taxonomy

INTRO = (
    "Is family learned better than species, or is it only easier to guess? Models of "
    "every rank are trained for equal epochs on one split. The sentences in bold are "
    "made from the intervals of their table."
)


def run(settings: Settings) -> str:
    """Trains what is missing and writes CURVES.md."""
    config = settings.config.curves
    condition, words = next(iter(pieces.conditions(settings).items()))
    heads = [(rank,) for rank in config.ranks]
    multi = tuple(config.ranks) if config.multi_rank and len(heads) > 1 else None
    wanted = pieces.every(settings, heads, config.seeds, [condition])
    if multi:
        heads.append(multi)
        seeds = tuple(config.multi_seeds) or config.seeds
        wanted += pieces.every(settings, [multi], seeds, [condition])
    done = runs.train_missing(wanted, settings)
    seen = [
        Seen(piece, views.look_at(piece, run_, settings)[0])
        for piece, run_ in zip(wanted, done, strict=True)
    ]
    data = views.opened(done[0], settings)
    order = data.taxonomy.ranks.index
    heads.sort(key=lambda ranks: (len(ranks), order(ranks[0])))
    models = by_model(seen, {condition: words}, heads)
    labels, counts = views.train_labels(data)
    found = [accuracy.accuracy_table(models, labels, counts)]
    if len(config.ranks) > 1:
        found.append(
            routes_table(seen, sorted(config.ranks, key=order), multi, data.taxonomy)
        )
    out = Path(settings.out or Path(settings.config.runs_dir) / settings.config.name)
    folder = out / "curves"
    figures.save(folder / "curves.png", curves_png(wanted, found[0]))
    for name, png in figures.curves({one.name: one for one in found}).items():
        figures.save(folder / name, png)
    about = page.about(
        settings, wanted, "python main.py --mode=curves", len(seen[0].looks.group)
    )
    intro = f"{INTRO}\n\n![Learning curves](curves/curves.png)"
    page.write(out / "CURVES.md", "Learning curves by rank", intro, found, about)
    return "\n".join(
        [*(f"{one.title}: {one.answer}" for one in found), f"page: {out / 'CURVES.md'}"]
    )


def curves_png(wanted: Sequence[Piece], table: Table) -> bytes:
    """Learning curves of the models, means over the seeds."""
    logs: dict[str, list[dict]] = {}
    for piece in wanted:
        if len(piece.ranks) == 1:
            logs.setdefault(piece.name, []).append(read_log(piece.path / "log.csv"))
    chance = {row[0]: row[4] for row in table.rows if row[2] == row[0]}
    return learning.learning_curves_png(
        {name: mean_log(several) for name, several in logs.items()},
        chance,
        "One model a rank, mean over the seeds",
    )


def mean_log(logs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Columns that all logs have, averaged over the epochs that all have."""
    names = [name for name in logs[0] if all(name in log for log in logs)]
    epochs = min(len(log["epoch"]) for log in logs)
    return {
        name: np.mean([log[name][:epochs] for log in logs], axis=0).tolist()
        for name in names
    }


def routes_table(
    seen: Sequence[Seen],
    ranks: Sequence[str],
    multi: tuple[str, ...] | None,
    taxonomy: Taxonomy,
) -> Table:
    """Four ways to an answer at every rank, on the same images.

    Args:
      seen: pieces of one condition.
      ranks: coarse to fine.
      multi: ranks of the multi-rank model, None without one.
      taxonomy: of the labels.
    """
    routes = {"a model of each rank": [_of(seen, (rank,)) for rank in ranks]}
    routes[f"{ranks[-1]} model, rolled up"] = [_of(seen, (ranks[-1],))] * len(ranks)
    rolled = [False, True]
    if multi:
        routes["one model, a head of each rank"] = [_of(seen, multi)] * len(ranks)
        routes["the same, its finest head rolled up"] = [_of(seen, multi)] * len(ranks)
        rolled += [False, True]
    rows, answers = [], []
    base = routes["a model of each rank"]
    for (name, models), roll in zip(routes.items(), rolled, strict=True):
        cells = []
        for rank, model in zip(ranks, models, strict=True):
            cells.append(_right(model, rank, roll))
        consistent, path = _paths(models, ranks, roll, taxonomy)
        rows.append((name, *cells, consistent, path))
        if name in ("a model of each rank",):
            continue
        better, worse = [], []
        for rank, model, own in zip(ranks, models, base, strict=True):
            gap = _gap(model, own, rank, roll)
            if gap.verdict:
                (better if gap.verdict > 0 else worse).append(told(gap, rank, rank, ""))
        words = [
            f"{verb} {joined(names)}"
            for verb, names in (("better at", better), ("worse at", worse))
            if names
        ]
        answers.append(
            f"{name}, against a model of each rank: "
            + (", ".join(words) or "not told apart at any rank")
        )
    return Table(
        name="routes",
        title="Single-rank, rolled-up and multi-rank models",
        claim="Does one model for all ranks, or the finest model rolled up, answer as "
        "well as a model of each rank?",
        header=("answers by", *ranks, "on one path", "all ranks right"),
        rows=rows,
        answer=". ".join(one[:1].upper() + one[1:] for one in answers) + ".",
        note="Accuracy at each rank; the share of images whose answers at all these "
        "ranks lie on one path of the tree; and the share where all are right. "
        "Brackets: 95 % intervals, species and seeds resampled; the sentences pair "
        "images and the seeds that both have.",
        figure="curves/routes.png",
    )


def _of(seen: Sequence[Seen], ranks: tuple[str, ...]) -> list[Seen]:
    return [one for one in seen if one.piece.ranks == ranks]


def _said(looks: Looks, rank: str, rolled: bool) -> np.ndarray:
    chosen = looks.rolled if rolled else looks.predicted
    return chosen[:, looks.rank_at(rank)]


def _right(model: Sequence[Seen], rank: str, rolled: bool) -> resampling.Estimate:
    pool = Pool(model)
    name = "rolled" if rolled else "predicted"
    return pool.mean(pool.of_rank(name, rank) == pool.of_rank("true", rank))


def _gap(
    first: Sequence[Seen], second: Sequence[Seen], rank: str, rolled: bool
) -> resampling.Estimate:
    """Accuracy of a route at a rank minus that of the rank's own model."""

    def value(one: Looks, two: Looks) -> np.ndarray:
        true = one.true[:, one.rank_at(rank)]
        right = _said(one, rank, rolled) == true
        return right.astype(float) - (_said(two, rank, False) == true)

    return paired([first, second], value)


def _paths(
    models: Sequence[Sequence[Seen]],
    ranks: Sequence[str],
    rolled: bool,
    taxonomy: Taxonomy,
) -> tuple[resampling.Estimate, resampling.Estimate]:
    """Shares of images with answers on one path, and with all answers right."""

    def consistent(*several: Looks) -> np.ndarray:
        said = {
            rank: _said(looks, rank, rolled)
            for rank, looks in zip(ranks, several, strict=True)
        }
        return hierarchy.path_consistency(said, taxonomy)

    def right(*several: Looks) -> np.ndarray:
        return np.all(
            [
                _said(looks, rank, rolled) == looks.true[:, looks.rank_at(rank)]
                for rank, looks in zip(ranks, several, strict=True)
            ],
            axis=0,
        )

    return paired(models, consistent), paired(models, right)
