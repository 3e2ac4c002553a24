"""Images, and networks, under another taxonomy than that of their data set.

`config.data.taxonomy` translates the lineages of a data set before they are used.
`--taxonomy` asks a finished network under another taxonomy: the lineages of its outputs
and of the images are translated alike.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import tables, workdir
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.runs import inputs, run_folder
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy import name_table, partial, translation
from hiercam_keras.taxonomy.former_names import FormerNames
from hiercam_keras.taxonomy.labels import Labels
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.translation import Translation
from hiercam_keras.taxonomy.tree import Taxonomy

CHANGES = "taxonomy_changes.csv"


def of_source(source: Any, config: Any, ranks: Sequence[str] = ()) -> Any:
    """A `data.sources.Source` with lineages of `config.data.taxonomy`.

    It is unchanged where the config names no table.

    Args:
      source: as the data set has it.
      config: of the run.
      ranks: of the network; empty: those that the config names, or all of the table.

    Raises:
      UserError: the table cannot be read, or names no image.
    """
    named = config.data.get("taxonomy", "")
    if not named:
        return source
    ranks = ranks or tuple(config.data.get("taxonomy_ranks", ()))
    lineages = _lineages(source.records)
    names = [name_table.name_of(lineage) for lineage in lineages]
    table = name_table.read(named, names, ranks)
    found = translation.translate(lineages, table)
    found.check(str(source.root))
    found.log()
    source = translated(source, found)
    for line in partial.sentences(one.lineage for one in source.records):
        logging.info("%s: %s", table.path, line)
    if config.data.get("partial", "drop") == "keep":
        return source
    kept = [one for one in source.records if not _partial(one)]
    if not kept:
        raise UserError(
            f"{table.path} gives no image of {source.root} a taxon at "
            f"{table.ranks[-1]}, and data.partial is 'drop': use "
            "--config.data.partial=keep, or name the ranks with "
            "--config.data.taxonomy_ranks."
        )
    if lost := len(source.records) - len(kept):
        logging.info("left out: %d images identified only to a coarser rank", lost)
    return dataclasses.replace(source, records=tuple(kept))


def _partial(record: Record) -> bool:
    return record.lineage is not None and record.lineage.is_partial


def translated(source: Any, found: Translation) -> Any:
    """A source with translated lineages, without images that have none then.

    Raises:
      UserError: no image is left.
    """
    records = [
        after
        for before, after in zip(
            source.records, of_records(source.records, found), strict=True
        )
        if before.lineage is None or after.lineage is not None
    ]
    if not records:
        raise UserError(
            f"{found.table.path} names no taxon of {source.root}. {found.warning()}"
        )
    return dataclasses.replace(
        source,
        records=tuple(records),
        translation=found,
        common_names=found.common_names(source.common_names),
    )


def of_records(records: Sequence[Record], found: Translation) -> list[Record]:
    """Records with translated lineages, None for those that cannot be translated."""
    return [
        record
        if record.lineage is None
        else replace(record, lineage=_of_record(record.lineage, found))
        for record in records
    ]


def _of_record(old: Lineage, found: Translation) -> Lineage | None:
    new = found.lineages[old]
    return None if new is None else replace(new, class_id=old.class_id)


def asked_under(run: Run, named: str | None) -> Run:
    """The run, with answers in another taxonomy.

    Args:
      run: as it is on disk.
      named: the table of --taxonomy, see `name_table.find`; None for no other taxonomy.

    Raises:
      UserError: the table cannot be read, or lacks taxa of the network.
    """
    if named is None:
        return run
    labels = _labels(run)
    names = [name_table.name_of(one) for one in labels.taxonomy.lineages]
    table, known = name_table.read(named, names), labels.taxonomy
    common = tuple(rank for rank in table.ranks if rank in known.ranks)
    if known.finest in common and not all(map(table.find, names)):
        # Names that the table lacks can keep their lineages at the ranks of both.
        table = name_table.read(named, names, common)
    tree = translation.other_tree(labels, table)
    tree.translation.log()
    return replace(run, ranks=tuple(tree.heads.values()), other_tree=tree)


def former_names(run: Run, taxa: Sequence[str | Lineage]) -> FormerNames | None:
    """What the table of a run's answers knows of names in a list; None without a table.

    Args:
      run: that is asked under a table, or was trained under one.
      taxa: of the list.
    """
    if run.other_tree is not None:
        tree = run.other_tree
        return FormerNames(tree.table, tree.translation)
    config = inputs.restored(run.config, run.path)
    named = "" if run.imported else config.data.get("taxonomy", "")
    if not named:
        return None
    names = [one if isinstance(one, str) else name_table.name_of(one) for one in taxa]
    ranks = run.trained_taxonomy().ranks
    return FormerNames(name_table.read(named, names, ranks))


def of_run(source: Any, run: Run) -> Any:
    """A source as the network of a run is asked: under --taxonomy, or unchanged."""
    if run.other_tree is None:
        return source
    found = translation.translate(_lineages(source.records), run.other_tree.table)
    if warning := found.warning():
        logging.warning("%s", warning)
    return translated(source, found)


def photos(records: list[Record], run: Run, config: Any) -> list[Record]:
    """Photographs by name, with lineages in the taxonomy of a run; None for those that
    cannot be translated."""
    named = config.data.get("taxonomy", "")
    lineages = _lineages(records)
    if named and lineages:
        names = [name_table.name_of(lineage) for lineage in lineages]
        table = name_table.read(named, names, run.trained_taxonomy().ranks)
        records = of_records(records, translation.translate(lineages, table))
    if run.other_tree is not None:
        table = run.other_tree.table
        found = translation.translate(_lineages(records), table)
        records = of_records(records, found)
    return records


def save_changes(folder: Path, found: Translation | None) -> None:
    """Writes the taxa that have another name or place; nothing without a table."""
    if found is not None:
        workdir.make_dir(folder)
        tables.write_csv(folder / CHANGES, translation.HEADER, found.rows())


def fact(taxonomy: Taxonomy) -> dict[str, str]:
    """The published taxonomy of answers, for the small print of a page."""
    return {} if taxonomy.source is None else {"taxonomy": str(taxonomy.source)}


def remark(taxonomy: Taxonomy) -> str:
    """The published taxonomy of answers, as the end of a sentence."""
    return "" if taxonomy.source is None else f", taxonomy: {taxonomy.source}"


def with_source(
    header: tuple[str, ...], rows: list, taxonomy: Taxonomy
) -> tuple[tuple[str, ...], list]:
    """Header and rows with a column `taxonomy`; unchanged where it is not known."""
    if taxonomy.source is None:
        return header, rows
    about = str(taxonomy.source)
    return (*header, "taxonomy"), [[*row, about] for row in rows]


def _labels(run: Run) -> Labels:
    """Labels of the outputs, as the network was trained or imported."""
    if run.imported:
        path = run_folder.labels_path(run.path)
        return Labels.from_json(workdir.read_json(path), str(path))
    return translation.own_labels(run.trained_taxonomy(), run.ranks)


def _lineages(records: Sequence[Record]) -> list[Lineage]:
    found = (record.lineage for record in records if record.lineage is not None)
    return list(dict.fromkeys(found))
