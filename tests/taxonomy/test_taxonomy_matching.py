"""Matching lineages of one source to labels of another taxonomy."""

from importlib import resources

import pytest

from hiercam_keras.taxonomy.label_table import read_labels
from hiercam_keras.taxonomy.labels import Named, build
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.matching import find
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("order", "family", "genus", "species")


@pytest.fixture(scope="module")
def network():
    """Four ranks, epithets; a genus Morus of birds and one of trees."""
    taxa = [
        ("Accipitriformes", "Accipitridae", "Accipiter", "nisus"),
        ("Accipitriformes", "Accipitridae", "Accipiter", "gentilis"),
        ("Passeriformes", "Corvidae", "Corvus", "corax"),
        ("Passeriformes", "Sylviidae", "Sylvia", "atricapilla"),
        ("Suliformes", "Sulidae", "Morus", "bassanus"),
        ("Rosales", "Moraceae", "Morus", "alba"),
    ]
    return Taxonomy(Lineage(one, RANKS) for one in taxa)


def named(taxonomy, lineage):
    """The names of the labels by rank, "" for unknown ones."""
    return [
        taxonomy.names(rank)[label] if label >= 0 else ""
        for rank, label in find(taxonomy, lineage).labels.items()
    ]


def inat(order, family, genus, epithet):
    return parse_class_name(
        f"00017_Animalia_Chordata_Aves_{order}_{family}_{genus}_{epithet}"
    )


def test_seven_ranks_on_four(network):
    found = named(
        network, inat("Accipitriformes", "Accipitridae", "Accipiter", "nisus")
    )
    expected = ["Accipitriformes", "Accipitridae", "Accipiter", "Accipiter nisus"]
    assert found == expected


def test_an_unknown_species_of_a_known_family(network):
    lineage = inat("Passeriformes", "Corvidae", "Pica", "pica")
    assert named(network, lineage) == ["Passeriformes", "Corvidae", "", ""]
    assert find(network, lineage).doubts == ()
    lineage = inat("Accipitriformes", "Accipitridae", "Accipiter", "brevipes")
    assert named(network, lineage)[2:] == ["Accipiter", ""]
    lineage = inat("Strigiformes", "Strigidae", "Bubo", "bubo")
    assert named(network, lineage) == ["", "", "", ""]


def test_an_epithet_of_another_genus_is_no_match(network):
    """Two species called nisus."""
    lineage = inat("Accipitriformes", "Accipitridae", "Buteo", "nisus")
    assert named(network, lineage)[2:] == ["", ""]


def test_homonyms_are_told_by_their_ancestors(network):
    lineage = inat("Suliformes", "Sulidae", "Morus", "capensis")
    assert named(network, lineage) == ["Suliformes", "Sulidae", "Morus (Sulidae)", ""]
    short = Lineage(("Moraceae", "Morus", "rubra"), ("family", "genus", "species"))
    assert named(network, short) == ["Rosales", "Moraceae", "Morus (Moraceae)", ""]
    alone = Lineage(("Morus",), ("genus",))
    assert named(network, alone) == ["", "", "", ""]
    (doubt,) = find(network, alone).doubts
    assert "'Morus (Moraceae)' or 'Morus (Sulidae)'" in doubt


def test_a_homonym_that_the_network_does_not_know():
    """Prunella: a bird here, a plant there."""
    birds = Taxonomy([Lineage(("Passeriformes", "Prunellidae", "Prunella"), RANKS[:3])])
    plant = Lineage(("Lamiales", "Lamiaceae", "Prunella"), RANKS[:3])
    assert set(find(birds, plant).labels.values()) == {-1}
    (doubt,) = find(birds, plant).doubts
    assert "'Prunella' is in the family 'Prunellidae' here" in doubt
    assert "taken for another taxon" in doubt


