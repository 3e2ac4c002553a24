"""One bird of a data set, which can be drawn again and again.

A picture of the data set is a JPEG; `Bird` draws its pixels, at its own or at another
size, and with a part exchanged (`interventions`).
"""

import copy
import re
from dataclasses import dataclass, field

import numpy as np

from hiercam_keras.birds.habitats import HABITATS, Habitat
from hiercam_keras.birds.picture import Rendered, Setup, develop, set_up
from hiercam_keras.birds.settings import DatasetSettings
from hiercam_keras.birds.traits import Look
from hiercam_keras.birds.tree import SyntheticSpecies
from hiercam_keras.errors import UserError

# First words of the seeds here; pretraining uses others.
_EMBEDDED, _SHOTS = 0xB12D, 0x5407


@dataclass(frozen=True)
class Bird:
    """A bird of a data set.

    settings: of the data set. species: its number in the tree. index: of the picture
    in its species. size: side of the picture in pixels. habitat: index into
    `HABITATS`. quality: of its JPEG in the data set.
    """

    settings: DatasetSettings
    species: int
    index: int
    size: int
    habitat: int
    quality: int
    leaf: SyntheticSpecies
    _rng: np.random.Generator = field(repr=False, compare=False)
    _shot: np.random.Generator | None = field(repr=False, compare=False)

    @property
    def example_id(self) -> str:
        """Path of its picture under the data set's `images`."""
        return f"{self.leaf.class_dir}/{self.index:04d}.jpg"

    def set_up(
        self, *, look: Look | None = None, instead: Habitat | None = None
    ) -> Setup:
        """All that decides the picture, the same at every call.

        Args:
          look: other traits than those of its species.
          instead: a habitat that is drawn in the place of the bird's.
        """
        return set_up(
            self.leaf.look if look is None else look,
            self.habitat,
            copy.deepcopy(self._rng),
            self.size,
            distractors=self.settings.distractors,
            shot=copy.deepcopy(self._shot),
            instead=instead,
        )

    def draw(self) -> Rendered:
        """The picture of the data set, before its JPEG."""
        setup = self.set_up()
        return develop(setup, setup.regions())


def bird_at(
    settings: DatasetSettings,
    species: int,
    index: int,
    *,
    size: int | None = None,
    leaf: SyntheticSpecies | None = None,
) -> Bird:
    """The bird of a picture of the data set.

    Args:
      settings: of the data set.
      species: its number in the tree.
      index: of the picture, 0 .. images_per_species - 1.
      size: side in pixels, at least 48; default that of the data set. The bird, its
        pose, habitat and light are the same at every size.
      leaf: the species, if it is at hand.

    Raises:
      UserError: if the size is too small.
    """
    if size is not None and size < 48:
        raise UserError(f"synthetic birds: size must be at least 48, found {size}.")
    leaf = settings.tree()[species] if leaf is None else leaf
    burst, shot = divmod(index, settings.images_per_burst)
    rng = np.random.default_rng([_EMBEDDED, settings.seed, species, burst])
    again = None  # the first picture of a burst is the picture of one without
    if shot:
        again = np.random.default_rng([_SHOTS, settings.seed, species, index])
    drawn = int(rng.integers(settings.image_size[0], settings.image_size[1] + 1))
    own = rng.random() < settings.habitat_correlation
    other = int(rng.integers(len(HABITATS)))
    return Bird(
        settings=settings,
        species=species,
        index=index,
        size=drawn if size is None else size,
        habitat=leaf.habitat if own else other,
        quality=int(rng.integers(70, 94)),
        leaf=leaf,
        _rng=rng,
        _shot=again,
    )


def bird_of(
    settings: DatasetSettings, example_id: str, *, size: int | None = None
) -> Bird:
    """The bird of a picture, by its path under the data set's `images`.

    Args:
      settings: of the data set.
      example_id: as in boxes.csv, `00003_..._coronata/0007.jpg`.
      size: as for `bird_at`.

    Raises:
      UserError: if the data set has no such picture.
    """
    tree = settings.tree()
    found = re.fullmatch(r"(\d{5})_[^/]+/(\d{4,})\.jpg", example_id)
    if found:
        species, index = map(int, found.groups())
        inside = species < len(tree) and index < settings.images_per_species
        if inside and example_id.startswith(f"{tree[species].class_dir}/"):
            return bird_at(settings, species, index, size=size, leaf=tree[species])
    raise UserError(
        "synthetic birds: expected the example_id of a picture, such as "
        f"'{tree[0].class_dir}/0000.jpg', found '{example_id}'; take it from the data "
        "set's boxes.csv, with the settings of its dataset.json."
    )
