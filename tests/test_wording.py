"""Counts with nouns, and numbers without a negative zero."""

import math

import pytest

from hiercam_keras import wording


@pytest.mark.parametrize(
    ("noun", "several"),
    [
        ("image", "images"),
        ("species", "species"),
        ("subspecies", "subspecies"),
        ("genus", "genera"),
        ("subgenus", "subgenera"),
        ("family", "families"),
        ("key", "keys"),
        ("order", "orders"),
        ("class", "classes"),
        ("phylum", "phyla"),
        ("taxon", "taxa"),
        ("box", "boxes"),
        ("new batch", "new batches"),
        ("epoch", "epochs"),
        ("process", "processes"),
        ("epoch", "epochs"),
    ],
)
def test_counts(noun, several):
    assert wording.count(1, noun) == f"1 {noun}"
    assert [wording.count(n, noun) for n in (0, 2)] == [f"0 {several}", f"2 {several}"]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (-0.001, "{:.2f}", "0.00"),
        (-0.0, "{:+.1f}", "0.0"),
        (0.04, "{:+.1f}", "0.0"),
        (-0.05, "{:+.2f}", "-0.05"),
        (-1e-9, "{:.3g}", "-1e-09"),
        (1.0, "{:+.1f} %", "+1.0 %"),
        (math.nan, "{:.2f}", "–"),
    ],
)
def test_no_negative_zero(value, form, text):
    assert wording.number(value, form) == text


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("pictures (no animal: blank)", "picture (no animal: blank)"),
        ("rows (it names no files)", "row (it names no files)"),
        ("hidden files", "hidden file"),
        ("folders without images", "folder without images"),
    ],
)
def test_kinds(kind, one):
    assert wording.of_kind(1, kind) == f"1 {one}"
    assert wording.of_kind(2, kind) == f"2 {kind}"


def test_intervals():
    assert wording.interval(-0.001, 0.5, "{:+.2f}") == " (0.00 to +0.50)"
    assert wording.interval(math.nan, 0.5) == ""
    assert wording.too_few(5) == "too few species to say (n = 5)"
    assert wording.too_few(1, "location") == "too few locations to say (n = 1)"
