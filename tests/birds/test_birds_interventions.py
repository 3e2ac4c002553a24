"""Birds with one part exchanged: what changes, what stays, and what it becomes."""

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
    write_dataset,
)
from hiercam_keras.birds import draw as drawing
from hiercam_keras.birds.anatomy import build
from hiercam_keras.birds.donors import donors, draw_donor, form, taxon
from hiercam_keras.birds.habitats import HABITATS
from hiercam_keras.birds.interventions import (
    BIRD,
    HOWS,
    PARTS,
    PLACEMENT,
    redrawn,
)
from hiercam_keras.birds.patch import patch_on
from hiercam_keras.birds.picture import bounding_box, develop
from hiercam_keras.birds.tree import default_tree
from hiercam_keras.errors import UserError

# Rank of the part's form, 0 the coarsest.
LEVEL = {"body": 0, "bill_and_tail": 1, "wing": 2, "patch": 3}
LEVEL |= {"habitat": 1, "legs": 0, BIRD: 0}
ALL = list(itertools.product((*PARTS, BIRD), HOWS))
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
def drawn(bird):
    """The bird as it was, and every exchange."""
    found = exchanges(bird, (*PARTS, BIRD))
    return bird.draw(), {(one.part, one.how): one for one in found}


def _shown(parts: np.ndarray, part: str) -> np.ndarray:
    """Where labels show a part; the habitat is the background."""
    if part == BIRD:
        return parts > 0
    return parts == drawing.PARTS.index("background" if part == "habitat" else part)


def _widened(mask: np.ndarray) -> np.ndarray:
    """A mask and the pixels around it, corners too."""
    padded = np.pad(mask, 1)
    size = mask.shape[0]
    near = [padded[y : y + size, x : x + size] for y in range(3) for x in range(3)]
    return np.logical_or.reduce(near)


@pytest.mark.parametrize(("part", "how"), ALL)
def test_nothing_changes_but_the_part_and_a_pixel_around_it(drawn, part, how):
    before, found = drawn
    after = found[part, how]
    shown = _shown(before.parts, part) | _shown(after.parts, part)
    differs = (after.image != before.image).any(axis=-1)
    assert after.changed and differs.any()
    assert not (differs & ~after.mask).any()
    if part != BIRD:  # which is removed to the last thin tip
        assert not (differs & ~_widened(shown)).any()
    assert ((before.parts == after.parts) | shown).all()


def test_every_exchange_changes_the_part_itself(drawn):
    """Not an edge of it: most of what was or is of the part differs."""
    before, found = drawn
    for (part, how), after in found.items():
        gone = _shown(before.parts, part) & ~_shown(after.parts, part)
        if how == "removed" and part != "habitat":
            assert (gone == _shown(before.parts, part)).all()
        elif part in ("wing", "habitat"):  # of the same outline
            assert not gone.any()
            gone = _shown(before.parts, part)
        assert gone.sum() >= 4
        differs = (after.image != before.image).any(axis=-1)
        least = 0.85
        if part == "habitat" or (part == "wing" and how != "removed"):
            least = 0.25  # clutter stays, as do colors that both patterns have
        assert differs[gone].mean() > least, (part, how)


def test_other_parts_change_only_where_the_new_form_hides_them(drawn):
    """What reads the inside of one part sees no exchange of another one."""
    before, found = drawn
    pairs = 0
    for (part, how), after in found.items():
        differs = (after.image != before.image).any(axis=-1)
        for other in PARTS:
            if part in (other, BIRD):
                continue
            inside = ~_widened(~_shown(before.parts, other))
            seen = differs & inside
            if how == "removed" or part == "habitat":
                assert not seen.any(), (part, how, other)
            else:
                hidden = _widened(_shown(after.parts, part))
                assert not (seen & ~hidden).any(), (part, how, other)
            pairs += inside.any() and not seen.any()
    assert pairs > 50  # of 90: most exchanges hide nothing of most parts


def test_a_habitat_is_exchanged_behind_the_bird_alone(drawn, bird):
    before, found = drawn
    inside = ~_widened(before.parts == 0)
    # Pixels at the outline are mixed with what is behind them.
    covered = ~drawing.footprint(bird.set_up().regions(), ("background",))
    assert inside.sum() > 0.1 * inside.size
    for how in HOWS:
        after = found["habitat", how]
        np.testing.assert_array_equal(after.image[inside], before.image[inside])
        np.testing.assert_array_equal(after.image[covered], before.image[covered])
        behind = (before.parts == 0) & after.mask
        changed = (after.image[behind] != before.image[behind]).any(axis=-1)
        assert changed.mean() > 0.5  # the rest is clutter and a mound


