"""What the compare page says of made numbers, worked out by hand."""

import dataclasses
import json
import math
import types

import numpy as np
import pytest

from hiercam_keras import tables
from hiercam_keras.evaluation.table import Table
from hiercam_keras.metrics import statistics
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes import compare as compare_mode
from hiercam_keras.modes import (
    compare_answer,
    compare_claims,
    compare_figures,
    compare_lifts,
    compare_tables,
)
from hiercam_keras.modes.compare_lifts import Lift
from hiercam_keras.modes.compare_steps import Steps
from hiercam_keras.modes.comparison.measure import Compared
from hiercam_keras.report import intervals

MODELS = ("species", "family", "species asked for family")
EVIDENCE = {"family": ("bill_and_tail", 2), "species": ("patch", 4)}


def compare(energy, right, part=lambda n: 0.1, pictures=40, species=10):
    """Numbers of made pictures; `energy` and `right` by the model."""
    every = range(pictures)

    def values(of):
        return np.array([[of(model, n) for model in MODELS] for n in every])

    table = Table(
        example_ids=np.array([f"{n}.jpg" for n in every]),
        groups=np.array([f"s{n % species}" for n in every]),
        questions=MODELS,
        ranks=("species", "family", "family"),
        values={
            "true": values(lambda model, n: n),
            "predicted": values(lambda model, n: n if right[model](n) else -1),
            "energy_on_object": values(lambda model, n: energy[model](n)),
            "part_species": values(lambda model, n: part(n)),
        },
        pictures={
            "object_area": np.full(pictures, 0.3),
            "agreement": np.array([0.2 + 0.01 * n for n in every]),
            "part_species_area": np.full(pictures, 0.05),
        },
    )
    measures = ("heatmap_area", "energy_on_object", "part_species")
    return Compared(table, measures, ("part_species_area",))


def row(model, rank, run="", asked_of="", accuracy=0.9):
    return {
        "model": model, "rank": rank, "accuracy": accuracy, "low": 0.85,
        "high": 0.94, "chance": 0.1, "asked_of": asked_of, "method": "gradcam",
        "run": run or rank, "pictures": 40, "species": 10,
        "object_pictures": 40,
    }  # fmt: skip


SUMMARY = [
    row("species", "species"),
    row("family", "family"),
    row("species asked for family", "family", "species", "species"),
]


def rows_of(numbers, *kinds):
    """Rows of statistics.csv: (comparison, model_a, model_b) each."""
    rows, table = [], numbers.table

    def measures(model):
        found = {"correct": table.right(model).astype(float)}
        return found | {
            name: table.of(name, model) for name in ("energy_on_object", "part_species")
        }

    for kind, a, b in kinds:
        first, second = measures(a), measures(b)
        tested = statistics.compare_all(
            {name: (first[name], second[name]) for name in first}, table.groups
        )
        rows += [
            {"comparison": kind, "model_a": a, "model_b": b, "measure": name} | figures
            for name, figures in tested.items()
        ]
    return rows


KINDS = (
    ("rank", "species", "family"),
    ("asked", "family", "species asked for family"),
)


def sentences(numbers):
    return compare_answer.sentences(
        numbers, SUMMARY, [], statistics=rows_of(numbers, *KINDS)
    )


@pytest.fixture
def numbers():
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
    return compare(energy, right)


def test_a_difference_is_told_with_its_interval(numbers):
    first, second, _ = sentences(numbers)
    assert first.startswith("Of 40 pictures that no model had learned from, the")
    assert "the species model names the right species in 90.0 % (85.0 % to" in first
    # The family model has 5 points more of its energy on the object.
    assert second.startswith("On the object, which fills 30.0 % of the picture, is 50")
    assert "55.0 % when asked for the family: 5.0 points more (" in second


def test_no_difference_is_told_as_none(numbers):
    first, _, _ = sentences(numbers)
    # Both are right in half of the pictures, but not in the same.
    assert "no significant difference (0.0 points, -" in first


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("train", "40 pictures that the models had learned from, the"),
        ("val", "that no model had learned from, though they chose the epoch"),
        ("test", "40 pictures that no model had learned from, the"),
    ],
)
def test_what_the_models_know_of_the_pictures(numbers, split, words):
    assert words in compare_answer.sentences(numbers, SUMMARY, [], split)[0]


