"""--mode=predict: the likeliest taxa at every rank, with probabilities, as a CSV.

Of a data package, archive or export an imported network is asked about all pictures,
also those without a lineage. config.predict.format=camtrap_dp writes the answers into
the observations of the package, see `camtrap_answers`, and megadetector into the file
of --detections, see `megadetector_answers`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import multihost, runtime, tables, wording
from hiercam_keras.data import loader, sources
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.modes import (
    belief,
    camtrap_answers,
    detected,
    imported,
    megadetector_answers,
    taxonomies,
)
from hiercam_keras.modes.find_runs import find_runs
from hiercam_keras.modes.load import config_of, load_source, open_run, with_fields
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy.common_names import titled
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training.predict import Predictions

_ANSWERS = {
    "camtrap_dp": camtrap_answers.Answers,
    "megadetector": megadetector_answers.Answers,
}
FORMATS = ("csv", *_ANSWERS)
HEADER = ("example_id", "rank", "place", "taxon", "lineage", "probability")
MASKED = "masked_probability"  # of taxa that are not allowed, if some are not
ON_PATH = "on_path"  # whether the best answer at the finest rank is in the taxon
COMMON = "common_name"  # of the taxon, if the network knows common names
MUCH = 0.5  # of the probability: where taxa that are not allowed have more, it is said


def run(settings: Settings) -> str:
    """Writes predictions of --image, or of a split; returns the first of them."""
    (this,) = find_runs(settings, [settings.rank])
    config = config_of(settings, this)
    form = config.predict.format
    if form not in FORMATS:
        raise UserError(
            f"config.predict.format is {form!r}: use one of {', '.join(FORMATS)}."
        )
    answers = None
    if form in _ANSWERS:
        answers = _ANSWERS[form](settings, this, config)
    records = _of_tables(settings, this, config, form)
    if records is not None:
        batches = photo_loader(records, config, multihost.part())
        default = Path(this.results / "predict" / "all.csv")
    elif settings.image:
        records = detected.load_photos(settings, config)
        batches = photo_loader(records, config, multihost.part())
        default = Path(this.results / "predict" / "photos.csv")
    else:
        data = open_run(settings, this)
        this = data.run
        records, batches = data.source.records, data.loader(settings.split)
        default = Path(this.results / "predict" / f"{settings.split}.csv")
    devices = settings.config.distribution.devices
    runtime.start(config.seed, config.model.dtype, devices)
    network = networks.load(this, config)
    with batches:
        found = network.predict(batches, "predict")
    if answers is not None:
        return answers.write(found, network, records) + masked_sentence(found, "")
    scores = network.scores(found.logits)
    names = _common_names(network.taxonomy)
    header, rows = _table(found, network, scores, settings.top_k, names)
    path = Path(settings.out) if settings.out else default
    header, rows = detected.with_boxes(header, rows, records)
    tables.write_csv(path, *_with_groups(header, rows, records))
    rule = belief.rule_of(this, config.believe)
    given = None if rule is None else belief.answers(rule, network, found)
    if given is not None:
        believed = belief.believed_rows(
            found.example_ids, given, rule, network.taxonomy
        )
        name = path.with_name(f"{path.stem}_believed.csv")
        head: tuple[str, ...] = belief.HEADER
        if names:
            head = (*head, COMMON)
            believed = [[*row, names.get((row[1], row[3]), "")] for row in believed]
        tables.write_csv(name, *detected.with_boxes(head, believed, records))
    shown = [row for row in rows if row[0] == found.example_ids[0] and row[2] == 1]
    brief = [
        [rank, titled(taxon, names.get((rank, lineage), "")), share]
        for _, rank, _, taxon, lineage, share, *_ in shown
    ]
    text = tables.format_table(("rank", "taxon", "probability"), brief)
    text += divided_sentence(rows, found.example_ids) if len(scores) > 1 else ""
    text += masked_sentence(found)
    if network.taxonomy.source is not None:
        text += f"\ntaxonomy: {network.taxonomy.source}"
    if given is not None:
        said = belief.in_words(given, 0, network.taxonomy)
        text += f"\nbelieved: {said} ({rule.source})"
    images = wording.count(len(found.example_ids), "image")
    if len(found.example_ids) > 1:
        images += ", the first of them above"
    return f"{found.example_ids[0]}\n{text}\n{images}: {path}"


def _of_tables(
    settings: Settings, run: Run, config: Any, form: str
) -> list[Record] | None:
    """All pictures of a package, archive or export; None where others are asked for."""
    if settings.image or not (run.imported or form == "camtrap_dp"):
        return None
    if run.imported:
        imported.check_images(settings, run)
    data_dir = settings.data_dir or run.data_dir
    if sources.kind_of(config.data, data_dir) not in sources.EXCHANGED:
        return None
    return list(load_source(config, data_dir, unlabelled=True).records)


def photo_loader(
    records: list[Record], config: Any, shard: tuple[int, int] = (0, 1)
) -> loader.Loader:
    """Batches of photographs with lineages that need not be known.

    Args:
      records: of the photographs.
      config: of the run.
      shard: number of this process, and of all that share the work.
    """
    size = min(config.data.batch_size, len(records))
    size = -(-size // shard[1]) * shard[1]
    data = with_fields(config.data, batch_size=size, cache_mb=0, disk_cache="")
    return loader.make_loader(records, {}, data, seed=config.seed, shard=shard)


def _table(
    found: Predictions,
    network: Network,
    scores: Mapping[str, np.ndarray],
    top_k: int,
    names: Mapping[tuple[str, str], str],
) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Header and rows, with the columns that not every network has."""
    rows = prediction_rows(found, network, scores, top_k)
    header: tuple[str, ...] = HEADER
    if len(scores) > 1:
        header = (*header, ON_PATH)
    else:
        rows = [row[: len(HEADER)] for row in rows]
    if found.masked is not None:
        header = (*header, MASKED)
        masked = dict(zip(found.example_ids, found.masked.tolist(), strict=True))
        rows = [[*row, masked[row[0]]] for row in rows]
    if names:
        header = (*header, COMMON)
        rows = [[*row, names.get((row[1], row[4]), "")] for row in rows]
    return taxonomies.with_source(header, rows, network.taxonomy)


