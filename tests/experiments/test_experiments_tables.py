"""Figures of the tables, worked out by hand, and their files."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from tiny_tables import make_table

from hiercam_keras.evaluation import table as table_lib
from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments import (
    ablations,
    accuracy,
    background_shift,
    evidence,
    granularity_tables,
    map_agreement,
    measurements,
    original_claims,
    page,
    results,
    study,
    study_figures,
    view_tables,
)
from hiercam_keras.experiments.localization_counts import Found
from hiercam_keras.experiments.measurements import truth_digest
from hiercam_keras.experiments.pooling import OBJECT, MeasuredRun, Pool, paired
from hiercam_keras.experiments.training_grid import Condition, TrainingSpec
from hiercam_keras.metrics.resampling import Estimate

EVIDENCE = {"family": ("bill_and_tail", 1), "species": ("patch", 2)}


def make_measured(one: Table, ranks=("species",), seed=0, habitat_=None) -> MeasuredRun:
    return MeasuredRun(TrainingSpec(ranks, seed, Condition(habitat_), None, None), one)


def test_lifts_and_specificity_by_hand():
    one = make_table([[[0.3, 0.3, 0.4], [0.1, 0.3, 0.6]]] * 12)
    pool = Pool([make_measured(one)])
    assert pool.lift("asked-species", "part_species").value == pytest.approx(0.4 / 0.2)
    assert pool.lift("asked-species", OBJECT).value == pytest.approx(0.7 / 0.5)
    plain = pool.specificity("asked-species", "part_species", ["part_family"])
    assert plain.value == pytest.approx(0.4 / 0.2 - 0.3 / 0.3)
    gain = pool.gain("step-species", "asked-species", "part_species", ["part_family"])
    assert gain.value == pytest.approx((0.6 - 0.4) / 0.2)
    assert gain.verdict == 1


def test_a_step_into_an_only_child_is_omitted():
    energy = np.full((3, 2, 3), 1 / 3)
    energy[0, 1] = np.nan
    pool = Pool([make_measured(make_table(energy))])
    assert pool.lift("step-species", "part_species").value == pytest.approx(1 / 3 / 0.2)
    energy[:, 1] = np.nan
    nothing = [(("species",), "all", [make_measured(make_table(energy))])]
    assert evidence.specificity_table(nothing, EVIDENCE).rows == []
    assert "0 of 0 step maps" in evidence.steps_table(nothing, EVIDENCE).answer


def test_kappa_and_bits_by_hand():
    """Four images of two taxa: three right, one of taxon 1 predicted as 0."""
    true = np.array([[0, 0], [0, 0], [1, 1], [1, 1]], np.int32)
    said = np.array([[0, 0], [0, 0], [0, 0], [1, 1]], np.int32)
    sure = np.log2([[1.0] * 2, [0.5] * 2, [0.25] * 2, [1.0] * 2])
    one = make_table(
        np.full((4, 2, 3), 1 / 3), true=true, predicted=said, log2_true=sure
    )
    pool = Pool([make_measured(one)])
    assert pool.accuracy("species").value == 0.75
    # By chance: 1/2 x 3/4 + 1/2 x 1/4.
    kappa = accuracy.kappa(pool, "species", 2)
    assert kappa.value == pytest.approx(0.5) and kappa.n == 4
    # Shares of the training images, one added to each: 3/4 and 1/4.
    found = accuracy.bits(pool, "species", np.array([0, 0]), 2)
    expected = np.mean(np.log2([1 / 0.75, 0.5 / 0.75, 0.25 / 0.25, 1 / 0.25]))
    assert found.value == pytest.approx(expected)
    assert accuracy.most_bits(np.array([0, 0, 1, 1]), 2) == 1.0
    assert accuracy.each_seed([make_measured(one)] * 2, "species") == "0.750, 0.750"


def test_paired_takes_the_images_and_seeds_that_all_have():
    first = make_table(np.full((4, 2, 3), 1 / 3))
    second = first.take([3, 1])
    several = [
        [make_measured(first, seed=0), make_measured(first, seed=1)],
        [make_measured(second, seed=1), make_measured(second, seed=5)],
    ]
    met = []

    def value(*several):
        met.append([one.example_ids.tolist() for one in several])
        return np.ones(len(several[0]))

    assert paired(several, value).value == 1.0
    assert met == [[["01.jpg", "03.jpg"]] * 2]


def test_the_background_by_hand():
    """Species: 0.2 in both habitats. Family: 0.2, and 0.5 with information."""

    def cell(rank, share, place):
        energy = np.tile([share, 1 - share, 0], (12, 1, 1))
        return make_measured(
            make_table(energy, keys=[f"asked-{rank}"]), (rank,), 0, place
        )

    cells = {
        (rank, place): [cell(rank, share, place)]
        for rank, place, share in (
            ("family", 0.0, 0.2),
            ("family", 1.0, 0.5),
            ("species", 0.0, 0.2),
            ("species", 1.0, 0.2),
        )
    }
    table = background_shift.background_table(cells, (0.0, 1.0))
    rows = {row[0]: [cell and cell.value for cell in row[1:]] for row in table.rows}
    assert rows["family model"] == pytest.approx([0.2, 0.5, 0.3])
    assert rows["species model"] == pytest.approx([0.2, 0.2, 0.0])
    assert rows["family minus species"] == pytest.approx([0.0, 0.3, 0.3])
    assert rows["share of the picture"][:2] == pytest.approx([0.5, 0.5])
    assert "Family model: more on the background" in table.answer
    assert "Species model: no significant difference" in table.answer
    assert "change exceeds the species model's" in table.answer


def test_agreement_is_compared_with_the_noise_floor():
    """Both models look at the left, two seeds of one rank at left and right."""
    left = np.tile(np.float16([[1, 0], [1, 0]]) / 2, (12, 1, 1, 1))
    noise = np.random.default_rng(0).uniform(0, 0.02, (12, 1, 2, 2)).astype(np.float16)
    energy = np.full((12, 1, 3), 1 / 3)

    def model(rank, maps, seed):
        keys = [f"asked-{one}" for one in ("family", "species")]
        return make_measured(
            make_table(
                np.repeat(energy, 2, axis=1),
                keys=keys,
                maps=np.repeat(maps + noise, 2, axis=1),
            ),
            (rank,),
            seed,
        )

    measured = [
        model("family", left, 0),
        model("species", left, 0),
        model("family", left[..., ::-1], 1),
        model("species", left[..., ::-1], 1),
    ]
    table = map_agreement.agreement_table(
        measured, {Condition(): "all"}, "species", "family"
    )
    by_kind = {row[1]: row[2].value for row in table.rows}
    assert by_kind["family model and species model asked for family, one seed"] > 0.99
    assert by_kind["two family models, two seeds"] < -0.9
    assert "more than two seeds at one rank do" in table.answer


def test_pairs_of_seeds_have_the_spread_of_seeds():
    """Agreements of 0.2, 0.4 and 0.9; without a seed there is one pair."""
    ids, groups = np.array(["a", "b"]), np.array([0, 1])
    pairs = [
        map_agreement.Agreed(seeds, ids, groups, {"Pearson": np.full(2, value)})
        for seeds, value in (((0, 1), 0.2), ((0, 2), 0.4), ((1, 2), 0.9))
    ]
    found = map_agreement._by_seed(pairs, "Pearson")
    values = {seed: one.values["Pearson"].tolist() for seed, one in found.items()}
    expected = {0: 1.5 - 2 * 0.9, 1: 1.5 - 2 * 0.4, 2: 1.5 - 2 * 0.2}
    assert values == {seed: pytest.approx([v, v]) for seed, v in expected.items()}
    assert np.mean(list(values.values())) == pytest.approx(0.5)
    alone = map_agreement._by_seed(pairs[:1], "Pearson")
    assert [one.values["Pearson"].tolist() for one in alone.values()] == [[0.2] * 2] * 2


def test_an_agreement_that_only_some_seeds_have_is_not_certain():
    """Three family models, one of them unlike the others: every interval knows it."""
    grid = np.random.default_rng(0).uniform(0, 1, (12, 1, 3, 3)).astype(np.float16)
    other = np.random.default_rng(1).uniform(0, 1, (12, 1, 3, 3)).astype(np.float16)
    energy = np.full((12, 1, 3), 1 / 3)
    measured = [
        make_measured(
            make_table(energy, keys=[f"asked-{rank}"], maps=maps), (rank,), seed
        )
        for seed, maps in enumerate((grid, grid, other))
        for rank in ("family", "species")
    ]
    table = map_agreement.agreement_table(
        measured, {Condition(): "all"}, "species", "family"
    )
    rows = {row[1]: row[2] for row in table.rows}
    same = rows["family model and species model asked for family, one seed"]
    assert (same.low, same.value, same.high) == pytest.approx((1, 1, 1))
    two = rows["two family models, two seeds"]
    assert two.value == pytest.approx(1 / 3, abs=0.15) and two.high - two.low > 1
    assert "as much as two seeds at one rank do" in table.answer


def claimed(by_rank, predicted, data="all"):
    """Claims on a model of each rank, by its energies and share of right answers."""
    models = []
    for rank, energy in by_rank.items():
        right = int(20 * predicted[rank])
        said = np.repeat(np.int32([0, 1]), [right, 20 - right])
        one = make_table(
            np.repeat([[energy]], 20, axis=0),
            keys=[f"asked-{rank}"],
            true=np.zeros((20, 2), np.int32),
            predicted=np.stack([said, said], axis=1),
            log2_true=np.where(said == 0, 0.0, -4.0)[:, None].repeat(2, axis=1),
        )
        models.append(((rank,), data, [make_measured(one, (rank,))]))
    labels = {rank: np.arange(2) for rank in by_rank}
    return original_claims.claims_table(
        models, EVIDENCE, labels, dict.fromkeys(by_rank, 2)
    )


def test_sentences_of_the_original_study_are_judged_by_their_intervals():
    """Chance is 0.3 of the energy on the bill, 0.2 on the patch."""
    table = claimed(
        {"species": [0.3, 0.3, 0.4], "family": [0.6, 0.1, 0.3]},
        {"species": 0.5, "family": 1.0},
    )
    rows = {(row[0], row[2]): row[3:] for row in table.rows}
    estimate, verdict = rows[original_claims.HIGHER, "accuracy"]
    assert verdict == "supported" and estimate.value == pytest.approx(0.5)
    part = original_claims.PART.format
    estimate, verdict = rows[part("species"), "patch over mean"]
    assert verdict == "supported" and estimate.value == pytest.approx(0.4 / 0.2 - 1)
    estimate, verdict = rows[part("family"), "bill and tail over mean"]
    assert verdict == "contradicted"
    assert estimate.value == pytest.approx(0.1 / 0.3 - 0.3 / 0.2)
    assert "is supported by accuracy (all)." in table.answer
    assert "1 contradict and" in table.short and table.source == results.ORIGINAL
    even = claimed(
        {"species": [0.5, 0.3, 0.2], "family": [0.5, 0.3, 0.2]},
        {"species": 0.75, "family": 0.75},
    )
    assert {row[-1] for row in even.rows} == {"not decided"}
    alone = claimed({"species": [0.5, 0.3, 0.2]}, {"species": 1.0})
    assert [row[2] for row in alone.rows] == ["patch over mean"]
    assert original_claims.claims_table([], EVIDENCE, {}, {}) is None


def test_a_map_has_to_prefer_its_part_to_each_other_part():
    """Of four parts the second one is above the mean, and below the first."""
    marks = {
        "order": ("body", 1), "family": ("bill", 2), "genus": ("wing", 3),
        "species": ("patch", 4),
    }  # fmt: skip
    one = make_table(np.full((12, 1, 3), 1 / 3), keys=["asked-species"])
    lifts = {"order": 3.0, "family": 0.5, "genus": 0.5, "species": 2.0}
    for rank, lift in lifts.items():
        one.values[f"part_{rank}"] = np.full_like(one.values["part_family"], lift / 10)
        one.pictures[f"part_{rank}_area"] = np.full(12, 0.1)
    models = [(("species",), "all", [make_measured(one)])]
    table = original_claims.claims_table(models, marks, {}, {})
    assert [(row[2], row[-1]) for row in table.rows] == [
        ("patch over mean", "supported"),
        ("patch over body", "contradicted"),
    ]


def test_a_changed_field_is_compared_with_the_same_training_without_it():
    plain, changed = Condition(0.0), Condition(0.0, None, (("train.filter_loss", 0.1),))
    before = make_table([[[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]] * 4)
    after = make_table(
        [[[0.3, 0.3, 0.4], [0.5, 0.4, 0.1]]] * 4, predicted=np.ones((4, 2), np.int32)
    )
    measured = [
        MeasuredRun(TrainingSpec(("species",), 0, condition, None, None), one)
        for condition, one in ((plain, before), (changed, after))
    ]
    names = {plain: "plain", changed: "changed"}
    (row,) = ablations.variants_table(measured, names, ["species"], EVIDENCE).rows
    assert row[:2] == ("train.filter_loss=0.1", "species")
    values = [cell.value for cell in row[2:]]
    assert values == pytest.approx([-1.0, 0.2, 0.0, -0.2, -0.1])


def test_tables_survive_the_disk(tmp_path):
    one = make_table(np.full((3, 2, 3), 1 / 3))
    pairs = {("asked-species", "asked-family"): {"pearson": np.arange(3.0)}}
    one = dataclasses.replace(one, pairs=pairs)
    table_lib.save(tmp_path / "one.npz", one)
    again = table_lib.load(tmp_path / "one.npz")
    assert again.questions == one.questions and again.ranks == one.ranks
    np.testing.assert_array_equal(again.example_ids, one.example_ids)
    np.testing.assert_array_equal(again.groups, one.groups)
    np.testing.assert_equal(again.values, one.values)
    np.testing.assert_equal(again.pictures, one.pictures)
    np.testing.assert_equal(again.pairs, one.pairs)


def test_what_measurements_depend_on(tmp_path):
    model = tmp_path / "model.keras"
    model.write_bytes(b"one")
    first = measurements.identity(model, ["a"], view=[16, "", "gradcam"])
    assert measurements.identity(model, ["a"], view=[8, "", "gradcam"]) != first
    assert measurements.identity(model, ["b"], view=[16, "", "gradcam"]) != first
    model.write_bytes(b"two")
    assert measurements.identity(model, ["a"], view=[16, "", "gradcam"]) != first


@pytest.fixture
def table() -> results.Result:
    return results.Result(
        name="one",
        title="One",
        claim="Is it so?",
        header=("who", "share", "count"),
        rows=[
            ("a|<b>_c", Estimate(0.5, 0.25, 1.5, 40, 20), 3),
            ("=1+1", Estimate(2.0, n=6, groups=5), None),
        ],
        answer="It is.",
    )


def test_a_table_is_written_with_its_intervals(table, tmp_path):
    page.write(tmp_path / "PAGE.md", "Page", "Intro.", [table], ["made by hand"])
    text = (tmp_path / "PAGE.md").read_text()
    assert "Not confirmed" not in text
    assert "| a\\|\\<b\\>\\_c | 0.500 (0.250 to 1.50) | 3 |" in text
    assert "| =1+1 | 2.00 (n = 5) |  |" in text
    assert (
        "*Our question:* Is it so?" in text
        and "**It is.**" in text
        and "- made by hand" in text
    )
    with open(tmp_path / "page/one.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["share low"] == "0.25" and rows[0]["share high"] == "1.5"
    assert rows[1]["who"] == "'=1+1" and rows[1]["share low"] == ""
    about = json.loads((tmp_path / "page/one.json").read_text())
    assert (rows[1]["share n"], rows[1]["share groups"]) == ("6", "5")
    assert about["rows"][0]["share"] == {
        "value": 0.5, "low": 0.25, "high": 1.5, "n": 40, "groups": 20,
    }  # fmt: skip
    assert about["rows"][1]["share"]["low"] is None


def test_a_table_names_its_source_its_failures_and_its_command(table, tmp_path):
    theirs = dataclasses.replace(
        table, source=results.ORIGINAL, missing=("It is not so.",)
    )
    command = "python main.py --mode=study --out=docs"
    page.write(tmp_path / "PAGE.md", "Page", "Intro.", [table, theirs], [], command)
    text = (tmp_path / "PAGE.md").read_text()
    assert "*The original study, in our words:* Is it so?" in text
    assert text.count(f"`.json`; `{command}` recomputes it") == 2
    _, _, after = text.partition("## Not confirmed")
    assert after.split("## One")[0].strip() == "- It is not so."
    about = json.loads((tmp_path / "page/one.json").read_text())
    assert about["source"] == results.ORIGINAL


def test_the_command_names_every_flag_that_was_given():
    from hiercam_keras.modes.settings import Settings

    settings = Settings(
        "study", {}, {"train.epochs": 3}, config_file="configs/study.py", out="a b"
    )
    assert page.command_line(settings, "python main.py --mode=study") == (
        "python main.py --mode=study --config=configs/study.py '--out=a b' "
        "--config.train.epochs=3"
    )
    settings = Settings("study", {}, {}, split="val", chosen_split=True)
    assert page.command_line(settings, "python main.py --mode=study") == (
        "python main.py --mode=study --split=val"
    )


def test_a_figure_of_boxes_is_of_the_species_that_have_some():
    """Of six species two have boxes, of 3 and 1 images, in each of two trainings."""
    images = np.array([0, 3, 0, 0, 1, 0])
    best = np.zeros((6, 3, 4), np.int64)
    best[1], best[4] = 3, 0
    nothing = np.zeros((6, 8), np.int64)
    found = Found(best, images, nothing, nothing, np.zeros(6, int), np.arange(6))
    one = granularity_tables._estimate([found, found], "boxes")
    assert (one.n, one.groups) == (8, 2) and np.isnan(one.low)
    assert one.value == pytest.approx(0.75)
    pair = [(None, found), (None, found)]
    gap = granularity_tables._difference(pair, pair, "boxes")
    assert (gap.n, gap.groups, gap.value) == (8, 2, 0)
    assert granularity_tables._estimate([found], "pixels") is None


def test_measurements_belong_to_the_masks_that_they_were_made_with(tmp_path):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"1")
    before = truth_digest([["a", ((1, 2, 3, 4),), mask]])
    assert truth_digest([["a", ((1, 2, 3, 4),), mask]]) == before
    assert truth_digest([["a", ((1, 2, 3, 5),), mask]]) != before
    mask.write_bytes(b"12")
    assert truth_digest([["a", ((1, 2, 3, 4),), mask]]) != before


def test_views_that_lost_their_accuracy_are_not_compared():
    best, near, far = (
        Estimate(0.842, 0.762, 0.907), Estimate(0.7, 0.6, 0.77),
        Estimate(0.167, 0.101, 0.242),
    )  # fmt: skip
    assert view_tables.comparable([far, best, near]) == [False, True, True]
    rows = [(8, "", "", "", far, "no"), (16, "", "", "", best, "yes")]
    (said,) = view_tables.lost_views(rows)
    assert "output stride 8 (0.167 (0.101 to 0.242)) the network loses" in said
    assert view_tables.lost_views(rows[1:]) == ()


def views_of(rights, steps):
    """One view for each: share of right answers, energy of the step on the patch."""
    found = {}
    for stride, (right, energy) in enumerate(zip(rights, steps, strict=True), 1):
        said = np.repeat(np.int32([[0], [1]]), [right, 20 - right], axis=0)
        one = make_table(
            [[[0.5, 0.3, 0.2], [0.5, 0.5 - energy, energy]]] * 20,
            true=np.zeros((20, 2), np.int32),
            predicted=np.repeat(said, 2, axis=1),
        )
        found[(stride, "", "gradcam")] = [make_measured(one)]
    return found


def test_the_best_view_is_one_of_those_that_compare():
    """The view with the highest lift has lost its accuracy."""
    table = view_tables.views_table(
        views_of([20, 19, 1], [0.2, 0.3, 0.5]), "species", EVIDENCE
    )
    assert [row[-1] for row in table.rows] == ["yes", "yes", "no"]
    assert "highest for gradcam" in table.answer and "stride 2: 1.5" in table.answer
    assert len(table.missing) == 1 and "output stride 3" in table.missing[0]


def test_what_is_not_confirmed_follows_from_the_intervals():
    better, same = (
        make_table([[[0.5, 0.3, 0.2], [0.5, 0.1, 0.4]]] * 12),
        make_table([[[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]] * 12),
    )
    models = [(("species",), "all", [make_measured(better)])]
    assert evidence.specificity_table(models, EVIDENCE).missing == ()
    assert evidence.steps_table(models, EVIDENCE).missing == ()
    models = [(("species",), "all", [make_measured(same)])]
    (said,) = evidence.specificity_table(models, EVIDENCE).missing
    assert said == (
        "Steps to species (species model, all) do not differ significantly from plain "
        "maps."
    )
    # 0.2 of the energy over 0.2 of the picture on the patch, 0.3 over 0.3 on the bill.
    (said,) = evidence.own_rank_table(models, EVIDENCE).missing
    assert "the species model (all) does not prefer patch" in said
    assert said.endswith("0.000 (0.000 to 0.000).")
    less = make_table([[[0.5, 0.1, 0.4], [0.5, 0.3, 0.2]]] * 12)
    models = [(("species",), "all", [make_measured(less)])]
    (said,) = evidence.specificity_table(models, EVIDENCE).missing
    assert "prefer their part less than plain maps" in said


def test_of_few_species_nothing_is_claimed():
    """Neither that a step prefers its part nor that it does not."""
    more = make_table([[[0.5, 0.3, 0.2], [0.5, 0.1, 0.4]]] * 5)
    models = [(("species",), "all", [make_measured(more)])]
    table = evidence.specificity_table(models, EVIDENCE)
    assert table.answer == (
        "Steps to species (species model, all) have too few species to say."
    )
    assert "0 do not differ significantly, 1 have too few species" in table.short
    assert table.missing == evidence.own_rank_table(models, EVIDENCE).missing == ()
    assert results.text(table.rows[0][-1]) == "1.67 (n = 5)"


def test_every_kind_of_weights_has_its_table(table):
    from ml_collections import ConfigDict

    both = ConfigDict({"weights": ("synthetic", "none")})
    drawn = dataclasses.replace(table, figure="study/one.png", missing=("No.",))
    first = study.for_weights(drawn, both, "synthetic")
    assert (first.name, first.figure) == ("one", "study/one.png")
    assert first.title == "One (from synthetic)"
    second = study.for_weights(drawn, both, "none")
    assert (second.name, second.figure) == ("one-scratch", "study/one-scratch.png")
    assert second.missing == ("From scratch: No.",)
    single = ConfigDict({"weights": ("none",)})
    assert study.for_weights(drawn, single, "none") is drawn


def test_the_limits_of_few_seeds():
    assert "Each interval resamples 2 of the 2 seeds" in study.seeds_note(2)[0]
    assert "With one seed the variation" in study.seeds_note(1)[0]
    assert study.seeds_note(5) == []


def test_conditions_are_explained_in_figures():
    said = study_figures.explained
    assert said("habitat 0") == "habitat correlation 0, no information"
    assert said("habitat 1, from scratch") == (
        "habitat correlation 1, predicts the family, from scratch"
    )
    assert said("habitat 0.5") == "habitat correlation 0.5"
    assert said("all") == "all"


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(0.2, 0.1, 0.3, 80, 20), "more (0.200, 95 % interval 0.100 to 0.300)"),
        (
            Estimate(-2.0, -3.0, -1.0, 80, 20),
            "less (-2.00, 95 % interval -3.00 to -1.00)",
        ),
        (
            Estimate(0.1, -0.1, 0.3, 80, 20),
            "same (0.100, 95 % interval -0.100 to 0.300)",
        ),
        (
            Estimate(0.2, 0.1, 0.3, 80, 5),
            "not compared: too few species to say (n = 5)",
        ),
    ],
)
def test_words_follow_the_interval(estimate, words):
    assert results.verdict(estimate, "more", "less", "same") == words