@pytest.mark.parametrize("part", [part for part in PARTS if part != "habitat"])
def test_removed_parts_leave_what_is_behind_them(drawn, bird, part):
    """Where nothing else of the bird is, that is the scene without a bird."""
    before, found = drawn
    after = found[part, "removed"]
    assert not _shown(after.parts, part).any()
    empty = found[BIRD, "removed"].image
    gone = _shown(before.parts, part) & ~_widened(after.parts > 0)
    np.testing.assert_array_equal(after.image[gone], empty[gone])
    if part in ("body", "bill_and_tail", "legs"):
        assert gone.any()


def test_a_removed_bird_is_an_empty_scene(drawn, bird):
    after = drawn[1][BIRD, "removed"]
    assert not after.parts.any() and bounding_box(after.parts) == (0, 0, 0, 0)
    setup = bird.set_up()
    far = dataclasses.replace(
        setup.placement, shift=setup.placement.shift + 100 * bird.size
    )
    gone = dataclasses.replace(setup, placement=far)
    np.testing.assert_array_equal(after.image, develop(gone, gone.regions()).image)


@pytest.mark.parametrize("how", ["sibling", "unrelated"])
def test_a_wing_is_that_of_the_donor_in_the_same_pose(drawn, bird, how):
    """Wings have one outline, so that nothing else of the donor's picture differs."""
    (donor,) = [
        leaf
        for leaf in donors(bird, "wing", how)
        if taxon(leaf, "wing") == drawn[1]["wing", how].donor
    ]
    look = dataclasses.replace(bird.leaf.look, wing=donor.look.wing)
    if how == "sibling":
        assert donor.look == look
    other = dataclasses.replace(bird, leaf=dataclasses.replace(donor, look=look))
    expected = other.draw()
    np.testing.assert_array_equal(drawn[1]["wing", how].image, expected.image)
    np.testing.assert_array_equal(drawn[1]["wing", how].parts, expected.parts)


@pytest.mark.parametrize("part", ["bill_and_tail", "patch", "legs"])
@pytest.mark.parametrize("how", ["sibling", "unrelated"])
def test_a_part_is_that_of_the_donor_in_the_same_place(drawn, bird, part, how):
    """The labels are those of the whole donor where the bird is, built by itself."""
    after = drawn[1][part, how]
    donor = _donor(bird, part, after)
    setup, look = bird.set_up(), bird.leaf.look
    if part == "legs":
        body = dataclasses.replace(look.body, leg=donor.look.body.leg)
        look = dataclasses.replace(look, body=body)
    elif part == "patch":
        look = dataclasses.replace(look, patch_place=donor.look.patch_place)
    else:
        look = dataclasses.replace(look, bill_tail=donor.look.bill_tail)
    own = build(look, setup.posture)
    regions = drawing.draw_regions(
        own,
        look.wing,
        patch_on(own, look.patch_place, setup.patch_radius),
        setup.placement,
        bird.size,
    )
    expected = develop(setup, regions)
    np.testing.assert_array_equal(after.parts, expected.parts)
    inside = _shown(after.parts, part)
    np.testing.assert_array_equal(after.image[inside], expected.image[inside])


def _donor(bird, part, after):
    (donor,) = [
        leaf
        for leaf in donors(bird, part, after.how)
        if taxon(leaf, part) == after.donor
    ]
    return donor


def test_a_body_is_that_of_the_donor_under_parts_that_stay(drawn, bird):
    before, found = drawn
    setup = bird.set_up()
    open_sky = dataclasses.replace(setup, blades=None)
    kept = develop(open_sky, setup.regions(without="body")).parts
    for how in ("sibling", "unrelated"):
        after = found["body", how]
        look = dataclasses.replace(
            bird.leaf.look, body=_donor(bird, "body", after).look.body
        )
        own = dataclasses.replace(open_sky, bird=build(look, setup.posture))
        donor = develop(own, own.regions()).parts
        seen = (setup.blades is None) or ~setup.blades.mask
        above = np.isin(
            kept, [drawing.PARTS.index(p) for p in ("bill_and_tail", "wing", "patch")]
        )
        assert (after.parts[(donor == 1) & ~above & seen] == 1).all()
        assert np.isin(donor[after.parts == 1], (1, 2, 3, 4)).all()
        eyes = (before.parts == 1) | (after.parts == 1)  # above all other parts
        for part in ("wing", "patch"):
            same = _shown(after.parts, part) == _shown(before.parts, part)
            assert (same | eyes).all()