def test_a_model_by_two_methods_is_right_once(numbers):
    by_layercam = row("species asked for family", "species", "species")
    summary = [SUMMARY[0], by_layercam, SUMMARY[1]]
    first = compare_answer.accuracy_sentence(
        numbers, summary, "test", compare_claims.Tested([])
    )
    assert first.count("names the right") == 2
    assert first.count("names the right species") == 1
    assert len(compare_answer.answers(summary)) == 2
    # Each method has its own part: energy differs by the method.
    rows = rows_of(numbers, ("method", "species", "species asked for family"))
    second = compare_answer.place_sentence(
        numbers, summary, compare_claims.Tested(rows)
    )
    assert "by species, and 50.0 % by species asked for family: no sig" in second
    assert "when asked for the family" in second


def test_one_answer_for_all_and_unseen_taxa_are_said(numbers):
    nothing = compare_claims.Tested([])
    first = compare_answer.accuracy_sentence(numbers, SUMMARY, "test", nothing)
    assert "one answer" not in first and "training image" not in first
    values = dict(numbers.table.values)
    values["predicted"] = np.zeros_like(values["predicted"])
    table = dataclasses.replace(numbers.table, values=values)
    same = dataclasses.replace(numbers, table=table, unseen={"species": 3})
    first = compare_answer.accuracy_sentence(same, SUMMARY, "test", nothing)
    assert "the species model and the family model gave all of them one" in first
    assert "Of 40 pictures, 3 at species cannot be answered right" in first


def test_two_runs_of_one_rank_are_told_apart(numbers):
    names = ("species", "family")  # as if both were of species
    summary = [row(name, "species", f"runs/{name}") for name in names]
    first = compare_answer.accuracy_sentence(
        numbers, summary, "test", compare_claims.Tested([])
    )
    assert "the model species names the right species" in first
    assert "the model family names the right species" in first
    second = compare_answer.place_sentence(numbers, summary, compare_claims.Tested([]))
    assert "asked for the species" not in second
    assert "a difference that was not tested" in second
    asked = compare_answer.question(summary)
    assert asked.count("species") == 1 and "does another one look" in asked
    assert "the species, and what when it is asked for the family" in (
        compare_answer.question(SUMMARY)
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((0.04, 0.01, 0.07, 80, 20, 0.01), "4.0 points more (1.0 to 7.0)"),
        ((-0.04, -0.07, -0.01, 80, 20, 0.01), "4.0 points fewer (1.0 to 7.0)"),
        # The corrected test decides, and not the interval of one difference.
        (
            (0.04, 0.01, 0.07, 80, 20, 0.2),
            "no significant difference after correction for several tests "
            "(+4.0 points, +1.0 to +7.0)",
        ),
        ((0.04, -0.01, 0.07, 80, 20, 0.01), "4.0 points more (-1.0 to +7.0)"),
        ((0, 0, 0, 80, 20, 1), "no significant difference (less than 0.1 points)"),
        (
            (-0.0001, -0.004, 0.02, 80, 20, 1),
            "no significant difference (0.0 points, -0.4 to +2.0)",
        ),
        ((-0.209, -0.263, -0.164, 6, 5, 0.03), "too few species to say (n = 5)"),
    ],
)
def test_which_way_a_difference_goes(found, words):
    assert compare_claims.points(Estimate(*found)) == words


def test_differences_are_found_in_either_order(numbers):
    rows = compare_claims.Tested(rows_of(numbers, *KINDS))
    found = rows.difference("energy_on_object", "family", "species")
    back = rows.difference("energy_on_object", "species", "family")
    assert found.value == pytest.approx(0.05) and found.p == back.p < 0.05
    assert (found.low, found.high) == (-back.high, -back.low)
    assert rows.difference("energy_on_object", "family", "nobody") is None