def prediction_rows(
    found: Predictions, network: Network, scores: Mapping[str, np.ndarray], top_k: int
) -> list[list[Any]]:
    """Rows of `HEADER` and ON_PATH: for each image and rank its `top_k` taxa, the best
    first.

    Args:
      found: answers of the network.
      network: that was asked.
      scores: of `Network.scores`, by rank.
      top_k: taxa of a rank.
    """
    rows, taxonomy = [], network.taxonomy
    finest = max(scores, key=taxonomy.ranks.index)
    answers = np.argmax(scores[finest], axis=-1)
    for rank, logits in scores.items():
        probability = network.probabilities(rank, logits)
        best = np.argsort(-logits, axis=-1, kind="stable")[:, :top_k]
        own = taxonomy.parents(finest, rank)[answers]  # -1: it skips the rank
        names, prefixes = taxonomy.names(rank), taxonomy.prefixes(rank)
        for number, example_id in enumerate(found.example_ids):
            for place, label in enumerate(best[number], 1):
                lineage = "/".join(prefixes[label])
                share = float(probability[number, label])
                on_path = None if own[number] < 0 else bool(own[number] == label)
                row = [example_id, rank, place, names[label], lineage, share, on_path]
                rows.append(row)
    order = {example_id: i for i, example_id in enumerate(found.example_ids)}
    return sorted(rows, key=lambda row: order[row[0]])


def divided_sentence(rows: Sequence[Sequence[Any]], example_ids: Sequence[str]) -> str:
    """A sentence, on a line of its own, on images of which the best answers at two
    ranks are not of one path of the tree; "" if there are none."""
    place, on_path = HEADER.index("place"), len(HEADER)
    apart = [row for row in rows if row[place] == 1 and row[on_path] is False]
    images = dict.fromkeys(row[0] for row in apart)
    if not images:
        return ""
    ranks = dict.fromkeys(row[1] for row in apart)
    return (
        f"\nOf {wording.count(len(example_ids), 'image')}, {len(images)} "
        f"{'has' if len(images) == 1 else 'have'} a best answer at a coarser rank "
        f"({', '.join(ranks)}) that does not hold the best answer at the finest rank "
        f"(column {ON_PATH}), such as {next(iter(images))}."
    )


def _with_groups(
    header: tuple[str, ...], rows: list[Any], records: Sequence[Record]
) -> tuple[tuple[str, ...], list[Any]]:
    """Header and rows with the group of each image, where any is in one."""
    groups = {one.example_id: one.group or "" for one in records}
    if not any(groups.values()):
        return header, rows
    return (*header, "group"), [[*row, groups[row[0]]] for row in rows]


def _common_names(taxonomy: Taxonomy) -> dict[tuple[str, str], str]:
    """Common names by the cells `rank` and `lineage` of a row."""
    return {
        (taxonomy.ranks[len(prefix) - 1], "/".join(prefix)): name
        for prefix, name in taxonomy.common_names.items()
    }


def masked_sentence(found: Predictions, column: str = MASKED) -> str:
    """A sentence, on a line of its own, on images that are rather of taxa that are not
    allowed; "" if there are none. `column` of the table has it; "" for no column."""
    if found.masked is None:
        return ""
    rather = int((found.masked > MUCH).sum())
    if not rather:
        return ""
    images = wording.count(len(found.masked), "image")
    return (
        f"\nOf {images}, {rather} had more than half of the probability at taxa that "
        f"are not allowed{f' (column {column})' * bool(column)}: the answer is the "
        "best of the allowed ones, and may be far from right."
    )
