"""Taxa without a training image, which are excluded from the heads and logged."""

from collections.abc import Iterable, Sequence

from absl import logging

from hiercam_keras import wording
from hiercam_keras.data.records import Record
from hiercam_keras.data.splits import Split
from hiercam_keras.errors import UserError
from hiercam_keras.modes import unseen
from hiercam_keras.runs import truth as truths
from hiercam_keras.runs.truth import Trained
from hiercam_keras.taxonomy import partial
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.ranks import rank_depth
from hiercam_keras.taxonomy.source import TaxonomySource
from hiercam_keras.taxonomy.tree import Taxonomy

CHOICES = ("drop", "keep")
_SHOWN = 5  # names of a rank that are listed


def taxonomy_of(
    records: Sequence[Record],
    split: Split,
    everything: Taxonomy,
    ranks: Sequence[str],
    choice: str,
) -> tuple[Taxonomy, Trained]:
    """The taxa of the heads; logs those that are left out, and their images.

    They are of the tree of the images that are identified to the finest head's rank.
    Others have the labels of the taxa of this tree, as far down as it has theirs.

    Args:
      records: of all splits.
      split: of the records.
      everything: the taxonomy of all records that are identified to the finest head's
        rank.
      ranks: that are trained.
      choice: data.untrained_taxa.

    Returns:
      The taxonomy, and what gives the label of any record: -1 for a taxon that is left
      out.

    Raises:
      UserError: there is no such choice.
    """
    if choice not in CHOICES:
        raise UserError(
            f"data.untrained_taxa is {choice!r}: use one of {', '.join(CHOICES)}."
        )
    train, _ = split.select(records, "train")
    seen = (record.lineage for record in train)
    trained = reaching(seen, ranks, everything.source)
    trained = trained.with_common_names(everything.common_names)
    taxonomy = trained if choice == "drop" else everything
    truth = Trained(taxonomy)
    _name_untrained(everything, trained, ranks, choice)
    for name in ("val", "test"):
        asked, _ = split.select(records, name)
        what = f"{name} image"
        if choice == "drop":
            lost = truth.unknown(asked, [r for r in taxonomy.ranks if r in ranks])
            said = truths.sentence(lost, len(asked), what, truths.UNTRAINED)
        else:
            said = unseen.of_split(train, asked, ranks, taxonomy, what)
        if said:
            logging.warning("%s", said)
    return taxonomy, truth


def reaching(
    lineages: Iterable[Lineage | None],
    ranks: Sequence[str],
    source: TaxonomySource | None = None,
) -> Taxonomy:
    """The tree of the lineages that are identified to the finest of the ranks.

    Args:
      lineages: of images.
      ranks: of the heads.
      source: of the lineages; None if unknown.

    Raises:
      UserError: there are none, or no such rank.
    """
    lineages = [one for one in lineages if one is not None]
    known = lineages[0].ranks if lineages else ()
    finest = max(ranks, key=lambda one: rank_depth(one, known))
    return partial.tree_of(lineages, finest, source)


def check_trainable(taxonomy: Taxonomy, everything: Taxonomy, rank: str) -> None:
    """See `Taxonomy.check_trainable`; where the split is the reason, it is named.

    Args:
      taxonomy: of the heads.
      everything: of all records.
      rank: that is trained.
    """
    rank = everything.check_trainable(rank)
    if taxonomy.num_labels(rank) > 1:
        return
    raise UserError(
        f"of {wording.count(everything.num_labels(rank), 'taxon')} at the rank "
        f"{rank!r} only {taxonomy.names(rank)[0]} has a training image: the others' "
        "are in val and test. Add images of them, or deal all images again "
        "(--config.data.split_seed=1)."
    )


def known(
    records: Sequence[Record], truth: Trained, ranks: Sequence[str]
) -> list[Record]:
    """Those of the records that have a label at one of the ranks."""
    return [
        record
        for record in records
        if any(truth.label(record.lineage, rank) >= 0 for rank in ranks)
    ]


def _name_untrained(
    everything: Taxonomy, trained: Taxonomy, ranks: Sequence[str], choice: str
) -> None:
    """Logs the taxa without a training image, rank by rank."""
    for rank in ranks:
        seen = set(trained.prefixes(rank))
        missing = [
            name
            for name, prefix in zip(
                everything.names(rank), everything.prefixes(rank), strict=True
            )
            if prefix not in seen
        ]
        if not missing:
            continue
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        logging.warning(
            "%s of %d at %s without a training image: %s%s. %s",
            wording.count(len(missing), "taxon"),
            everything.num_labels(rank),
            rank,
            ", ".join(missing[:_SHOWN]),
            more,
            "They are left out of the head (data.untrained_taxa=keep keeps them)."
            if choice == "drop"
            else "They stay in the head, which cannot learn them.",
        )
