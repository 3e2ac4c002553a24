"""Training images that are identified only to a coarser rank than a head's."""

from collections.abc import Sequence

from absl import logging

from hiercam_keras import wording
from hiercam_keras.data.records import Record
from hiercam_keras.runs.truth import Trained
from hiercam_keras.taxonomy import partial
from hiercam_keras.taxonomy.partial import LabelSpace
from hiercam_keras.taxonomy.tree import Taxonomy


def of_training(
    records: Sequence[Record], taxonomy: Taxonomy, ranks: Sequence[str]
) -> tuple[list[Record], dict[str, LabelSpace] | None]:
    """The training images that a head can learn from, and the labels of the heads.

    Logs how many images are identified to which rank, how many of them have a shorter
    lineage in the tree of the heads, and how many are left out.

    Args:
      records: of the training.
      taxonomy: of the heads.
      ranks: of the heads.

    Returns:
      The images, and a LabelSpace by rank; None if every image has a label at each
      rank and no taxon skips a rank, so that labels are those of the heads.
    """
    lineages = [record.lineage for record in records]
    truth = Trained(taxonomy)
    spaces = {rank: LabelSpace.of(taxonomy, rank) for rank in ranks}
    labels = {rank: spaces[rank].labels(lineages, truth) for rank in ranks}
    usual = all(
        ((labels[rank] >= 0) & (labels[rank] < spaces[rank].num_taxa)).all()
        and all((parents >= 0).all() for parents in spaces[rank].parents)
        for rank in ranks
    )
    if usual:
        return list(records), None
    for line in partial.sentences(lineages, "training image"):
        logging.info("%s", line)
    if any(one.is_partial for one in lineages):
        logging.info(
            "an image that is identified to a coarser rank trains the ranks that it "
            "has (--config.data.partial=drop leaves such images out)"
        )
    shortened = sum(truth.label(one, one.finest) < 0 for one in lineages)
    if shortened:
        logging.info(
            "%s of a taxon without an image that is identified to %s: trained as the "
            "taxon above it that has one",
            wording.count(shortened, "training image"),
            " or ".join(ranks[-1:]),
        )
    useful = [any(labels[rank][i] >= 0 for rank in ranks) for i in range(len(records))]
    kept = [one for one, of_use in zip(records, useful, strict=True) if of_use]
    if len(kept) < len(records):
        logging.info(
            "%s left out: the taxon says nothing at %s",
            wording.count(len(records) - len(kept), "training image"),
            ", ".join(ranks),
        )
    return kept, spaces
