"""The tree: hand-worked cases, the real names, and properties of random trees."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import DEFAULT_RANKS, Lineage, Taxonomy, parse_class_name

RANKS = ("order", "family", "genus", "species")


def tree(*paths: str, ranks=RANKS) -> Taxonomy:
    """A tree from lineages written with slashes."""
    return Taxonomy(Lineage(tuple(path.split("/")), ranks) for path in paths)


@pytest.fixture
def small() -> Taxonomy:
    # order A: family F (genera G: s t, H: s), family I (genus J: u); order B: K/L/s.
    return tree("A/F/G/t", "B/K/L/s", "A/F/G/s", "A/I/J/u", "A/F/H/s", "A/F/G/s")


def test_labels_number_the_sorted_prefixes(small):
    assert small.prefixes("species") == (
        ("A", "F", "G", "s"),
        ("A", "F", "G", "t"),
        ("A", "F", "H", "s"),
        ("A", "I", "J", "u"),
        ("B", "K", "L", "s"),
    )
    assert [small.num_labels(rank) for rank in RANKS] == [2, 3, 4, 5]
    assert small.label(("A", "F", "H"), "genus") == 1
    assert small.label(("A", "F", "H", "s"), "genus") == 1
    assert small.label(Lineage(("A", "F", "H", "s"), RANKS), "species") == 2
    assert small.names("species") == ("G s", "G t", "H s", "J u", "L s")
    labels = small.labels(small.lineages, "family")
    assert labels.dtype == np.int32
    assert labels.tolist() == [0, 0, 0, 1, 2]


def test_parents_rollup_descendants(small):
    assert small.parents("species", "genus").tolist() == [0, 0, 1, 2, 3]
    assert small.parents("species", "order").tolist() == [0, 0, 0, 0, 1]
    assert small.parents("species", "species").tolist() == [0, 1, 2, 3, 4]
    rollup = small.rollup("genus", "family")
    assert rollup.dtype == np.float32
    assert rollup.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert small.descendants("family", 0, "species").tolist() == [0, 1, 2]
    assert small.descendants("order", 1, "genus").tolist() == [3]
    assert small.descendants("genus", 2, "genus").tolist() == [2]
    with pytest.raises(UserError, match="species is finer than genus"):
        small.parents("genus", "species")


def test_siblings_and_only_children(small):
    assert small.siblings("species", 0).tolist() == [1]
    assert small.siblings("species", 2).tolist() == []
    assert small.siblings("family", 1).tolist() == [0]
    assert small.siblings("order", 0).tolist() == [1]
    assert small.is_only_child("species", 2)
    assert not small.is_only_child("species", 1)
    assert small.is_only_child("family", 2)


def test_lca_height_by_hand(small):
    # 0 same, 1 same genus, 2 same family, 3 same order, 4 only the root.
    heights = small.lca_height("species", 0, np.arange(5))
    assert heights.tolist() == [0, 1, 2, 3, 4]
    assert small.lca_height("order", 0, 1) == 1
    assert small.lca_height("species", [[0], [4]], [0, 4]).tolist() == [[0, 4], [4, 0]]
    assert small.lca_height("genus", [], []).shape == (0,)


@pytest.mark.parametrize("label", [-1, 5])
def test_labels_out_of_range_are_refused(small, label):
    # NumPy would silently accept -1 as the last species.
    for ask in (
        lambda: small.lca_height("species", label, 0),
        lambda: small.descendants("species", label, "species"),
        lambda: small.siblings("species", label),
    ):
        with pytest.raises(ValueError, match="expected 0 .. 4"):
            ask()
    with pytest.raises(ValueError, match="expected integers"):
        small.lca_height("species", 0.5, 0)


def test_unknown_prefixes_are_refused(small):
    with pytest.raises(UserError, match="genus 'A/F/X' is none of the 4"):
        small.label(("A", "F", "X"), "genus")
    with pytest.raises(UserError, match="does not reach down to genus"):
        small.label(("A", "F"), "genus")
    with pytest.raises(UserError, match="does not reach down"):
        small.label("A/F/G", "genus")
    with pytest.raises(UserError, match="has ranks kingdom"):
        small.label(parse_class_name("1_A_B_C_D_E_F_g"), "genus")
    with pytest.raises(UserError, match="at least one lineage"):
        Taxonomy([])
    with pytest.raises(UserError, match="expected one set"):
        Taxonomy([Lineage(("A",), ("order",)), Lineage(("A",), ("family",))])


def test_ranks_with_one_taxon_are_not_trainable():
    birds = tree("A/F/G/s", "A/F/G/t")
    assert birds.trainable_ranks() == ("species",)
    assert birds.check_trainable("Species") == "species"
    with pytest.raises(UserError) as caught:
        birds.check_trainable("genus")
    assert "'genus' has a single taxon in these data (G)" in str(caught.value)
    assert "Use one of species." in str(caught.value)
    with pytest.raises(UserError, match="of one species"):
        tree("A/F/G/s").check_trainable("species")


def test_homonyms_are_two_classes_with_two_names():
    names = (
        "00001_Animalia_Chordata_Aves_Suliformes_Sulidae_Morus_bassanus",
        "09999_Plantae_Tracheophyta_Magnoliopsida_Rosales_Moraceae_Morus_alba",
        "09998_Plantae_Tracheophyta_Magnoliopsida_Rosales_Moraceae_Ficus_carica",
    )
    taxonomy = Taxonomy(map(parse_class_name, names))
    assert taxonomy.num_labels("genus") == 3
    assert taxonomy.names("genus") == ("Morus (Sulidae)", "Ficus", "Morus (Moraceae)")
    assert taxonomy.names("species") == ("Morus bassanus", "Ficus carica", "Morus alba")
    assert taxonomy.find("Morus (Moraceae)") == ("genus", 2)
    assert taxonomy.find("Plantae/Tracheophyta") == ("phylum", 1)
    assert taxonomy.lca_height("genus", 0, 2) == 6
    with pytest.raises(UserError) as caught:
        taxonomy.find("Morus")
    assert "'Morus (Sulidae)' (genus), 'Morus (Moraceae)' (genus)" in str(caught.value)


def test_homonyms_whose_parents_are_homonyms_too():
    # Genus X in families F of two orders: the order distinguishes them. In Q no
    # single ancestor does, so the whole lineage is used.
    two = tree("A/F/X/s", "B/F/X/s")
    assert two.names("genus") == ("X (A)", "X (B)")
    assert two.names("species") == ("X s (A)", "X s (B)")
    three = tree("A/F/X/s", "A/G/X/s", "B/F/X/s")
    assert three.names("genus") == ("X (A/F)", "X (A/G)", "X (B/F)")


def test_names_stay_unique_against_names_made_to_collide():
    paths = [
        ("A", "F", "X", "s"),
        ("A", "G", "X", "s"),
        ("A", "H", "X (F)", "s"),
        ("A/F", "X", "X", "s"),
        ("A", "F/X", "X", "s"),
    ]
    taxonomy = Taxonomy(Lineage(path, RANKS) for path in paths)
    for rank in RANKS:
        assert len(set(taxonomy.names(rank))) == taxonomy.num_labels(rank)


def test_shared_epithets_and_tautonyms():
    taxonomy = tree("A/F/Buteo/buteo", "A/F/Nisus/buteo", "A/F/Buteo/nisus")
    assert taxonomy.num_labels("species") == 3
    assert taxonomy.find("Buteo buteo") == ("species", 0)
    assert taxonomy.find("Buteo") == ("genus", 0)
    # An epithet alone is no name; without an exact match the genus Nisus is found.
    assert taxonomy.find("nisus") == ("genus", 1)
    with pytest.raises(UserError, match="'Buteo buteo' or 'Nisus buteo'"):
        taxonomy.find("buteo", "species")


def test_find_exact_spelling_wins_and_ranks_separate():
    taxonomy = tree("A/Same/Same/s", "A/same/G/t")
    assert taxonomy.find("Same", "family") == ("family", 0)
    assert taxonomy.find("same", "family") == ("family", 1)
    assert taxonomy.find("SAME S") == ("species", 0)
    with pytest.raises(UserError, match="give its rank with --target_rank"):
        taxonomy.find("Same")
    with pytest.raises(UserError, match="is ambiguous"):
        taxonomy.find("SAME", "family")
    with pytest.raises(UserError, match="unknown rank 'famly'"):
        taxonomy.find("Same", "famly")
    with pytest.raises(UserError, match="Did you mean 'Same s'"):
        taxonomy.find("Sane s")


def test_order_duplicates_and_ids_change_nothing():
    names = ["00900_A_B_C_D_E_F_g", "00012_A_B_C_D_E_F_h", "05000_A_B_C_D_E_F_g"]
    one = Taxonomy(map(parse_class_name, names))
    other = Taxonomy(map(parse_class_name, reversed(names)))
    assert one == other and hash(one) == hash(other)
    assert [lineage.class_id for lineage in one.lineages] == ["00900", "00012"]
    assert one != Taxonomy(map(parse_class_name, names[:2] + ["1_A_B_C_D_E_F_z"]))


def test_from_json_refuses_what_it_cannot_read(small):
    for wrong in ({}, [], {**small.to_json(), "schema_version": 99}):
        with pytest.raises(UserError, match="schema_version"):
            Taxonomy.from_json(wrong)
    broken = small.to_json()
    del broken["lineages"][0]["taxa"]
    with pytest.raises(UserError, match="damaged"):
        Taxonomy.from_json(broken)


def test_real_names(real_data: pathlib.Path):
    text = (real_data / "inat2021_aves_class_names.txt").read_text(encoding="utf-8")
    lineages = [parse_class_name(name) for name in text.split()]
    birds = Taxonomy(reversed(lineages))
    counts = [birds.num_labels(rank) for rank in DEFAULT_RANKS]
    assert counts == [1, 1, 1, 32, 147, 648, 1486]
    assert birds.trainable_ranks() == ("order", "family", "genus", "species")
    _, passerines = birds.find("Passeriformes")
    assert len(birds.descendants("order", passerines, "species")) == 678
    singles = {"order": 7, "family": 39, "genus": 364}
    for rank, expected in singles.items():
        sizes = np.bincount(birds.parents("species", rank))
        assert (sizes == 1).sum() == expected
    assert len({one.taxa[-1] for one in lineages}) == 1162
    assert sum(one.taxa[-1] == one.taxa[-2].lower() for one in lineages) == 48
    assert all(len(set(birds.names(r))) == birds.num_labels(r) for r in DEFAULT_RANKS)
    # A subset with its own ids: labels are its own, lineages the same.
    some = Taxonomy(lineages[::7])
    assert some.num_labels("species") == 213
    for one in some.lineages[:20]:
        assert birds.prefixes("species")[birds.label(one, "species")] == one.taxa


# Few letters, so that homonyms, tautonyms and shared epithets are frequent.
_NAMES = st.sampled_from(["a", "b", "B", "é", "<i>", "a b"])
TREES = st.integers(2, 5).flatmap(
    lambda depth: st.lists(
        st.tuples(*[_NAMES] * depth).map(
            lambda p: Lineage(p, DEFAULT_RANKS[-len(p) :])
        ),
        min_size=1,
        max_size=25,
    ).map(Taxonomy)
)


@given(TREES)
@settings(deadline=None)
def test_rollups_sum_to_one_and_compose(taxonomy):
    fine, coarse = taxonomy.ranks[-1], taxonomy.ranks[0]
    direct = taxonomy.rollup(fine, coarse)
    assert (direct.sum(axis=1) == 1).all()
    assert (direct.sum(axis=0) >= 1).all()
    for middle in taxonomy.ranks:
        through = taxonomy.rollup(fine, middle) @ taxonomy.rollup(middle, coarse)
        assert (through == direct).all()


@given(TREES)
@settings(deadline=None)
def test_parents_and_descendants_agree(taxonomy):
    for depth, coarse in enumerate(taxonomy.ranks, start=1):
        seen = []
        for label, prefix in enumerate(taxonomy.prefixes(coarse)):
            below = taxonomy.descendants(coarse, label, taxonomy.finest)
            seen.extend(below.tolist())
            for one in below:
                assert taxonomy.prefixes(taxonomy.finest)[one][:depth] == prefix
        assert seen == list(range(taxonomy.num_labels(taxonomy.finest)))
        parents = taxonomy.parents(taxonomy.finest, coarse)
        assert (np.diff(parents) >= 0).all()
        assert len(set(taxonomy.names(coarse))) == taxonomy.num_labels(coarse)


@given(TREES)
@settings(deadline=None)
def test_lca_height_is_an_ultrametric(taxonomy):
    for rank in taxonomy.ranks:
        labels = np.arange(taxonomy.num_labels(rank))
        height = taxonomy.lca_height(rank, labels[:, None], labels)
        assert (height == height.T).all()
        assert ((height == 0) == np.eye(len(labels), dtype=bool)).all()
        pairs = np.maximum(height[:, :, None], height[None, :, :])  # via the middle
        assert (height[:, None, :] <= pairs).all()
        prefixes = taxonomy.prefixes(rank)
        for i, j in np.ndindex(height.shape):
            shared = 0
            for x, y in zip(prefixes[i], prefixes[j], strict=True):
                if x != y:
                    break
                shared += 1
            assert height[i, j] == len(prefixes[i]) - shared


@given(TREES)
@settings(deadline=None)
def test_every_name_and_path_finds_its_taxon(taxonomy):
    for rank in taxonomy.ranks:
        for label, name in enumerate(taxonomy.names(rank)):
            assert taxonomy.find(name, rank) == (rank, label)


@given(TREES)
@settings(deadline=None)
def test_json_round_trip(taxonomy):
    again = Taxonomy.from_json(json.loads(json.dumps(taxonomy.to_json())))
    assert again == taxonomy
    assert again.lineages == taxonomy.lineages
    for rank in taxonomy.ranks:
        assert again.prefixes(rank) == taxonomy.prefixes(rank)
        assert again.names(rank) == taxonomy.names(rank)