@pytest.mark.parametrize("how", ["sibling", "unrelated"])
def test_a_whole_bird_is_the_donor_as_the_generator_draws_it(drawn, bird, how):
    after = drawn[1][BIRD, how]
    donor = _donor(bird, BIRD, after)
    assert after.donor == drawn[1]["body", how].donor
    other = dataclasses.replace(bird, leaf=donor)
    expected = other.draw()
    np.testing.assert_array_equal(after.parts, expected.parts)
    covered = ~drawing.footprint(other.set_up().regions(), ("background",))
    np.testing.assert_array_equal(after.image[covered], expected.image[covered])


def test_without_an_exchange_a_bird_is_the_same_to_the_byte(bird):
    first, again = bird.draw(), bird.draw()
    assert first.image.tobytes() == again.image.tobytes()
    assert first.parts.tobytes() == again.parts.tobytes()
    other = bird_of(bird.settings, bird.example_id, size=bird.size).draw()
    assert first.image.tobytes() == other.image.tobytes()


def test_an_exchange_is_the_same_alone_and_among_others(drawn, bird):
    for part, how in (
        ("patch", "sibling"),
        ("body", "removed"),
        ("habitat", "removed"),
    ):
        alone = exchange(bird, part, how)
        among = drawn[1][part, how]
        for field in dataclasses.fields(alone):
            np.testing.assert_array_equal(
                getattr(alone, field.name), getattr(among, field.name)
            )


def test_a_bird_is_that_of_the_data_set_before_its_jpeg(tmp_path):
    small = {"orders": 2, "families": 1, "genera": 1, "species": 2}
    small |= {"images_per_species": 2, "images_per_burst": 2, "image_size": (64, 80)}
    settings = DatasetSettings(**small)
    root = write_dataset(tmp_path / "data", workers=0, **small)
    paths = sorted((root / "images").rglob("*.jpg"))
    assert len(paths) == 8
    for path in paths:
        bird = bird_of(settings, path.relative_to(root / "images").as_posix())
        drawn = bird.draw()
        Image.fromarray(drawn.image).save(tmp_path / "one.jpg", quality=bird.quality)
        assert (tmp_path / "one.jpg").read_bytes() == path.read_bytes()
        with Image.open(root / "parts" / f"{bird.example_id[:-4]}.png") as parts:
            np.testing.assert_array_equal(drawn.parts, parts)


def test_a_bird_is_the_same_at_every_size():
    def shares(size: int) -> np.ndarray:
        parts = bird_at(DatasetSettings(), 5, 3, size=size).draw().parts
        at = (np.arange(48) + 0.5) * size / 48
        return parts[np.ix_(at.astype(int), at.astype(int))]

    small, large = shares(96), shares(240)
    assert (small == large).mean() > 0.95


@pytest.mark.parametrize(
    ("example_id", "size"),
    [
        ("0000.jpg", None),
        ("00000_Animalia/0000.jpg", None),
        (f"{default_tree()[1].class_dir}/0060.jpg", None),
        (f"{default_tree()[1].class_dir}/0000.png", None),
        (f"00048{default_tree()[0].class_dir[5:]}/0000.jpg", None),
        (f"{default_tree()[0].class_dir}/0000.jpg", 47),
    ],
)
def test_birds_that_are_not_in_the_data_set_are_errors(example_id, size):
    with pytest.raises(UserError, match=r"expected|at least 48"):
        bird_of(DatasetSettings(), example_id, size=size)


@pytest.mark.parametrize(("part", "how"), [("beak", "removed"), ("wing", "swapped")])
def test_unknown_parts_and_ways_are_errors(part, how):
    with pytest.raises(UserError, match="must be one of"):
        exchange(bird_at(DatasetSettings(), 0, 0, size=48), part, how)