def test_few_species_give_no_claim_and_no_interval():
    """6 pictures of 5 species differ by 20.9 points: nobody may conclude from them."""
    right = {name: lambda n: 1 for name in MODELS}
    energy = {name: lambda n: 0.5 + 0.01 * n for name in MODELS}
    energy["family"] = lambda n: 0.291 + 0.012 * n
    numbers = compare(energy, right, pictures=6, species=5)
    rows = rows_of(numbers, *KINDS)
    nan = float("nan")
    few = [one | {"low": nan, "high": nan, "pictures": 6} for one in SUMMARY]
    told = compare_answer.sentences(numbers, few, [], statistics=rows)
    for sentence in told:
        assert "too few species to say (n = 5)" in sentence
        assert "points more" not in sentence and "points fewer" not in sentence
    assert "names the right species in 90.0 % (guessing: 10.0 %)" in told[0]
    assert "(means over 6 pictures of 5 species)" in told[1]
    assert "in 100.0 % of the 6 pictures" in told[2]
    lifts = compare_lifts.measure(numbers, make_steps([0.2] * 6), EVIDENCE)
    assert all(math.isnan(one.lift.low) and one.lift.groups == 5 for one in lifts)
    said = compare_answer.steps_sentence(lifts, "the species model")
    assert "too few species to say (n = 5). It looks at 4.00 times chance" in said
    assert "no difference" not in said and "more than the plain map (" not in said
    tables_ = (
        compare_tables.lift_table(lifts),
        compare_tables.measure_table(numbers, EVIDENCE),
        compare_tables.statistics_table(rows, EVIDENCE),
    )
    for table in tables_:
        assert "too few species to say (n = 5)" in table.caption
        assert not any(" (" in str(cell) for row in table.rows for cell in row[1:])


def test_two_models_of_one_rank_are_compared(numbers):
    first, second = (one for one in SUMMARY if not one["asked_of"])
    summary = [first, second | {"rank": first["rank"]}]
    row = {
        "comparison": "seed", "model_a": first["model"], "model_b": second["model"],
        "measure": "correct", "count": 40, "groups": 10, "difference": -0.05,
        "low": -0.09, "high": -0.01, "p_holm": 0.01,
    }  # fmt: skip
    for p, words in ((0.01, "5.0 points more (1.0 to 9.0)."), (0.2, "no significant")):
        tested = compare_claims.Tested([row | {"p_holm": p}])
        said = compare_answer.accuracy_sentence(numbers, summary, "test", tested)
        assert f"), {words}" in said and said.count("points") == 1


def test_steps_follow_the_corrected_test():
    """An interval above 0 is no claim where the corrected test finds nothing."""
    step = lift("genus", "wing", "genus", 1.73, 0.29, 0.25, 0.33, p=0.2)
    said = compare_answer.steps_sentence([step], "the species model")
    assert "at 0 of 1 rank: " in said
    said_so = "no significant difference from the plain map after correction for "
    assert f"{said_so}several tests: +0.29 (+0.25 to" in said


def test_how_alike_the_maps_are(numbers):
    # 0.20 to 0.59: the mean is 0.395, and 30 of 40 are below 0.5.
    told = compare_answer.agreement_sentence(numbers)
    assert told.startswith("On the same picture the heatmaps of the models correlate")
    assert "correlate at 0.40 on average (0." in told or "at 0.39 on average" in told
    assert told.endswith("at less than 0.5 in 75.0 % of the 40 pictures.")
    numbers.table.pictures["agreement"][:] = np.nan
    assert compare_answer.agreement_sentence(numbers) == ""
    numbers.table.pictures["agreement"][:2] = (
        0.4,
        0.6,
    )
    told = compare_answer.agreement_sentence(numbers)
    assert "in 50.0 % of the 2 pictures" in told


def lift(step, part, rank, value, gain, low, high, p=0.01):
    one = Estimate(value, value - 0.1, value + 0.1, 40, 20)
    gain = Estimate(gain, low, high, 40, 20, p)
    return Lift(f"step to the {step}", step, rank, part, one, gain, p)


