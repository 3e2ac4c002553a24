"""The tables of a comparison: what each figure in them follows from."""

import json
import math
import pathlib
import re

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables
from hiercam_keras.data import splits
from hiercam_keras.errors import UserError

MODELS = ("species", "family", "species asked for family")


@pytest.fixture(scope="module")
def compared(trained, tmp_path_factory):
    """Species and family, and what they wrote."""
    out = tmp_path_factory.mktemp("compared")
    tiny_birds.run("compare", trained.config, out=str(out))
    return out


@pytest.fixture(scope="module")
def numbers(compared):
    return tables.read_csv(compared / "numbers.csv")


def floats(rows, name, model=None):
    """One column, of one model."""
    values = [float(value or "nan") for value in rows[name]]
    kept = [model in (None, one) for one in rows["model"]]
    return np.array(values)[kept]


def test_the_page_names_every_column(compared, numbers):
    """docs/METRICS.md and the headers of the three tables, both ways."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "METRICS.md").read_text()
    tables_ = r"`(?:numbers|statistics|agreement)\.csv`.*one row"
    first, second, third = re.split(tables_, page.split("\n## Faith")[0])[1:]

    def named(text):
        cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}

    ranks = ("order", "family", "genus", "species")
    parts = {f"part_{rank}{end}" for rank in ranks for end in ("", "_area")}
    found = {name for name in numbers if name not in parts}
    assert found | {"part_<rank>", "part_<rank>_area"} == named(first)
    statistics = tables.read_csv(compared / "statistics.csv")
    assert set(statistics) == named(second)
    agreement = set(tables.read_csv(compared / "agreement.csv"))
    assert agreement == {"example_id", "species", "model_a", "model_b"} | named(third)


def test_shares_of_the_object_and_its_parts_add_up(numbers):
    on = floats(numbers, "energy_on_object")
    assert on + floats(numbers, "background") == pytest.approx(1, abs=1e-5)
    assert set(numbers["object"]) == {"mask"}
    ranks = ("order", "family", "species")
    parts = sum(floats(numbers, f"part_{rank}") for rank in ranks)
    assert (parts <= on + 1e-4).all() and (parts > 0).all()
    areas = sum(floats(numbers, f"part_{rank}_area") for rank in ranks)
    assert (areas <= floats(numbers, "chance") + 1e-4).all()
    for name, most in (("entropy", 1), ("gini", 1), ("area_at_50", 0.5)):
        values = floats(numbers, name)
        assert (values >= 0).all() and (values <= most + 1e-6).all(), name


def test_faithfulness_is_of_the_same_few_pictures_for_each_model(numbers):
    known = [
        {
            example_id
            for example_id, model, drop in zip(
                numbers["example_id"], numbers["model"], numbers["drop"], strict=True
            )
            if model == one and drop
        }
        for one in MODELS
    ]
    assert len(known[0]) == 4 and known[0] == known[1] == known[2]
    drop = floats(numbers, "drop")
    assert ((drop >= 0) & (drop <= 1))[~np.isnan(drop)].all()


def test_verdicts_follow_from_the_columns_beside_them(numbers, trained):
    """The rule in docs/METRICS.md, worked out from the table alone."""
    limits = trained.config.coherence
    for i, verdict in enumerate(numbers["coherence"]):
        row = {name: column[i] for name, column in numbers.items()}
        chance = float(row["chance"])
        excess = (float(row["energy_on_object"]) - chance) / (1 - chance)
        gains = [float(row[n]) for n in ("deletion_gain", "insertion_gain") if row[n]]
        gain = np.mean(gains) if gains else math.nan
        good = excess >= limits.min_excess or gain >= limits.min_gain
        bad = excess <= limits.max_stray or gain <= limits.max_loss
        expected = {(1, 0): "coherent", (0, 1): "incoherent"}.get((good, bad))
        if row["degenerate"] == "1":
            expected = "incoherent"
        assert verdict == (expected or "undecided")
        basis = "place+faithfulness" if gains else "place"
        assert row["coherence_basis"] in (basis, "degenerate")


def test_statistics_are_paired_by_picture(compared, numbers):
    rows = tables.read_csv(compared / "statistics.csv")
    kinds = list(zip(rows["comparison"], rows["model_a"], rows["model_b"], strict=True))
    assert {kind for kind in kinds if kind[0] != "random"} == {
        ("rank", "species", "family"),
        ("asked", "family", "species asked for family"),
    }
    i = list(zip(kinds, rows["measure"], strict=True)).index(
        (("rank", "species", "family"), "energy_on_object")
    )
    a, b = (floats(numbers, "energy_on_object", model) for model in MODELS[:2])
    assert float(rows["difference"][i]) == pytest.approx((a - b).mean(), abs=1e-5)
    assert float(rows["count"][i]) == len(a) == 9
    assert float(rows["groups"][i]) == len(set(numbers["species"])) == 8
    assert rows["low"][i] == rows["high"][i] == ""  # fewer than ten species
    size = (a - b).mean() / (a - b).std(ddof=1)
    assert float(rows["effect_size"][i]) == pytest.approx(size, rel=1e-3)
    p, holm = (np.array(rows[name], float) for name in ("p_value", "p_holm"))
    assert (holm >= p - 1e-9).all()


def test_json_holds_what_the_csv_holds(compared):
    rows = tables.read_csv(compared / "statistics.csv")
    plain = json.loads((compared / "statistics.json").read_text())
    assert len(plain) == len(rows["measure"]) > 20
    for i, row in enumerate(plain):
        assert row["measure"] == rows["measure"][i]
        if rows["difference"][i]:
            expected = float(rows["difference"][i])
            assert row["difference"] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_agreement_has_every_two_questions(compared, numbers):
    rows = tables.read_csv(compared / "agreement.csv")
    pairs = set(zip(rows["model_a"], rows["model_b"], strict=True))
    assert pairs == {(MODELS[0], MODELS[1]), (MODELS[0], MODELS[2]), MODELS[1:]}
    ours = [
        float(value)
        for a, b, value in zip(
            rows["model_a"], rows["model_b"], rows["pearson"], strict=True
        )
        if (a, b) == MODELS[:2]
    ]
    # Of two models their mean correlation is their only one.
    assert ours == pytest.approx(floats(numbers, "agreement", "species"), abs=1e-4)
    # The shift is that of the centers of numbers.csv, and a lower bound of the work.
    centers = {
        (example_id, model): np.array([float(x), float(y)])
        for example_id, model, x, y in zip(
            *(numbers[name] for name in ("example_id", "model")),
            *(numbers[name] for name in ("centroid_x", "centroid_y")),
            strict=True,
        )
    }
    shifts = []
    for i, example_id in enumerate(rows["example_id"]):
        a, b = (centers[example_id, rows[name][i]] for name in ("model_a", "model_b"))
        shifts.append(np.linalg.norm(a - b))
        found = float(rows["centroid_shift"][i])
        assert found == pytest.approx(shifts[-1], abs=2e-5)
        # On 8 x 8 cells a center may be half a cell off.
        assert np.abs(a - b).sum() - 1 / 8 <= float(rows["earth_mover"][i]) <= 2
    assert max(shifts) > 0.01


def test_a_second_call_measures_nothing_again(compared, trained, monkeypatch, tmp_path):
    """Faithfulness is stored with the maps: same table, without asking the model."""
    from hiercam_keras.modes import faithful

    def never(*_):
        raise AssertionError("asked again")

    monkeypatch.setattr(faithful, "measure_batch", never)
    tiny_birds.run("compare", trained.config, out=str(tmp_path))
    again = (tmp_path / "numbers.csv").read_text()
    assert again == (compared / "numbers.csv").read_text()
    with pytest.raises(AssertionError, match="asked again"):
        fields = {"faithfulness.steps": 4}
        tiny_birds.run("compare", trained.config, out=str(tmp_path), fields=fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"faithfulness.road_shares": (0.3, 1.0)}, "road_shares=.*below 1"),
        ({"compare.methods": ("gradcamm",)}, "gradcamm"),
        ({"faithfulness.steps": 1}, "steps=1, expected at least 2"),
        ({"faithfulness.deletion_fill": "black"}, "'black', expected mean, blur"),
        ({"coherence.max_stray": 0.5}, r"config\.coherence\.max_stray=0.5 and"),
    ],
)
def test_wrong_choices_are_named_before_anything_is_made(trained, fields, words):
    with pytest.raises(UserError, match=words) as error:
        tiny_birds.run("compare", trained.config, fields=fields)
    assert "\n" not in str(error.value)


def test_split_is_that_of_the_runs(trained, numbers):
    ids = splits.load(trained.path("family") / "split").test
    assert list(dict.fromkeys(numbers["example_id"])) == list(ids)