def test_donors_have_another_form_and_differ_where_they_should():
    settings = DatasetSettings(habitat_correlation=0.5)
    tree = settings.tree()
    for species, part in itertools.product(range(0, 48, 7), (*PARTS, BIRD)):
        bird = bird_at(settings, species, 1)
        own = bird.habitat if part == "habitat" else form(bird.leaf, part)
        siblings = donors(bird, part, "sibling")
        strangers = donors(bird, part, "unrelated")
        assert all(form(leaf, part) != own for leaf in siblings + strangers)
        level = LEVEL[part]
        for leaf in siblings:
            assert leaf in tree
            different = np.flatnonzero(np.not_equal(leaf.values, bird.leaf.values))
            assert different.tolist() == [level]
        assert strangers
        for leaf in strangers:
            assert leaf.values[0] != bird.leaf.values[0]
            assert leaf.values[level + 1 :] == bird.leaf.values[level + 1 :]
            if part == "habitat":
                own_order = [o for o in tree if o.values[0] == bird.leaf.values[0]]
                assert leaf.habitat not in {o.habitat for o in own_order}
            else:
                assert form(leaf, part) not in {form(one, part) for one in tree}


def test_a_donor_is_a_matter_of_the_seed():
    bird = bird_at(DatasetSettings(), 0, 0, size=48)
    names = [exchange(bird, "patch", "sibling", seed=seed).donor for seed in range(8)]
    assert len(set(names)) == 2
    again = [exchange(bird, "patch", "sibling", seed=seed).donor for seed in range(8)]
    assert names == again


@pytest.mark.parametrize(
    ("counts", "part", "how"),
    [
        ({"species": 1}, "patch", "sibling"),
        ({"genera": 1}, "wing", "sibling"),
        ({"families": 1}, "habitat", "sibling"),
        ({"orders": 6}, "body", "unrelated"),
        ({"orders": 6}, BIRD, "unrelated"),
    ],
)
def test_without_another_form_nothing_changes_and_that_is_marked(counts, part, how):
    bird = bird_at(DatasetSettings(**counts), 1, 2, size=48)
    after = exchange(bird, part, how)
    before = bird.draw()
    assert not after.changed and after.donor == ""
    np.testing.assert_array_equal(after.image, before.image)
    np.testing.assert_array_equal(after.parts, before.parts)


def test_a_bird_in_the_habitat_of_its_sibling_has_no_other_one_from_there():
    settings = DatasetSettings(habitat_correlation=0.0)
    sibling = settings.tree()[6].habitat
    index = next(i for i in range(60) if bird_at(settings, 0, i).habitat == sibling)
    after = exchange(bird_at(settings, 0, index, size=48), "habitat", "sibling")
    assert not after.changed and after.donor == ""
    assert HABITATS[sibling].name == "forest"


def test_where_all_forms_are_in_the_tree_a_stranger_has_that_of_a_sibling():
    settings = DatasetSettings(families=4, genera=4, species=4)
    bird = bird_at(settings, 0, 0)
    for part in ("bill_and_tail", "wing", "patch"):
        forms = {form(leaf, part) for leaf in donors(bird, part, "unrelated")}
        assert forms == {form(leaf, part) for leaf in donors(bird, part, "sibling")}
        assert len(forms) == 3


@pytest.mark.parametrize("how", ["sibling", "unrelated"])
def test_a_bird_in_another_placement_keeps_its_forms(how):
    """It is as large and where it would be with the donor's bill and tail."""
    bird = bird_at(DatasetSettings(), 20, 3, size=96)
    donor = draw_donor(bird, PLACEMENT, how, 0)
    assert donor == draw_donor(bird, "bill_and_tail", how, 0)
    setup = bird.set_up()
    other, _ = redrawn(bird, setup, setup.regions(), PLACEMENT, donor)
    look = dataclasses.replace(bird.leaf.look, bill_tail=donor.look.bill_tail)
    fitted = bird.set_up(look=look).placement
    np.testing.assert_array_equal(other.placement.matrix, fitted.matrix)
    np.testing.assert_array_equal(other.placement.shift, fitted.shift)
    assert not np.array_equal(other.placement.matrix, setup.placement.matrix)
    assert other.look == setup.look
    for shape in ("bill", "tail", "wing"):
        mine, same = getattr(setup.bird, shape), getattr(other.bird, shape)
        np.testing.assert_array_equal(mine, same)
    assert exchange(bird, PLACEMENT, how).changed


def test_a_placement_cannot_be_removed():
    bird = bird_at(DatasetSettings(), 20, 3, size=96)
    found = exchange(bird, PLACEMENT, "removed")
    assert not found.changed and found.donor == ""
