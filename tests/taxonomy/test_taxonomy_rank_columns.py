"""Detection and order of the rank columns of a table."""

from collections import Counter

import pytest

from hiercam_keras.taxonomy.rank_columns import choose

# Two images of each of six species in three genera and two families.
BIRDS = {
    "Anas crecca": ("Anatidae", "Anas"),
    "Anas acuta": ("Anatidae", "Anas"),
    "Anser anser": ("Anatidae", "Anser"),
    "Anser fabalis": ("Anatidae", "Anser"),
    "Picus canus": ("Picidae", "Picus"),
    "Picus viridis": ("Picidae", "Picus"),
}
TAXA = {
    "family": [family for family, _ in BIRDS.values() for _ in (0, 1)],
    "genus": [genus for _, genus in BIRDS.values() for _ in (0, 1)],
    "species": [name for name in BIRDS for _ in (0, 1)],
}
NO_RANKS = {
    "data set": (["train", "valid"] * 5 + ["test", "train"], None),
    "location": (["Oslo", "Bergen", "Oslo"] * 4, "cross those of species"),
    "weight": ([f"{i % 5}.5" for i in range(12)], "numbers"),
    "year": (["2019", "2020", "2021"] * 4, "numbers"),
    "seen": (["2019-08-13", "2019-09-01T10:00:00Z"] * 6, "dates or times"),
    "seen on": (["13.8.2019", "1.9.2019"] * 6, "dates or times"),
    "day": (["March 17, 2008 12:00", "2 May 2011"] * 6, "dates or times"),
    "time": (["12:30", "7:02:11"] * 6, "dates or times"),
    "lat": (["59.91", "-60,4"] * 6, "numbers"),
    "where": (["59°54'12\"N 10°44'E", "60.4, 5.32"] * 6, "numbers"),
    "remark": ([f"remark {i}" for i in range(12)], "its values are all different"),
    "photo": ([f"{i:05d}" for i in range(12)], "numbers"),
    "ring": (["a", ""] * 6, "6 of its 12 cells are empty"),
    "unnamed column 1": (list("ab") * 6, "it has no name"),
}


def chosen(columns, wanted=(), **options):
    counts = Counter(zip(*columns.values(), strict=True))
    return choose(list(columns), counts, wanted, **options)


@pytest.mark.parametrize("name", NO_RANKS)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_no_rank_is_left_out(name, first):
    cells, why = NO_RANKS[name]
    columns = {name: cells, **TAXA} if first else {**TAXA, name: cells}
    choice = chosen(columns)
    assert choice.ranks == ("family", "genus", "species")
    if why is None:
        assert choice.split == name and not choice.left_out
    else:
        assert why in choice.left_out[name] and choice.split is None
        wanted = ("species", name)  # the flag includes it again
        assert set(chosen(columns, wanted).ranks) == set(wanted)


@pytest.mark.parametrize("name", ["class", "order", "species", "label", "tribe"])
@pytest.mark.parametrize("kind", ["location", "year", "seen", "remark", "data set"])
def test_a_known_name_is_always_a_rank(name, kind):
    others = {key: cells for key, cells in TAXA.items() if key != name}
    choice = chosen({**others, name: NO_RANKS[kind][0]})
    assert name in choice.ranks and choice.split is None


