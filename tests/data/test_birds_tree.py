"""Trees of procedural birds: names, and what a trait identifies."""

import itertools

import numpy as np
import pytest

from hiercam_keras.birds import (
    default_tree,
    random_tree,
    render,
    traits,
)
from hiercam_keras.birds.tree import EVIDENCE, RANKS
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import parse_class_name


def _prefix(class_dir: str, rank: int) -> tuple[str, ...]:
    return tuple(class_dir.split("_")[4 : 5 + rank])


def test_default_tree_has_48_species_with_names_that_the_reader_takes():
    tree = default_tree()
    lineages = [parse_class_name(leaf.class_dir) for leaf in tree]
    assert len({leaf.class_dir for leaf in tree}) == 48
    for rank, count in zip(RANKS, (4, 8, 16, 48), strict=True):
        assert len({lineage.prefix(rank) for lineage in lineages}) == count
    for leaf in tree:
        assert leaf.class_dir.isascii()
        _, *_, order, family, genus, epithet = leaf.class_dir.split("_")
        assert order.endswith("iformes") and family.endswith("idae")
        assert genus.istitle() and epithet.islower()


def test_epithets_come_back_in_other_genera_but_no_genus_or_family_does():
    names = [leaf.class_dir.split("_")[4:] for leaf in default_tree()]
    epithets = [name[3] for name in names]
    assert len(set(epithets)) < 12 < len(epithets)
    assert len({name[2] for name in names}) == 16
    assert len({name[1] for name in names}) == 8
    for genus in {name[2] for name in names}:
        of_genus = [name[3] for name in names if name[2] == genus]
        assert len(set(of_genus)) == 3


def test_names_stay_when_the_tree_grows():
    small = {leaf.values: leaf.class_dir[5:] for leaf in default_tree(2, 2, 2, 2)}
    large = {leaf.values: leaf.class_dir[5:] for leaf in default_tree(4, 2, 2, 2)}
    assert all(large[values] == name for values, name in small.items())


@pytest.mark.parametrize("counts", [(4, 2, 2, 3), (6, 4, 4, 4), (1, 1, 1, 1)])
def test_looks_follow_the_tree(counts):
    tree = default_tree(*counts)
    assert len(tree) == np.prod(counts)
    assert len({leaf.look for leaf in tree}) == len(tree)
    for channel, rank in zip(traits.CHANNELS, range(4), strict=True):
        for leaf in tree:
            value = getattr(leaf.look, channel)
            assert value == traits.PRESETS[channel][leaf.values[rank]]


def test_no_finer_trait_alone_predicts_a_coarser_taxon():
    """The best guess from a finer trait's value is right as often as chance."""
    tree = default_tree()
    for coarse, fine in itertools.combinations(range(4), 2):
        taxa = [_prefix(leaf.class_dir, coarse) for leaf in tree]
        channel = traits.CHANNELS[fine]
        values = [getattr(leaf.look, channel) for leaf in tree]
        right = 0
        for value in set(values):
            with_value = [t for t, v in zip(taxa, values, strict=True) if v == value]
            right += max(with_value.count(taxon) for taxon in set(with_value))
        assert right / len(tree) == pytest.approx(1 / len(set(taxa)))


def test_each_trait_tells_the_child_once_the_parent_is_known():
    tree = default_tree()
    for rank, channel in enumerate(traits.CHANNELS):
        children = {}
        for leaf in tree:
            parent = _prefix(leaf.class_dir, rank)[:-1]
            value = getattr(leaf.look, channel)
            child = _prefix(leaf.class_dir, rank)
            assert children.setdefault((parent, value), child) == child


def test_colors_of_the_bird_predict_no_taxon():
    """Nearest class mean on the mean colors of patch, wing, body and legs."""
    tree = default_tree()
    features = np.array(
        [
            [
                np.concatenate(
                    [drawn.image[drawn.parts == part].mean(axis=0) for part in (1, 4)]
                )
                for drawn in (
                    # One habitat for all: the light on the bird is not its own.
                    render(leaf.look, 3, np.random.default_rng([k, i]), 64)
                    for i in range(14)
                )
            ]
            for k, leaf in enumerate(tree)
        ]
    )  # (48, 14, 6)
    for rank, count in ((0, 4), (3, 3)):
        labels = np.array([leaf.values[rank] for leaf in tree])
        centers = np.stack(
            [features[labels == c, :7].mean(axis=(0, 1)) for c in range(count)]
        )
        gaps = np.linalg.norm(features[:, 7:, None] - centers, axis=-1)
        right = (gaps.argmin(axis=-1) == labels[:, None]).mean()
        # 336 pictures: three standard deviations above chance, and some light.
        assert right < 1 / count + 0.1


def test_habitat_belongs_to_the_family():
    for leaf in default_tree():
        order, family, _, _ = leaf.values
        assert leaf.habitat == 2 * order + family


def test_evidence_names_the_part_of_each_rank():
    assert [row[0] for row in EVIDENCE] == list(RANKS)
    assert [row[2] for row in EVIDENCE] == [1, 2, 3, 4]


@pytest.mark.parametrize("counts", [(0, 2, 2, 3), (7, 2, 2, 3), (4, 5, 2, 3)])
def test_impossible_counts_are_a_clear_error(counts):
    with pytest.raises(UserError, match="number of (order|family) values must be 1 to"):
        default_tree(*counts)


def test_random_trees_shuffle_the_roles_and_tell_values_apart():
    trees = [random_tree(np.random.default_rng(k)) for k in range(40)]
    roles = {tree.rank_of_channel for tree in trees}
    assert len(roles) > 12  # of 24
    for tree in trees:
        assert sorted(tree.rank_of_channel) == [0, 1, 2, 3]
        assert ((tree.num_values >= 2) & (tree.num_values <= 4)).all()
        for values in tree.values:
            assert len(set(values)) == len(values)
            for a, b in itertools.combinations(values, 2):
                assert traits.distance(a, b) > 0.5


def test_labels_of_a_random_tree_pick_the_channel_of_their_rank():
    tree = random_tree(np.random.default_rng(3))
    labels = tree.num_values - 1
    look = tree.look(labels)
    for channel, rank in enumerate(tree.rank_of_channel):
        expected = tree.values[channel][labels[rank]]
        assert getattr(look, traits.CHANNELS[channel]) == expected


def test_pretraining_never_draws_what_looks_like_a_preset():
    rng = np.random.default_rng(0)
    for channel in traits.CHANNELS:
        for _ in range(150):
            value = traits.RANDOM[channel](rng)
            nearest = min(traits.distance(value, p) for p in traits.PRESETS[channel])
            assert nearest >= traits.AWAY_FROM_PRESETS[channel]


def test_presets_of_a_channel_are_told_apart_by_the_distance():
    for channel, presets in traits.PRESETS.items():
        for a, b in itertools.combinations(presets, 2):
            assert traits.distance(a, b) >= traits.AWAY_FROM_PRESETS[channel]
        assert traits.distance(presets[0], presets[0]) == 0
