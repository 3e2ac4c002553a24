"""Common names of the images' data for the taxa of a network."""

from dataclasses import replace
from typing import Any

from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy import common_names


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
    return replace(run, common_names=names)
