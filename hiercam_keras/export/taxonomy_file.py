"""taxonomy.json: what the inputs and outputs of an exported network mean.

It holds all that a program in another language needs, so that it reads neither the run
folder nor this package.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hiercam_keras.taxonomy.tree import Taxonomy

SCHEMA_VERSION = 1


def document(
    taxonomy: Taxonomy,
    ranks: Sequence[str],
    heads: Sequence[str],
    about: Mapping[str, Any],
    believed: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """The content of taxonomy.json.

    Args:
      taxonomy: of the network's labels.
      ranks: R ranks of the outputs, coarse to fine.
      heads: ranks of the network's own heads.
      about: further fields: image, input, outputs, layer, weights_dtype, batch.
      believed: least probability of a believed name by rank, None where a rank is never
        believed; without thresholds None.
    """
    finest = max(heads, key=taxonomy.ranks.index)
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "ranks": list(ranks),
        "heads": list(heads),
        **about,
    }
    if believed is not None:
        found["believed"] = dict(believed)
    source = getattr(taxonomy, "source", None)
    if source is not None:
        found["taxonomy_source"] = source.to_json()
    named = [rank for rank in taxonomy.ranks if rank in {*ranks, *heads}]
    found["taxa"] = {rank: _taxa(taxonomy, rank, finest) for rank in named}
    return found


def _taxa(taxonomy: Taxonomy, rank: str, finest: str) -> list[dict[str, Any]]:
    """The taxa of a rank by label; their leaves are labels of the finest head."""
    common = getattr(taxonomy, "common_names", None) or {}
    taxa = []
    for label, name in enumerate(taxonomy.names(rank)):
        prefix = taxonomy.prefixes(rank)[label]
        leaves = taxonomy.descendants(rank, label, finest)
        row: dict[str, Any] = {"name": name}
        if prefix in common:
            row["common_name"] = common[prefix]
        row |= {
            "lineage": list(prefix),
            "first_leaf": int(leaves[0]) if len(leaves) else 0,
            "leaves": len(leaves),
        }
        taxa.append(row)
    return taxa


def image(size: int, short_side: int, detections: Mapping[str, Any]) -> dict[str, Any]:
    """What pixels the network takes.

    Args:
      size: side of its input.
      short_side: of a picture before the middle is taken.
      detections: how animals are cropped: threshold, margin, not_animals.
    """
    return {
        "height": size,
        "width": size,
        "short_side": short_side,
        "in_words": (
            "An upright picture (EXIF rotation applied), or a crop of it, in RGB from "
            f"0 to 255. Its shorter side is resized to {short_side} pixels and the "
            f"longer one in proportion (rounded half to even). The middle {size} x "
            f"{size} pixels are taken, from (side - {size}) // 2 on. Resizing is "
            "bilinear with antialiasing, as Pillow's BILINEAR. Normalization is inside "
            "of the network."
        ),
        "detections": dict(detections),
    }
