"""--mode=prepare: reads every image once and says what is there."""

from collections import Counter
from pathlib import Path

from hiercam_keras import wording
from hiercam_keras.data import splits
from hiercam_keras.data.sources import download
from hiercam_keras.modes import copies, group_report
from hiercam_keras.modes.load import load_source, taxonomy_of
from hiercam_keras.modes.settings import Settings
from hiercam_keras.taxonomy import partial


def run(settings: Settings) -> str:
    """Makes the index (and embedded data), returns a summary for a person."""
    source = load_source(settings.config, settings.data_dir)
    taxonomy = taxonomy_of(source, settings.config)
    counts = ", ".join(
        f"{taxonomy.num_labels(rank)} at {rank}" for rank in taxonomy.trainable_ranks()
    )
    boxes = sum(bool(record.boxes) for record in source.records)
    masks = sum(record.mask_path is not None for record in source.records)
    size = download.in_words(sum(_size(record.path) for record in source.records))
    images = wording.count(len(source.records), "image")
    lines = [
        source.report.summary(),
        f"{images} ({size}) in {source.root}, {boxes} with a box, {masks} with a mask",
        f"taxa: {counts or 'a single one at every rank'}",
    ]
    if source.translation is not None:
        said = (source.translation.sentence(), source.translation.warning())
        lines += filter(None, said)
    lines += partial.sentences(record.lineage for record in source.records)
    if source.cropped:
        lines.insert(1, source.cropped)
    official = Counter(record.split for record in source.records if record.split)
    if official:
        shown = ", ".join(f"{official[name]} {name}" for name in splits.NAMES)
        lines.append(f"the data set's own splits: {shown}")
    lines += group_report.lines(source.records, settings.config)
    if source.report.index_dir:
        lines += copies.report(source.records, source.report.index_dir)
    if source.report.index_dir:
        lines.append(f"index and converted copies: {source.report.index_dir}")
    return "\n".join(lines)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # it went away since; a run will say so
