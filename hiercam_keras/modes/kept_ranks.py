"""Images with the ranks that a run was trained with."""

from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras.data import sources
from hiercam_keras.errors import UserError


def with_ranks(
    source: Any,
    config: Any,
    data_dir: str | None,
    ranks: Sequence[str],
    read: Callable[[Any], Any],
) -> Any:
    """The images of a source, with the ranks of a run.

    Which columns of a table are ranks depends on its rows and on the version of this
    program (`taxonomy.rank_columns`), where `config.data.ranks` does not name them. The
    source is unchanged where its table lacks one of the ranks, which the caller
    reports.

    Args:
      source: as it was read.
      config: of the run.
      data_dir: of the images; None for those of the config.
      ranks: of the run's taxonomy.
      read: reads the images of a config.
    """
    first = next((one.lineage for one in source.records if one.lineage), None)
    kind = sources.kind_of(config.data, data_dir)
    chosen = kind == "csv_table" or config.data.get("lineages", "")
    named = config.data.get("ranks", ()) or config.data.get("taxonomy", "")
    if first is None or first.ranks == tuple(ranks) or named or not chosen:
        return source
    fixed = ConfigDict(config.to_dict())
    fixed.data.ranks = tuple(ranks)
    try:
        return read(FrozenConfigDict(fixed))
    except UserError:
        return source