def test_another_system_is_reported(network):
    """The genus has moved to another family of its order."""
    lineage = inat("Passeriformes", "Paradoxornithidae", "Sylvia", "borin")
    assert named(network, lineage) == ["Passeriformes", "Sylviidae", "Sylvia", ""]
    (doubt,) = find(network, lineage).doubts
    assert "'Sylviidae' here and in 'Paradoxornithidae' there" in doubt
    assert "taken for the same taxon" in doubt


def test_a_binomial_is_one_species_in_any_system(network):
    """A binomial matches even if all ancestors differ."""
    lineage = Lineage(("Ravens", "Corvus corax"), ("family", "scientific name"))
    assert named(network, lineage) == [
        *("Passeriformes", "Corvidae", "Corvus", "Corvus corax")
    ]
    assert "'Ravens'" in find(network, lineage).doubts[0]


def test_ranks_of_one_meaning_are_the_same(network):
    lineage = Lineage(("accipiter", "NISUS"), ("genus", "epithet"))
    assert named(network, lineage)[3] == "Accipiter nisus"


def test_plain_names_are_looked_up_at_all_ranks(network):
    def of(name):
        return named(network, Lineage((name,), ("label",)))

    assert of("Corvus_corax")[3] == "Corvus corax"
    assert of("corvidae") == ["Passeriformes", "Corvidae", "", ""]
    assert of("Morus (Sulidae)")[:3] == ["Suliformes", "Sulidae", "Morus (Sulidae)"]
    assert of("Morus") == [""] * 4
    assert of("bicycle") == [""] * 4


def test_ranks_on_plain_labels():
    """A network with labels that have no taxonomic ranks."""
    plain = Taxonomy(Lineage((name,), ("label",)) for name in ("Corvidae", "Bubo bubo"))
    owl = find(plain, inat("Strigiformes", "Strigidae", "Bubo", "bubo"))
    assert owl.labels == {"label": plain.find("Bubo bubo")[1]}
    magpie = find(plain, inat("Passeriformes", "Corvidae", "Pica", "pica"))
    assert magpie.labels == {"label": plain.find("Corvidae")[1]}


def test_unnamed_taxa_are_not_a_species():
    """A network that predicts genera does not know the species in them."""
    labels = build(
        RANKS,
        {
            None: [
                Named(("Gruiformes", "Gruidae", "Grus"), "1"),
                Named(("Suliformes", "Sulidae"), "2"),
                Named((*("Passeriformes", "Corvidae"), "Pica", "pica"), "3"),
            ]
        },
    )
    tree = labels.taxonomy
    lineage = inat("Gruiformes", "Gruidae", "Grus", "grus")
    assert named(tree, lineage) == ["Gruiformes", "Gruidae", "Grus", ""]
    lineage = inat("Suliformes", "Sulidae", "Morus", "bassanus")
    assert named(tree, lineage) == ["Suliformes", "Sulidae", "", ""]


def test_every_taxon_of_a_tree_is_found_in_it(network):
    """A tree matched to itself gives the labels of `Taxonomy.label`."""
    for lineage in network.lineages:
        expected = {rank: network.label(lineage, rank) for rank in network.ranks}
        assert find(network, lineage).labels == expected
        assert find(network, lineage).doubts == ()


def test_the_birds_of_imagenet_and_of_inat2021(real_data):
    """Two real sources without contradictions; some species match at genus only."""
    birds = resources.files("hiercam_keras") / "assets" / "imagenet_birds.csv"
    tree = read_labels(birds).taxonomy
    names = (real_data / "inat2021_aves_class_names.txt").read_text("utf-8").split()
    found = [find(tree, parse_class_name(name)) for name in names]
    assert not [one for one in found if one.doubts]
    known = {rank: sum(one.labels[rank] >= 0 for one in found) for rank in tree.ranks}
    assert known["order"] > known["family"] > known["genus"] > known["species"] > 20
    eagle = next(i for i, name in enumerate(names) if "_leucocephalus" in name)
    label = found[eagle].labels["species"]
    assert tree.names("species")[label] == "Haliaeetus leucocephalus"
