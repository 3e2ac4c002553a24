"""What the compare page says of made numbers, worked out by hand."""

import numpy as np
import pytest

from hiercam_keras.modes import compare_answer, compare_table
from hiercam_keras.report import tables

MODELS = ("species", "family", "species asked for family")
EVIDENCE = {"family": ("bill_tail", 2), "species": ("patch", 4)}


def write(path, energy, right):
    """numbers.csv of 40 pictures of 10 species; `energy` and `right` by the model."""
    header = ("example_id", "species", "model", "predicted_label", "probability",
              "correct", "degenerate", "energy_on_object", "chance", "agreement",
              "part_species", "part_species_area", "coherence")  # fmt: skip
    rows = []
    for n in range(40):
        for model in MODELS:
            rows.append(
                (f"{n}.jpg", f"s{n % 10}", model, n, 0.5, right[model](n), 0,
                 energy[model](n), 0.3, 0.2 + 0.01 * n, 0.1, 0.05,
                 "coherent" if n % 2 else "undecided")
            )  # fmt: skip
    tables.write_csv(path / "numbers.csv", header, rows)
    return compare_table.read(path / "numbers.csv")


SUMMARY = [
    {"model": m, "rank": r, "accuracy": "0.9", "low": "0.85", "high": "0.94",
     "chance": "0.1"}
    for m, r in zip(MODELS, ("species", "family", "family"), strict=True)
]  # fmt: skip


@pytest.fixture
def numbers(tmp_path):
    def wave(n):
        return 0.02 * (-1) ** n

    energy = {
        "species": lambda n: 0.5,
        "family": lambda n: 0.55 + wave(n),
        "species asked for family": lambda n: 0.5,
    }
    right = {
        "species": lambda n: n % 10 < 9,
        "family": lambda n: n % 2,
        "species asked for family": lambda n: (n // 2) % 2,
    }
    return write(tmp_path, energy, right)


def test_a_difference_is_told_with_its_interval(numbers):
    first, second, _ = compare_answer.sentences(numbers, SUMMARY, {}, None, EVIDENCE)
    assert "Of 40 pictures" in first
    assert "the species model names the right species in 90.0 % (85.0 % to" in first
    # The family model has 5 points more of its energy on the bird.
    assert second.startswith("On the bird, which fills 30.0 % of the picture, lie 50.0")
    assert "55.0 % when asked for the family: 5.0 points more (" in second


def test_no_difference_is_told_as_none(numbers):
    first, _, _ = compare_answer.sentences(numbers, SUMMARY, {}, None, EVIDENCE)
    # Both are right in half of the pictures, but not in the same.
    assert "no difference seen (+0.0 points" in first


@pytest.mark.parametrize(
    ("shift", "words"),
    [(0.04, "4.0 points more ("), (-0.04, "4.0 points fewer ("), (0, "no difference")],
)
def test_which_way_a_difference_goes(shift, words):
    rng = np.random.default_rng(0)
    noise = rng.permutation(np.repeat([-0.01, 0.01], 50))
    told = compare_answer.difference(
        0.5 + shift + noise, np.full(100, 0.5), np.arange(100) // 5
    )
    assert told.startswith(words)


def test_lifts_come_from_the_part_columns(numbers):
    lifts = compare_answer.plain_lifts(numbers, EVIDENCE)
    assert set(lifts) == set(MODELS)  # and no bill_tail, which has no column
    assert lifts["family"]["patch"] == pytest.approx((2.0, 2.0, 2.0))


def test_measures_that_are_there_are_shown(numbers):
    table = compare_answer.measure_table(numbers, EVIDENCE)
    assert [row[0] for row in table.rows] == [
        "energy on the bird", "energy on the patch",
    ]  # fmt: skip
    assert table.rows[0][1] == "0.5 (0.5 to 0.5)"
    assert numbers.coherent["family"][:2] == [None, True]
    assert numbers.shared["chance"][0] == 0.3


def test_paired_differences_are_shown_as_the_file_has_them():
    row = {
        "comparison": "rank", "model_a": "family", "model_b": "species",
        "measure": "energy_on_object", "difference": "0.05", "low": "0.03",
        "high": "0.07", "p_holm": "0.001", "effect_size": "0.8",
    }  # fmt: skip
    other = row | {"comparison": "random"}
    table = compare_answer.statistics_table([row, other], EVIDENCE)
    assert table.rows == (
        (
            "energy on the bird",
            "family − species",
            "+0.05 (+0.03 to +0.07)",
            0.001,
            0.8,
        ),
    )