def test_steps_are_told_against_the_plain_map():
    found = [
        Lift("species", "", "genus", "wing", Estimate(1.44, 1.3, 1.5, 40)),
        lift("order", "body", "order", 1.5, 0.02, -0.03, 0.07, p=0.6),
        lift("family", "bill_and_tail", "family", 0.9, -0.2, -0.3, -0.1),
        lift("genus", "wing", "genus", 1.73, 0.29, 0.25, 0.33),
        lift("genus", "body", "order", 9.0, 9.0, 8.0, 10.0),  # not the part of its rank
        lift("species", "patch", "species", 1.2, math.nan, math.nan, math.nan),
    ]
    told = compare_answer.steps_sentence(found, "the species model")
    assert "siblings, the species model looks at the part that carries" in told
    assert "more than its plain map does at 1 of 3 ranks, and less at 1: " in told
    assert (
        "1.50 times chance on the body for the order (40 pictures), no significant "
        "difference from the plain map: +0.02 (-0.03 to +0.07)" in told
    )
    assert (
        "0.90 times chance on the bill and tail for the family (40 pictures), 0.20 "
        "less than the plain map (0.10 to 0.30)" in told
    )
    assert told.endswith(
        "1.73 times chance on the wing for the genus (40 pictures), 0.29 more than the "
        "plain map (0.25 to 0.33)."
    )
    assert compare_answer.steps_sentence(found[:1], "") == ""


def test_a_lift_above_chance_is_not_yet_more_than_the_plain_map():
    """1.4 times chance says nothing where the plain map has 1.4 as well."""
    same = lift("species", "patch", "species", 1.4, 0.0, -0.05, 0.05, p=1.0)
    told = compare_answer.steps_sentence([same], "the species model")
    assert "plain map does at 0 of 1 rank: 1.40" in told


def make_steps(shares):
    """Steps of the species model into the species, with the energy on the patch."""
    table = Table(
        example_ids=np.array([f"{n}.jpg" for n in range(len(shares))]),
        groups=np.arange(len(shares)),
        questions=("species",),
        ranks=("species",),
        values={"part_species": np.array(shares, float)[:, None]},
        pictures={},
    )
    return Steps("species", ("species",), None, (), table, ("part_species",))


def test_lifts_and_gains_follow_from_the_tables(tmp_path):
    """Plain maps have 0.10 or 0.12 of their energy on 0.05 of the picture; the step
    has 0.04 more on each of the 38 pictures in which there is a step."""

    def part(n):
        return 0.1 + 0.02 * (n % 2)

    energy = {name: lambda n: 0.5 for name in MODELS}
    numbers = compare(energy, {name: lambda n: 1 for name in MODELS}, part)
    steps = make_steps([part(n) + 0.04 if n > 1 else None for n in range(40)])
    found = compare_lifts.measure(numbers, steps, EVIDENCE)
    assert [one.map for one in found] == [*MODELS, "step to the species"]
    plain, step, gain = found[0], found[-1], found[-1].gain
    # bill_and_tail has no column, and no lift.
    assert (plain.lift.n, step.lift.n) == (40, 38)
    assert plain.lift.value == pytest.approx(0.11 / 0.05)
    assert step.lift.value == pytest.approx(0.15 / 0.05)
    # Paired: the same in every picture, hence without any doubt.
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.8,) * 3)
    assert math.isnan(plain.gain.value)
    # All ten species gain: 2 of 2**10 sign patterns. It is the only gain of the table.
    assert step.gain_p == gain.p == 2 / 2**10
    assert (step.lift.groups, gain.n, plain.gain.n) == (10, 38, 0)
    compare_lifts.write(tmp_path, found)
    written = tables.read_csv(tmp_path / "lifts.csv")
    assert written["map"] == [one.map for one in found]
    assert written["gain"] == ["", "", "", "0.8"]
    as_json = json.loads((tmp_path / "lifts.json").read_text())
    assert as_json[0]["gain"] is None and as_json[-1]["part"] == "patch"
    table = compare_tables.lift_table(found)
    assert table.header == ("map", "pictures", "patch (marks the species)")
    assert [row[1] for row in table.rows] == ["40", "40", "40", "38"]
    assert table.rows[-1][2].endswith("+0.80 (+0.80 to +0.80) to the plain map")


def test_only_children_have_no_lift():
    energy = {name: lambda n: 0.5 for name in MODELS}
    numbers = compare(energy, {name: lambda n: 1 for name in MODELS})
    found = compare_lifts.measure(numbers, make_steps([None] * 40), EVIDENCE)
    assert [one.step for one in found] == ["", "", ""]


