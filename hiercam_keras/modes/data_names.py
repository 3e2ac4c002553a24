"""Common names of the images' data, or of a table, for the taxa of a network."""

from dataclasses import replace
from typing import Any

from hiercam_keras.data.sources import common_names as tables
from hiercam_keras.data.sources.common_names import Choice
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy import common_names


def table_of(settings: Settings) -> Choice | None:
    """The table of common names that a command line names; None for none."""
    if "data.common_names" not in settings.overrides:
        return None
    choice = Choice.of(settings.config.data)
    return None if choice.path is None else choice


def with_table(run: Run, choice: Choice | None) -> Run:
    """The run with the common names of a table of `table_of`.

    Raises:
      UserError: the table is missing or has no such columns.
    """
    if choice is None:
        return run
    named = tables.read(choice.path, choice.language)
    lineages = run.whole_taxonomy().lineages
    return replace(run, common_names=common_names.of_lineages(lineages, named))


def with_names(run: Run, source: Any) -> Run:
    """The run with the common names of a `data.sources.Source`, if it has any.

    Where the network has other ranks than the images, taxa are matched by whole name.
    """
    names = source.common_names
    if not names:
        return run
    taxonomy = run.whole_taxonomy()
    lineages = (one.lineage for one in source.records if one.lineage is not None)
    first = next(lineages, None)
    if first is not None and first.ranks != taxonomy.ranks:
        named = common_names.by_taxon(names, first.ranks)
        names = common_names.of_lineages(taxonomy.lineages, named)
    return replace(run, common_names={**run.common_names, **names})
