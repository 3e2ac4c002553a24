"""No name is believed where the allowed taxa together have too little probability."""

import dataclasses
import shutil

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import belief
from hiercam_keras.modes import belief as rules
from hiercam_keras.modes import calibrate, find_runs
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.scores import softmax
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("order", "family", "species")
TREE = Taxonomy(
    Lineage((f"o{i // 8}", f"f{i // 4}", f"s{i:02}"), RANKS) for i in range(16)
)
SURE = rules.Rule(
    rules.CALIBRATED, "by hand", dict.fromkeys(RANKS, 0.6), allowed_share=0.5
)


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A copy of the species run, for results of its own."""
    folder = tmp_path_factory.mktemp("belief") / "run"
    shutil.copytree(trained.path("species"), folder)
    return folder


@pytest.fixture(scope="module")
def family(run):
    """One family of four, by name."""
    return run_folder.read(run).whole_taxonomy().names("family")[1]


def test_shares_that_look_sure_are_not_enough():
    shares = np.full((3, 16), 0.01 / 15)
    shares[:, 5] = 0.99
    masked = [0.4, 0.5, 0.7]
    for rule in (SURE, dataclasses.replace(rules.FIXED, allowed_share=0.5)):
        given = rules.judged(rule, shares, TREE, "species", masked)
        assert given.depth.tolist() == [2, 2, belief.ROOT]
        rows = rules.believed_rows("abc", given, rule, TREE)
        assert [row[1] for row in rows] == ["species", "species", ""]
        said = [rules.in_words(given, number, TREE) for number in range(3)]
        assert said[2] == "no name is believed, the allowed taxa have 30 % together"
        assert said[0] == "s05, 99 %"
    off = dataclasses.replace(SURE, allowed_share=0.0)
    found = rules.judged(off, shares, TREE, "species", masked)
    assert found.depth.tolist() == [2, 2, 2]


def test_more_evidence_for_an_allowed_taxon_never_gives_a_coarser_rank():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        logits = rng.normal(0, 2, (1, 20))  # the last four are not allowed
        depths, paths = [], []
        best = logits[0, :16].argmax()
        for more in (0.0, rng.exponential(2)):
            logits[0, best] += more
            shares = softmax(logits)
            masked = shares[:, 16:].sum(1)
            among = shares[:, :16] / (1 - masked)[:, None]
            given = rules.judged(SURE, among, TREE, "species", masked)
            depths.append(int(given.depth[0]))
            paths.append(given.paths.taxa[0])
        at = depths[0]
        above = TREE.parents("species", RANKS[at])[best]
        if at == belief.ROOT or above == paths[0][at]:  # evidence for a descendant
            assert depths[1] >= depths[0]
        seen.add(tuple(depths))
    assert (belief.ROOT, 2) in seen


def test_calibration_is_on_the_pictures_that_get_names():
    """Those with little allowed probability are wrong: with them nothing is promised
    at the accuracy that the others reach."""
    count = 400
    found = belief.Paths(
        ("species",), np.zeros((count, 1), int), np.full((count, 1), 0.99)
    )
    masked = np.where(np.arange(count) < 300, 0.1, 0.9)
    truth = {"species": np.where(np.arange(count) < 300, 0, -1)}
    assert np.isinf(belief.calibrate(found, truth).values).all()
    paths, labels, left_out = calibrate._enough_allowed(masked, 0.5, found, truth)
    chosen = belief.calibrate(paths, labels)
    assert left_out == 100
    assert chosen.pictures.tolist() == [300] and np.isfinite(chosen.values).all()


def test_predict_of_a_run(trained, run, family, tmp_path):
    ranks = ("order", "family", "genus", "species")
    rows = [
        {"rank": rank, "threshold": 0.0, "pictures": 9, "named": 9, "right": 9}
        for rank in ranks
    ]
    about = {"accuracy": 0.9, "confidence_level": 0.9, "ranks": rows}
    workdir.write_json(
        run / "belief.json", {"schema_version": rules.SCHEMA_VERSION, **about}
    )
    found = {}
    for share in (0.5, 0.0):
        path = tmp_path / f"{share}.csv"
        tiny_birds.run(
            "predict",
            trained.config,
            workdir=str(run),
            allowed_taxa=family,
            out=str(path),
            fields={"believe.allowed_share": share},
        )
        rows = tables.read_csv(path)
        masked = dict(zip(rows["example_id"], rows["masked_probability"], strict=True))
        found[share] = tables.read_csv(tmp_path / f"{share}_believed.csv")
    names = zip(found[0.5]["example_id"], found[0.5]["believed_taxon"], strict=True)
    barred = [(float(masked[image]) > 0.5, name) for image, name in names]
    assert {one for one, _ in barred} == {True, False} or len(barred) == 9
    assert all(not name for too_much, name in barred if too_much)
    kept = [name for too_much, name in barred if not too_much]
    whole = found[0.0]["believed_taxon"]
    assert kept == [n for n, (much, _) in zip(whole, barred, strict=True) if not much]
    assert all(whole)  # thresholds of 0


def test_calibrate_keeps_the_share_with_the_thresholds(trained, run, family):
    said = tiny_birds.run(
        "calibrate",
        trained.config,
        workdir=str(run),
        split="test",
        chosen_split=True,
        allowed_taxa=family,
        fields={"believe.allowed_share": 0.25},
    )
    (path,) = run.glob("allowed-*/belief.json")
    about = workdir.read_json(path)
    assert about["allowed_share"] == 0.25
    left_out = 9 - about["ranks"][0]["pictures"]
    words = f"without {left_out} where the allowed taxa together have less than 25 %"
    assert (words in said) == (left_out > 0)
    # A run with this file has its share, not that of the config.
    (asked,) = find_runs.allow(family, [run_folder.read(run)])
    options = trained.config.believe.copy_and_resolve_references()
    options.allowed_share = 0.9
    assert rules.rule_of(asked, options).allowed_share == 0.25
    options.allowed_share = 1.5
    with pytest.raises(UserError, match=r"believe.allowed_share is 1.5, expected"):
        rules.rule_of(asked, options)
