"""Taxa and number of images of a training that is planned, where no image is needed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hiercam_keras import birds, csv_files
from hiercam_keras.cache_folder import expanded
from hiercam_keras.errors import UserError
from hiercam_keras.modes import coarser, untrained
from hiercam_keras.modes.load import load_source, taxonomy_of
from hiercam_keras.modes.multi_rank import are_all, with_ranks_of_data
from hiercam_keras.modes.settings import Settings
from hiercam_keras.modes.splitting import make_split
from hiercam_keras.runs.run_folder import ALL
from hiercam_keras.taxonomy import name_table
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS
from hiercam_keras.taxonomy.tree import Taxonomy

_INAT = "inat2021"
_INAT_MINI = 74_300  # birds in train_mini, see docs/DATA.md


@dataclass(frozen=True)
class PlanData:
    """What a plan needs of a data set.

    Attributes:
      ranks: that are trained.
      taxonomy: of the heads.
      images: of the training split.
      source: where the taxa and the number are from, for a sentence.
      spaces: labels by rank if images are of coarser ranks, see `coarser`.
    """

    ranks: tuple[str, ...]
    taxonomy: Taxonomy
    images: int
    source: str
    spaces: Mapping[str, Any] | None = field(default=None)

    @property
    def num_labels(self) -> dict[str, int]:
        """Number of labels of each head by rank, coarse to fine."""
        order = [rank for rank in self.taxonomy.ranks if rank in self.ranks]
        return {rank: self.taxonomy.num_labels(rank) for rank in order}


def data_of(settings: Settings) -> PlanData:
    """The taxa and the number of images.

    They are those of --classes, else of the images where these are there, else of the
    generator of the procedural birds or of the table of iNat2021's bird names. The
    number of images is that of --num_images, if it is given.

    Raises:
      UserError: the images are not there and nothing else says their taxa.
    """
    found = _data_of(settings)
    if settings.num_images is not None:
        source = f"{found.source}; images of --num_images"
        found = replace(found, images=settings.num_images, source=source)
    for rank in found.ranks:
        found.taxonomy.check_trainable(rank)
    return found


def _data_of(settings: Settings) -> PlanData:
    data = settings.config.data
    if settings.classes:
        taxonomy = made_up(settings.classes, settings.rank)
        images = 0 if settings.num_images is None else settings.num_images
        if not images:
            raise UserError(
                "--classes names no images: give the number of training images with "
                "--num_images=74300."
            )
        return _planned(settings, taxonomy, images, "a made-up tree of --classes")
    if _is_there(settings):
        return _of_images(settings)
    if data.source == "synthetic_birds":
        synthetic = dict(data.synthetic)
        tree = birds.default_tree(
            **{name: synthetic[name] for name in ("orders", "families", "genera")},
            species=synthetic["species"],
        )
        lineages = [parse_class_name(one.class_dir) for one in tree]
        images = round(len(tree) * synthetic["images_per_species"] * data.fractions[0])
        return _planned(settings, Taxonomy(lineages), images, "the generator of birds")
    if data.source == _INAT:
        source = (
            "the bird names of iNat2021 with AviList's families and orders, as the "
            "images are not here; number of images of train_mini"
        )
        images = round(_INAT_MINI * data.fractions[0])
        taxonomy = Taxonomy(_inat_birds(bool(data.taxonomy)))
        return _planned(settings, taxonomy, images, source)
    raise UserError(
        "the images are not here, so their taxa are not known: give --data_dir, or "
        "numbers with --classes=species:1486 --num_images=74300."
    )


def _is_there(settings: Settings) -> bool:
    """Whether images are read; procedural birds are not drawn for a plan."""
    place = settings.data_dir or settings.config.data.get("root", "")
    if settings.data_dir or "://" in place:
        return True
    named = settings.config.data.get("table", "")
    if settings.config.data.source == "synthetic_birds":
        place = f"{place}/images"
    return any(one and expanded(one).exists() for one in (place, named))


def _of_images(settings: Settings) -> PlanData:
    """As a training has them, see `modes.train`."""
    settings, source = with_ranks_of_data(settings)
    config = settings.config
    source = source or load_source(config, settings.data_dir)
    everything = untrained.reaching(taxonomy_of(source, config), settings.rank)
    split = make_split(source.records, config)
    taxonomy, _ = untrained.taxonomy_of(
        source.records, split, everything, settings.rank, config.data.untrained_taxa
    )
    seen, _ = split.select(source.records, "train")
    seen, spaces = coarser.of_training(seen, taxonomy, settings.rank)
    where = f"the images in {source.root}"
    return PlanData(settings.rank, taxonomy, len(seen), where, spaces)


def _planned(
    settings: Settings, taxonomy: Taxonomy, images: int, source: str
) -> PlanData:
    ranks = settings.rank
    if are_all(ranks):
        ranks = taxonomy.trainable_ranks()
    taxonomy = untrained.reaching(taxonomy, ranks)
    return PlanData(ranks, taxonomy, images, source)


def _inat_birds(translated: bool) -> Iterator[Lineage]:
    """iNat2021's birds with AviList's families and orders, and its genera and species
    if they are `translated`."""
    for _, row in csv_files.read(name_table.find(name_table.AVILIST)).rows():
        taxa = [row[rank] for rank in DEFAULT_RANKS]
        if not translated:
            taxa[-2:] = row["name"].split(" ", 1)
        yield Lineage(tuple(taxa))


def made_up(classes: str, ranks: tuple[str, ...]) -> Taxonomy:
    """A tree with so many taxa at each rank.

    Args:
      classes: "1486", for one rank, or "family:98,species:1486", coarse to fine.
      ranks: of --rank.

    Raises:
      UserError: it is neither, or a finer rank has fewer taxa.
    """
    parts = [part.strip() for part in classes.split(",") if part.strip()]
    if len(parts) == 1 and parts[0].isdigit() and len(ranks) == 1 and ranks != (ALL,):
        parts = [f"{ranks[0]}:{parts[0]}"]
    found = [re.fullmatch(r"([\w ]+):(\d+)", part) for part in parts]
    if not all(found) or not found:
        raise UserError(
            f"--classes={classes}: expected the number of taxa of the rank that --rank "
            "names, or of each rank, coarse to fine, as in "
            "--classes=family:98,species:1486."
        )
    counts = {one.group(1).strip().lower(): int(one.group(2)) for one in found}
    numbers = list(counts.values())
    if numbers != sorted(numbers) or numbers[0] < 1 or len(counts) < len(parts):
        raise UserError(
            f"--classes={classes}: expected each rank once, coarse to fine, with no "
            "fewer taxa than the one before it."
        )
    lineages = []
    for leaf in range(numbers[-1]):
        places, place = [], leaf
        for number, finer in zip(
            numbers[::-1], (numbers[-1], *numbers[:0:-1]), strict=True
        ):
            place = place * number // finer
            places.append(place)
        names = zip(counts, places[::-1], strict=True)
        lineages.append(
            Lineage(tuple(f"{rank} {place}" for rank, place in names), tuple(counts))
        )
    return Taxonomy(lineages)