def test_the_figure_shows_the_rows_of_lifts_csv(monkeypatch):
    drawn = {}

    def catch(panels, xlabel, reference, marked):
        drawn.update(panels=panels, marked=marked)
        return b"png"

    monkeypatch.setattr(intervals, "intervals_png", catch)
    plain = Lift("species", "", "genus", "wing", Estimate(1.44, 1.3, 1.5, 40))
    step = lift("genus", "wing", "genus", 1.73, 0.29, 0.25, 0.33)
    other = lift("order", "wing", "genus", 1.5, 0, -1, 1)
    figure = compare_figures.on_parts([plain, step, other])
    assert drawn["panels"] == {
        "wing (genus)": {
            "species": (1.44, 1.3, 1.5),
            "step to the genus": (1.73, 1.63, pytest.approx(1.83)),
            "step to the order": (1.5, 1.4, 1.6),
        }
    }
    assert drawn["marked"] == {"wing (genus)": ("step to the genus",)}
    assert figure.caption.startswith("Of the plain maps over 40 pictures, of the steps")


def test_measures_that_are_there_are_shown(numbers):
    table = compare_tables.measure_table(numbers, EVIDENCE)
    assert [one[0] for one in table.rows] == [
        "energy on the object", "energy on the patch",
    ]  # fmt: skip
    assert table.rows[0][1:3] == ("40", "0.500 (0.500 to 0.500)")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((-0.0568, -0.1271, 0.00319), "-0.057 (-0.127 to +0.003)"),
        ((0.00257, 0.00214, 0.00301), "+0.00257 (+0.00214 to +0.00301)"),
        ((-0.0000057, -0.0000572, 0.0002), "-0.00001 (-0.00006 to +0.00020)"),
        ((1.02, 1.0, 1.05), "+1.02 (+1.00 to +1.05)"),
        ((123.4, math.nan, math.nan), "+123"),
        ((0.0, 0.0, 0.0), "0.00 (0.00 to 0.00)"),
    ],
)
def test_a_figure_and_its_interval_have_as_many_decimals(found, words):
    names = ("difference", "low", "high")
    row = {
        "comparison": "rank", "model_a": "a", "model_b": "b", "measure": "entropy",
        "count": 40, "groups": 10, "p_holm": 0.5, "effect_size": 0.8,
    } | dict(zip(names, found, strict=True))  # fmt: skip
    table = compare_tables.statistics_table([row], EVIDENCE)
    assert table.rows[0][2] == words


def test_paired_differences_are_shown_as_the_file_has_them():
    found = {
        "comparison": "rank", "model_a": "family", "model_b": "species",
        "measure": "energy_on_object", "difference": 0.05, "low": 0.03,
        "high": 0.07, "p_holm": 0.001, "effect_size": 0.8, "count": 40,
        "groups": 10,
    }  # fmt: skip
    other = found | {"comparison": "random"}
    table = compare_tables.statistics_table([found, other], EVIDENCE)
    assert table.rows == (
        (
            "energy on the object",
            "family − species",
            "+0.0500 (+0.0300 to +0.0700)",
            40,
            10,
            0.001,
            0.8,
        ),
    )


def test_a_model_without_heatmaps_has_no_area_of_zero():
    """And the columns are named after what the pictures show."""
    degenerate = {"family": [True, True], "species": [True, False]}
    table = types.SimpleNamespace(of=lambda _, model: np.array(degenerate[model]))
    row = dict.fromkeys(compare_mode.SHOWN, 0.0)
    summary = [row | {"model": name} for name in degenerate]
    text = compare_mode._printed(summary, table, "plant")
    header, family, species = text.splitlines()[0], *text.splitlines()[-2:]
    assert "energy on plant" in header and "plant area" in header
    assert "no heatmap" in family and "no heatmap" not in species


def test_measures_are_named_after_what_the_pictures_show():
    assert (
        compare_tables.title("energy_on_object", {}, "plant") == "energy on the plant"
    )
    assert compare_tables.title("part_species", {"species": ("leaf_tip", 1)}) == (
        "energy on the leaf tip"
    )
