"""Pictures of procedural birds: the drawing agrees with the labels."""

import itertools

import numpy as np
import pytest

from hiercam_keras.birds import default_tree, render, traits
from hiercam_keras.birds.anatomy import Posture, build
from hiercam_keras.birds.habitats import HABITATS
from hiercam_keras.birds.patch import PATCH_SHAPE, patch_outline
from hiercam_keras.birds.sheet import contact_sheet, tree_sheet
from hiercam_keras.birds.traits import Look

SIZE = 146  # the short side from which 128 pixels are cropped
EDGE = (SIZE - 128) // 2


def _presets() -> list[Look]:
    return [
        Look(*values)
        for values in itertools.product(*(traits.PRESETS[c] for c in traits.CHANNELS))
    ]


@pytest.fixture(scope="module")
def drawn():
    """One picture of every combination of presets and of 120 random looks."""
    looks = _presets()
    for k in range(120):
        rng = np.random.default_rng([5, k])
        looks.append(Look(*(traits.RANDOM[one](rng) for one in traits.CHANNELS)))
    return [
        render(look, k % len(HABITATS), np.random.default_rng([6, k]), SIZE)
        for k, look in enumerate(looks)
    ]


@pytest.fixture(scope="module")
def shares(drawn):
    """Share of the 128 x 128 crop that each part covers, (pictures, 6)."""
    crops = [d.parts[EDGE:-EDGE, EDGE:-EDGE] for d in drawn]
    return np.array([[(c == part).mean() for part in range(6)] for c in crops])


def test_same_generator_same_picture_another_seed_another():
    look = _presets()[0]
    first = render(look, 2, np.random.default_rng(1), SIZE)
    again = render(look, 2, np.random.default_rng(1), SIZE)
    other = render(look, 2, np.random.default_rng(2), SIZE)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.parts, again.parts)
    assert first.box == again.box
    assert (first.parts != other.parts).any()


def test_shapes_types_and_labels(drawn):
    for picture in drawn[::50]:
        assert picture.image.shape == (SIZE, SIZE, 3)
        assert picture.image.dtype == picture.parts.dtype == np.uint8
        assert set(np.unique(picture.parts)) == {0, 1, 2, 3, 4, 5}


def test_bird_covers_a_quarter_to_a_half_of_the_crop(shares):
    bird = 1.0 - shares[:, 0]
    assert bird.min() > 0.24
    assert bird.max() < 0.5
    assert (bird >= 0.25).mean() > 0.99


def test_parts_are_large_enough_for_eight_by_eight_cells(shares):
    # One of 64 cells is 0.016 of the picture.
    body, bill_tail, wing, patch = shares[:, 1:5].T
    assert body.min() > 0.07
    assert bill_tail.min() > 0.02 and np.quantile(bill_tail, 0.1) > 0.035
    assert wing.min() > 0.045 and wing.mean() > 0.08
    assert patch.min() > 0.015


def test_patch_is_seen_at_least_12_pixels_across(drawn):
    for picture in drawn:
        rows, columns = np.nonzero(picture.parts == 4)
        assert np.ptp(rows) + 1 >= 12
        assert np.ptp(columns) + 1 >= 12


def test_bird_lies_inside_the_crop_and_the_box_is_its_bounds(drawn):
    for picture in drawn:
        rows, columns = np.nonzero(picture.parts)
        assert picture.box == (
            columns.min(),
            rows.min(),
            columns.max() + 1,
            rows.max() + 1,
        )
        x0, y0, x1, y1 = picture.box
        assert min(x0, y0) >= EDGE - 1
        assert max(x1, y1) <= SIZE - EDGE + 1


def test_patch_is_bright_and_the_rest_of_the_bird_is_muted(drawn):
    def saturation(pixels: np.ndarray) -> float:
        pixels = pixels.astype(np.float64)
        low, high = pixels.min(axis=1), pixels.max(axis=1)
        return float(np.median((high - low) / np.maximum(high, 1)))

    patches = [saturation(d.image[d.parts == 4]) for d in drawn]
    bodies = [saturation(d.image[d.parts == 1]) for d in drawn]
    assert np.quantile(patches, 0.02) > 0.6
    assert np.quantile(bodies, 0.98) < 0.5


