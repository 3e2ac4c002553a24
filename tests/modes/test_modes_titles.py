"""Titles of pages: what a reader calls the data, without digests."""

from types import SimpleNamespace

import pytest

from hiercam_keras.data import sources
from hiercam_keras.modes import titles


@pytest.mark.parametrize(
    ("place", "title"),
    [
        ("norway_birds", "norway birds"),
        ("norway_birds/images", "norway birds"),
        ("norway_birds/data/train", "norway birds"),
        ("plants/occurrences.csv", "plants"),
        ("plants/alps.csv", "alps"),
        ("a-b1c2d3", "a-b1c2d3"),  # a name that looks like one with a digest
    ],
)
def test_data_are_called_by_their_folder(tmp_path, place, title):
    path = tmp_path / place
    name = sources.data_name(path)
    assert name != title  # it has a digest
    assert titles.of_data(name, str(path)) == title


def test_names_of_configs_and_buckets():
    assert titles.of_data("synthetic_birds", None) == "synthetic birds"
    assert titles.of_data("birds-1a2b3c", None) == "birds-1a2b3c"
    bucket = "gs://bucket/norway/images"
    assert titles.of_data(sources.data_name(bucket), bucket) == "norway"
    assert titles.of_data(sources.data_name("/images"), "/images") == "images"


def test_titles_say_what_the_network_names():
    several = ["family", "genus", "species"]
    found = titles.of_network("alps", "bird", several)
    assert found == "alps: a network for bird families, genera and species"
    found = titles.of_network("alps", "object", ["species"])
    assert found == "alps: a network for species"
    found = titles.of_guide("alps", "plant", "genus")
    assert found == "alps: a field guide to plant genera"
    a, b, c = (
        SimpleNamespace(name=name, rank=rank)
        for name, rank in (("a", "species"), ("b", "family"), ("c", "family"))
    )
    found = titles.of_comparison("alps", "bird", [a, b])
    assert found == "alps: bird species and families, compared"
    assert titles.of_comparison("alps", "bird", [b, c]) == "alps: b and c, compared"