@pytest.mark.parametrize(
    "cells",
    [
        [f"{morph}" for i in range(6) for morph in (f"gray {i}", f"red {i}")],
        ["gray", "red"] + [f"only {i // 2}" for i in range(10)],
        [str(i // 2) + str(i % 2) for i in range(12)],
        [f"2019-0{i // 4 + 1}-1{i % 2}" for i in range(24)],
    ],
)
def test_what_nests_below_a_rank_is_one(cells):
    repeat = 2 if len(set(cells)) == len(cells) else len(cells) // 12
    columns = {"morph": [cell for cell in cells for _ in range(repeat)]}
    columns["morph"] = columns["morph"][: 12 * repeat]
    for name, taxa in TAXA.items():
        columns[name] = [taxon for taxon in taxa for _ in range(repeat)]
    assert chosen(columns).ranks == ("family", "genus", "species", "morph")


def test_numbers_may_name_individuals():
    """1 1 2 of one species, 3 3 4 of another: each number has one species."""
    columns = {"species": list("AAABBB"), "ring": list("112334")}
    assert chosen(columns).ranks == ("species", "ring")
    once = {"species": list("AAABBB"), "ring": list("123455")}
    assert chosen(once).ranks == ("species",)


def test_a_column_above_a_rank_is_one_and_comes_before_it():
    guild = ["duck"] * 4 + ["goose"] * 4 + ["woodpecker"] * 4
    assert chosen({**TAXA, "guild": guild}).ranks == (
        "family",
        "genus",
        "guild",
        "species",
    )


@pytest.mark.parametrize(
    "order",
    [("species", "genus", "family"), ("genus", "species", "family")],
)
def test_fine_to_coarse_is_turned(order):
    columns = {name: TAXA[name] for name in order}
    assert chosen(columns).ranks == ("family", "genus", "species")
    assert chosen(columns, order).ranks == ("family", "genus", "species")


def test_unknown_names_are_ordered_by_nesting():
    names = {"species": "finding", "genus": "part", "family": "organ"}
    columns = {names[name]: cells for name, cells in reversed(TAXA.items())}
    columns["hospital"] = NO_RANKS["location"][0]
    choice = chosen(columns)
    assert choice.ranks == ("organ", "part", "finding")
    assert "cross" in choice.left_out["hospital"]


def test_epithets_that_repeat_are_the_finest():
    """americana is in two genera: the names alone do not nest."""
    columns = {
        "species": ["americana", "nigra", "americana", "alba"],
        "genus": ["Fulica", "Fulica", "Certhia", "Certhia"],
    }
    assert chosen(columns).ranks == ("genus", "species")


@pytest.mark.parametrize("coarse", ["genus", "family"])
def test_names_that_repeat_in_single_taxa_are_the_finest(coarse):
    """Each genus has one epithet, so genera nest below epithets."""
    columns = {
        coarse: ["Corvus", "Pica", "Larus", "Sterna"],
        "species": ["minor", "minor", "major", "minor"],
    }
    assert chosen(columns).ranks == (coarse, "species")


def test_a_scientific_name_is_finer_than_a_genus():
    columns = {
        "scientific_name": ["Anas crecca", "Picus canus"],
        "genus": ["Anas", "Picus"],
    }
    assert chosen(columns).ranks == ("genus", "scientific_name")


def test_one_value_in_all_rows_is_no_rank():
    assert "one value" in chosen({**TAXA, "license": ["CC0"] * 12}).left_out["license"]
    kingdom = chosen({**TAXA, "kingdom": ["Animalia"] * 12})
    assert kingdom.ranks == ("kingdom", "family", "genus", "species")


def test_nesting_beats_a_known_order():
    """`class` is often the name of a network's output, not of the rank."""
    columns = {"class": TAXA["species"], "family": TAXA["family"]}
    assert chosen(columns).ranks == ("family", "class")


def test_names_may_repeat_where_no_rank_is_known():
    columns = {"organ": ["lung", "lung", "heart"], "finding": ["a", "b", "a"]}
    assert chosen(columns).ranks == ("organ", "finding")


def test_classes_may_be_numbers_where_nothing_else_is_there():
    choice = chosen({"id": list("123456"), "target": list("001122")})
    assert choice.ranks == ("target",) and "numbers" in choice.left_out["id"]


@pytest.mark.parametrize("name", ["subset", "fold", "partition", "data_set"])
def test_split_words_are_the_split(name):
    cells = ["Training", "validation", "TEST"] * 4
    assert chosen({**TAXA, name: cells}).split == name
    both = chosen({**TAXA, name: cells, "split": ["train", "test"] * 6})
    assert both.split == "split" and "split words" in both.left_out[name]


def test_a_split_with_another_word_is_still_the_split():
    """The column stays the split, so that the reader reports the invalid line."""
    cells = ["train", "test", "extra"] * 4
    assert chosen({**TAXA, "subset": cells}).split == "subset"
    assert chosen({**TAXA, "place": cells}).split is None


def test_folds_by_number_are_no_split():
    choice = chosen({**TAXA, "fold": list("012") * 4})
    assert choice.split is None and "numbers" in choice.left_out["fold"]


def test_long_cells_take_no_time():
    cells = ["1" * 50_000 + "x", "1 " * 50_000 + "!", "2019-01-01" * 9_000, "x"] * 3
    assert chosen({**TAXA, "note": cells}).ranks == ("family", "genus", "species")


def test_codes_are_no_numbers():
    codes = [f"{letter}{i // 2}" for i, letter in enumerate("NNSSEEWWNNSS")]
    assert chosen({"genus": TAXA["genus"], "kind": codes}).ranks == ("genus", "kind")


def test_a_row_a_class():
    columns = {
        "source": ["book", "web"] * 3,
        "n": list("123456"),
        "species": list(BIRDS),
        "family": [family for family, _ in BIRDS.values()],
        "name": [f"name {i}" for i in range(6)],
    }
    choice = chosen(columns, classes=True)
    assert choice.ranks == ("family", "species")
    assert set(choice.left_out) == {"source", "n", "name"}


@pytest.mark.parametrize("classes", [False, True])
def test_a_second_name_of_each_species_is_no_rank(classes):
    """A code, or the name in a language: it would be a step with the probability 1."""
    codes = [f"{name[:2]}{name[-5:]}" for name in TAXA["species"]]
    columns = {"code": codes, **TAXA}
    if classes:
        columns = {name: cells[::2] for name, cells in columns.items()}
    choice = chosen(columns, classes=classes)
    assert choice.ranks == ("family", "genus", "species")
    assert choice.left_out == {"code": "it has one value for each species"}
    assert "code" in chosen(columns, ("family", "code"), classes=classes).ranks


def test_names_next_to_numbers_of_a_known_rank_stay():
    """A column `class` of numbers does not say more than the names next to it."""
    columns = {
        "class": list("001122"),
        "bird": ["wren"] * 2 + ["owl"] * 2 + ["tit"] * 2,
    }
    assert chosen(columns).ranks == ("class", "bird")
