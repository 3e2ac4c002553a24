"""--mode=prepare: reads every image once and says what is there."""

from hiercam_keras.modes.load import load_source
from hiercam_keras.modes.settings import Settings
from hiercam_keras.taxonomy.tree import Taxonomy


def run(settings: Settings) -> str:
    """Makes the index (and embedded data), returns a summary for a person."""
    source = load_source(settings.config, settings.data_dir)
    taxonomy = Taxonomy(record.lineage for record in source.records)
    counts = ", ".join(
        f"{taxonomy.num_labels(rank)} at {rank}" for rank in taxonomy.trainable_ranks()
    )
    boxes = sum(bool(record.boxes) for record in source.records)
    masks = sum(record.mask_path is not None for record in source.records)
    return (
        f"{source.report.summary()}\n"
        f"{len(source.records)} images in {source.root}, {boxes} with a box, {masks} "
        f"with a mask\ntaxa: {counts or 'a single one at every rank'}"
    )
