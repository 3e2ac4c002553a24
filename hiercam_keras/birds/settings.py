"""The settings that determine the contents of a data set."""

import dataclasses
import hashlib
import json

from hiercam_keras.birds.tree import (
    SyntheticSpecies,
    default_tree,
)
from hiercam_keras.errors import UserError

SCHEMA_VERSION = 1
# Increment it when the same settings give other pictures.
RENDERER_VERSION = 1


@dataclasses.dataclass(frozen=True)
class DatasetSettings:
    """Settings of a data set; equal settings give equal files.

    orders, families, genera, species: children per parent.
    images_per_species: 1 or more.
    images_per_burst: 1 or more pictures of one individual one after another: the same
      bird in the same place, in slightly different posture and light. With more than
      one, groups.csv has the burst of each picture.
    image_size: least and greatest side in pixels, both included; pictures are square.
    habitat_correlation: 0..1, how often a bird is in the habitat of its family;
      otherwise the habitat is drawn from all of them.
    distractors: strew bright discs like patches over the background.
    seed: of the pictures; names, looks and habitats do not depend on it.
    """

    orders: int = 4
    families: int = 2
    genera: int = 2
    species: int = 3
    images_per_species: int = 60
    images_per_burst: int = 1
    image_size: tuple[int, int] = (150, 220)
    habitat_correlation: float = 0.8
    distractors: bool = False
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "image_size", tuple(self.image_size))
        low, high = self.image_size
        if not 64 <= low <= high:
            raise UserError(
                "synthetic birds: image_size must be (least, greatest) with 64 <= "
                f"least <= greatest, found {self.image_size}."
            )
        for name in ("images_per_species", "images_per_burst"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"synthetic birds: {name} must be 1 or more, found "
                    f"{getattr(self, name)}."
                )
        if not 0.0 <= self.habitat_correlation <= 1.0:
            raise UserError(
                "synthetic birds: habitat_correlation must be between 0 and 1, found "
                f"{self.habitat_correlation}."
            )

    def as_json(self) -> dict:
        """The settings with JSON's types.

        Without bursts there is no field for them: data sets that were drawn before
        there were any stay valid.
        """
        found = {**dataclasses.asdict(self), "image_size": list(self.image_size)}
        if self.images_per_burst == 1:
            del found["images_per_burst"]
        return found

    @property
    def key(self) -> str:
        """Eight hex digits that differ where settings, schema or renderer differ."""
        text = json.dumps(
            [SCHEMA_VERSION, RENDERER_VERSION, self.as_json()], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Children per parent, coarse to fine."""
        return self.orders, self.families, self.genera, self.species

    def tree(self) -> list[SyntheticSpecies]:
        """The species, in the order of their folders."""
        return default_tree(*self.counts)