@pytest.mark.parametrize("name", traits.BODY_PLANS)
def test_crown_breast_and_rump_are_where_they_are_called(name):
    """The bird looks right, y points up: see the middle of each patch in units."""
    form = traits.BILL_TAILS["dagger_fork"]
    wing = traits.WING_PATTERNS["bars"]
    middle = {}
    for place_name, place in traits.PATCH_PLACES.items():
        look = Look(traits.BODY_PLANS[name], form, wing, place)
        bird = build(look, Posture())
        middle[place_name] = patch_outline(bird, place, 0.15).mean(axis=0)
    spine = bird.spine
    head_x, head_y, head_radius = bird.head
    assert middle["crown"][1] > head_y + 0.3 * head_radius
    assert abs(middle["crown"][0] - head_x) < head_radius
    assert middle["breast"] @ spine.along > 0.15 > 0 > middle["breast"] @ spine.across
    assert middle["rump"] @ spine.along < -0.15 < 0 < middle["rump"] @ spine.across
    assert middle["belly"] @ spine.across < 0


def test_patch_outline_has_the_area_it_claims():
    look = _presets()[0]
    ring = patch_outline(build(look, Posture()), look.patch_place, 0.2)
    x, y = ring.T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert area == pytest.approx(PATCH_SHAPE * 0.2**2, rel=0.02)


def test_distractors_strew_bright_discs_outside_the_bird_only_when_asked():
    def bright_background(distractors: bool) -> float:
        shares = []
        for k in range(12):
            # Stones are gray: no habitat is further from the colors of patches.
            picture = render(
                _presets()[k], 8, np.random.default_rng(k), 96, distractors=distractors
            )
            pixels = picture.image[picture.parts == 0].astype(np.float64)
            low, high = pixels.min(axis=1), pixels.max(axis=1)
            shares.append(((high - low) / np.maximum(high, 1) > 0.6).mean())
        return float(np.mean(shares))

    assert bright_background(False) < 0.01
    assert bright_background(True) > 0.04


def test_habitats_differ_more_between_than_within():
    look = _presets()[0]

    def colors(habitat: int, k: int) -> np.ndarray:
        picture = render(look, habitat, np.random.default_rng([k, habitat]), 64)
        rows = np.array_split(picture.image, 4)
        masks = np.array_split(picture.parts == 0, 4)
        means = [r[m].mean(axis=0) for r, m in zip(rows, masks, strict=True)]
        return np.concatenate(means)

    features = np.array(
        [[colors(h, k) for k in range(12)] for h in range(len(HABITATS))]
    )
    centers = features[:, :6].mean(axis=1)
    test = features[:, 6:]
    gaps = np.linalg.norm(test[:, :, None] - centers[None, None], axis=-1)
    right = gaps.argmin(axis=-1) == np.arange(len(HABITATS))[:, None]
    assert right.mean() > 0.5  # 0.1 by chance, with 4 mean colors alone


def test_contact_sheet_is_a_grid_with_gaps():
    look = _presets()[0]
    sheet = contact_sheet([[(look, 0), (look, 1)], [(look, 2)]], size=64, gap=4)
    assert sheet.size == (2 * 68 + 4, 2 * 68 + 4)
    pixels = np.asarray(sheet)
    assert (pixels[:4] == 255).all() and (pixels[72:, 72:] == 255).all()
    assert (pixels[4:68, 4:68].std(axis=(0, 1)) > 5).all()


def test_tree_sheet_has_a_row_per_order():
    assert tree_sheet(default_tree(), columns=3, size=48).size == (160, 212)
    assert tree_sheet(default_tree(2, 1, 1, 1), size=48).size == (56, 108)
