"""Finds the runs that a command line asks for, with the answers that it allows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from absl import logging

from hiercam_keras import wording
from hiercam_keras.data import sources
from hiercam_keras.data.sources.common_names import Choice
from hiercam_keras.errors import UserError
from hiercam_keras.modes import data_names, taxonomies
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy import allowed
from hiercam_keras.taxonomy.ranks import check_rank


def data_name(settings: Settings) -> str | None:
    """Name of the data set that the command line asks for, None if it names none."""
    if settings.data_dir:
        return sources.data_name(settings.data_dir)
    named = settings.chosen_config or "name" in settings.overrides
    return settings.config.name if named else None


def find_runs(settings: Settings, wanted: Sequence[tuple[str, ...]]) -> list[Run]:
    """Finds finished runs; --workdir names one, else they are below config.runs_dir.

    Where no run was trained in --data_dir, the images of a run may have moved there.

    Raises:
      UserError: there is no such run, or that of --workdir knows none so fine a rank.
    """
    runs = _find_runs(settings, wanted)
    names = data_names.table_of(settings)
    return allow(settings.allowed_taxa, runs, settings.taxonomy, names)


def allow(
    asked: Any,
    runs: Sequence[Run],
    taxonomy: str | None = None,
    names: Choice | None = None,
) -> list[Run]:
    """The runs, with answers of some taxa alone, or under another taxonomy.

    Args:
      asked: the allowed taxa, see `taxonomy.allowed.read`; None for all.
      runs: to ask.
      taxonomy: table of names under which they are asked; None for their own.
      names: table of common names, of `data_names.table_of`; None for those that the
        runs have.
    """
    under = {
        run.path: data_names.with_table(taxonomies.asked_under(run, taxonomy), names)
        for run in runs
    }
    runs = [under[run.path] for run in runs]
    if asked is None:
        return list(runs)
    given = allowed.read(asked)
    found = {}
    for run in {run.path: run for run in runs}.values():
        whole = run.whole_taxonomy()
        former = taxonomies.former_names(run, given.taxa)
        taxa = given if former is None else given.with_former_names(whole, former)
        found[run.path] = taxa
        restriction = taxa.of(whole)
        restriction.check(max(run.ranks, key=whole.ranks.index))
        some = restriction.taxonomy
        logging.info(
            "--allowed_taxa=%s: %d of %s of %s may be answered",
            taxa.source,
            some.num_labels(some.finest),
            wording.count(whole.num_labels(whole.finest), whole.finest),
            run.path,
        )
    return [replace(run, allowed_taxa=found[run.path]) for run in runs]


def _find_runs(settings: Settings, wanted: Sequence[tuple[str, ...]]) -> list[Run]:
    if settings.workdir:
        run = run_folder.read_finished(settings.workdir)
        if settings.chosen_rank:
            ranks = [rank for ranks in wanted for rank in ranks]
            _check_answers(run, [rank for rank in ranks if rank != run_folder.ALL])
        return [run for _ in wanted]
    config = settings.config
    name = data_name(settings)
    present = run_folder.list_runs(config.runs_dir)
    if any(run.imported and run.data_name == config.name for run in present):
        name = config.name
    if settings.data_dir and name not in {run.data_name for run in present}:
        name = None
    runs = [run for run in present if name in (None, run.data_name)]
    wanted = _of_one_rank(settings, wanted, runs)
    return run_folder.find(config.runs_dir, wanted, config.seed, name)


def _of_one_rank(
    settings: Settings, wanted: Sequence[tuple[str, ...]], runs: Sequence[Run]
) -> Sequence[tuple[str, ...]]:
    """The runs that are wanted, where the data have ranks; else their only rank.

    Raises:
      UserError: the data of all runs have one rank, and another one is asked for.
    """
    asked = {rank for ranks in wanted for rank in ranks}
    if not runs or any(asked & set(run.ranks) for run in runs):
        return wanted
    known = {run.taxonomy().ranks for run in runs}
    if len(known) > 1 or len(rank := next(iter(known))) > 1:
        return wanted
    if not settings.chosen_rank and list(wanted) == [settings.rank]:
        logging.info("the data have one rank, which is used: --rank=%s", *rank)
        return [rank]
    use = f"Use --rank={rank[0]}"
    if len(wanted) > 1:
        use = "Two runs of one rank are compared with --runs=FOLDER,FOLDER"
    raise UserError(
        f"the data of {runs[0].path} have one rank, {rank[0]}, and none called "
        f"{', '.join(sorted(asked))}. {use}; for several ranks train on "
        "data with lineages (--config.data.lineages=taxa.csv for class folders)."
    )


def _check_answers(run: Run, ranks: Sequence[str]) -> None:
    known = run.taxonomy().ranks
    finest = max(known.index(rank) for rank in run.ranks)
    for rank in ranks:
        if known.index(check_rank(rank, known)) > finest:
            raise UserError(
                f"{run.path} {run.heads} and cannot answer "
                f"for {rank!r}. It can for {', '.join(known[: finest + 1])}."
            )
