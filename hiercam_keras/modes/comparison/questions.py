"""Asks the models that are compared, and makes the maps that are missing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras.data.records import Record
from hiercam_keras.evaluation.question import PREDICTED, Question
from hiercam_keras.metrics.faithfulness.measure import Choices
from hiercam_keras.modes import belief, faithful
from hiercam_keras.modes.comparison.columns import Column
from hiercam_keras.modes.load import RunData, drawn
from hiercam_keras.modes.make_maps import make_maps, question_of
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network


def chosen_records(data: RunData, settings: Settings) -> list[Record]:
    """The pictures on which faithfulness is measured, the same for every model."""
    count = settings.config.compare.faithfulness_images
    return drawn(data.records(settings.split), count, settings.config.seed)


def ask(
    data: RunData,
    rank: str,
    settings: Settings,
    ranks: Sequence[str],
    order: Sequence[str],
    choices: Choices,
    chosen: Sequence[Record],
) -> list[Column]:
    """The columns of one run: its own rank, that by further methods
    (`config.compare.methods`), and the coarser ranks of the others.

    Args:
      data: the run with its images.
      rank: what this run is compared for.
      settings: the command's.
      ranks: of all runs that are compared.
      order: of the ranks of all runs, coarse to fine.
      choices: how faithfulness is measured.
      chosen: the pictures of which it is.
    """
    network = networks.load(data.run, data.config)
    scorer = network.scorer()
    own = rank if rank in data.run.ranks else network.finest
    plain = data.config.cam.method
    columns = []
    for question in _questions(network, data, rank, ranks, order, own, settings):
        one, method = question.rank, question.method
        logging.info("%s maps of %s, asked for %s", method, data.run.path, one)
        name = one if one == own else f"{own} asked for {one}"
        name += "" if method == plain else f", {method}"
        folder, _ = make_maps(network, data, settings.split, question)
        scores = {}
        if chosen:
            scores = faithful.measured(scorer, data, folder, chosen, choices)
        rows, words = {}, {}
        if one == own and method == plain:
            rows, words = _believed(network, data, settings.split)
        columns.append(
            Column(
                name=name,
                rank=one,
                method=method,
                depth=-order.index(one),
                asked_of=None if one == own else own,
                data=data,
                maps=folder,
                faithfulness=scores,
                has_steps=network.finest not in network.independent,
                believed=rows,
                believed_in_words=words,
            )
        )
    return columns


def _believed(
    network: Network, data: RunData, split: str
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Rows and words of the believed answers, by picture; empty without a rule."""
    rule = belief.rule_of(data.run, data.config.believe)
    if rule is None or network.finest in network.independent:
        return {}, {}
    with data.loader(split) as loader:
        found = network.predict(loader, "believed names")
    given, taxonomy = belief.answers(rule, network, found), network.taxonomy
    rows = belief.believed_rows(found.example_ids, given, rule, taxonomy)
    words = {
        example_id: belief.in_words(given, number, taxonomy)
        for number, example_id in enumerate(found.example_ids)
    }
    return {row[0]: row for row in rows}, words


def _questions(
    network: Network,
    data: RunData,
    rank: str,
    ranks: Sequence[str],
    order: Sequence[str],
    own: str,
    settings: Settings,
) -> list[Question]:
    """The question of each column of a run."""
    asked = [question_of(PREDICTED, rank, data)]
    if rank == own:
        others = dict.fromkeys(settings.config.compare.methods)
        others.pop(asked[0].method, None)
        asked += [replace(asked[0], method=method) for method in others]
    if rank == max(ranks, key=order.index) and rank in data.run.ranks:
        asked += [
            question_of(PREDICTED, one, data)
            for one in dict.fromkeys(ranks)
            if order.index(one) < order.index(rank)
            and one not in data.run.ranks
            and network.answers(one)
        ]
    return asked


def unique(columns: list[Column]) -> list[Column]:
    """Drops repeated columns; one question to several runs gets the runs' names."""
    columns = list({(column.name, column.maps): column for column in columns}.values())
    times = Counter(column.name for column in columns)
    repeated = [column for column in columns if times[column.name] > 1]
    names = short_paths([Path(column.data.run.path) for column in repeated])
    return [
        replace(column, name=f"{column.name} ({names[Path(column.data.run.path)]})")
        if times[column.name] > 1
        else column
        for column in columns
    ]


def short_paths(paths: Sequence[Path]) -> dict[Path, str]:
    """Names of paths: the part in which they differ, without what all begin and end
    with. A single path is its own name."""
    several = list(dict.fromkeys(paths))
    parts = [path.parts for path in several]
    if len(several) < 2:
        return {path: str(path) for path in several}
    first = _num_shared(parts)
    last = _num_shared([part[first:][::-1] for part in parts])
    return {
        path: str(Path(*part[first : len(part) - last]))
        for path, part in zip(several, parts, strict=True)
    }


def _num_shared(parts: Sequence[tuple[str, ...]]) -> int:
    """How many first parts are shared by all, which keep at least one of their own."""
    most = min(map(len, parts)) - 1
    same = [len(set(column)) == 1 for column in zip(*parts, strict=False)]
    return min([*(k for k, one in enumerate(same) if not one), most])
