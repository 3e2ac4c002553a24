"""Birds with one part exchanged: what changes, what stays, and what it is changed to."""

import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.birds import (
    DatasetSettings,
    bird_at,
    bird_of,
    exchange,
    exchanges,
    render,
)
from hiercam_keras.birds import draw as drawing
from hiercam_keras.birds.anatomy import build
from hiercam_keras.birds.donors import RANK_OF_PART, donors, form, taxon
from hiercam_keras.birds.habitats import HABITATS
from hiercam_keras.birds.interventions import HOWS, PARTS
from hiercam_keras.birds.picture import develop
from hiercam_keras.birds.tree import RANKS
from hiercam_keras.errors import UserError

ALL = list(itertools.product(PARTS, HOWS))
# Every order, both families and genera and all places of the patch; with and without
# bursts, discs and blades of grass.
BIRDS = [
    (DatasetSettings(), 0, 0, 96),
    (DatasetSettings(seed=3), 16, 4, 64),
    (DatasetSettings(images_per_burst=3, distractors=True), 29, 5, 146),
    (DatasetSettings(seed=8), 47, 11, 117),
    (DatasetSettings(seed=2), 22, 7, 48),
]


@pytest.fixture(scope="module", params=BIRDS, ids=lambda p: f"{p[1]}-{p[3]}px")
def bird(request):
    settings, species, index, size = request.param
    return bird_at(settings, species, index, size=size)


@pytest.fixture(scope="module")
def all_of_it(bird):
    """The bird as it was, and every exchange."""
    return bird.draw(), {(one.part, one.how): one for one in exchanges(bird)}


def _widened(mask: np.ndarray) -> np.ndarray:
    """A mask and the pixels around it, corners too."""
    padded = np.pad(mask, 1)
    size = mask.shape[0]
    near = [padded[y : y + size, x : x + size] for y in range(3) for x in range(3)]
    return np.logical_or.reduce(near)


@pytest.mark.parametrize(("part", "how"), ALL)
def test_nothing_changes_outside_the_part(all_of_it, part, how):
    before, found = all_of_it
    after = found[part, how]
    differs = (after.image != before.image).any(axis=-1)
    assert after.changed and differs.any()
    assert not (differs & ~after.mask).any()
    label = drawing.PARTS.index("background" if part == "habitat" else part)
    shown = (before.parts == label) | (after.parts == label)
    if part != "habitat":
        assert not (differs & ~_widened(shown)).any()
        assert ((before.parts == after.parts) | shown).all()
    else:
        np.testing.assert_array_equal(before.parts, after.parts)
