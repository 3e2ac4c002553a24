"""How far down the tree answers are believed: rules, guarantee, monotony."""

import numpy as np
import pytest
import scipy.stats

from hiercam_keras.metrics import belief
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.scores import softmax
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("order", "family", "species")
TREE = Taxonomy(
    Lineage((f"o{i // 16}", f"f{i // 4}", f"s{i}"), RANKS) for i in range(64)
)


def test_path_is_the_likeliest_child_at_each_rank():
    # The likeliest species is in a family, and the likeliest family in an order, that
    # are not the likeliest: f1 of o0 has 0.4, but o1 has 0.55.
    tree = Taxonomy(
        Lineage(taxa, RANKS)
        for taxa in [
            ("o0", "f0", "s0"),
            ("o0", "f1", "s1"),
            ("o0", "f1", "s2"),
            ("o1", "f2", "s3"),
            ("o1", "f3", "s4"),
        ]
    )
    found = belief.paths([[0.05, 0.15, 0.25, 0.25, 0.3]], tree, "species")
    assert found.ranks == RANKS
    assert found.taxa.tolist() == [[1, 3, 4]]
    np.testing.assert_allclose(found.probabilities, [[0.55, 0.3, 0.3]])


def test_a_rank_of_one_taxon_says_nothing():
    tree = Taxonomy(Lineage(("Aves", f"s{i}"), ("class", "species")) for i in range(3))
    found = belief.paths([[0.2, 0.5, 0.3]], tree, "species")
    assert found.ranks == ("species",)


def test_believed_is_the_finest_rank_that_is_sure_with_all_coarser_ones():
    found = belief.Paths(
        RANKS,
        np.zeros((4, 3), int),
        np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.1], [0.5, 0.5, 0.5], [0.9, 0.3, 0.3]]),
    )
    depth = belief.believed(found, [0.6, 0.6, 0.3])
    assert depth.tolist() == [2, 1, belief.ROOT, 0]


def test_a_picture_at_a_threshold_reaches_it_in_another_batch():
    threshold = 0.8
    for share, reaches in (
        (threshold - 1e-6, True),
        (threshold - 1e-3, False),
        (1.0, True),
        (0.0, False),
    ):
        found = belief.Paths(("species",), np.zeros((1, 1), int), np.array([[share]]))
        assert (belief.believed(found, [threshold])[0] == 0) == reaches
        assert belief.believed(found, [np.inf])[0] == belief.ROOT
        assert belief.believed(found, [0.0])[0] == 0
    sure = belief.Paths(("species",), np.zeros((2, 1), int), np.array([[1.0], [0.999]]))
    assert belief.believed(sure, [1.0]).tolist() == [0, belief.ROOT]


def test_thresholds_are_the_lowest_that_pass_the_exact_test():
    # One rank, 300 pictures, the surest 200 right and the others wrong.
    confidence = np.linspace(0.99, 0.5, 300)
    found = belief.Paths(("species",), np.zeros((300, 1), int), confidence[:, None])
    truth = {"species": np.where(np.arange(300) < 200, 0, 1)}
    chosen = belief.calibrate(found, truth, accuracy=0.9, confidence_level=0.9)
    # Four sequences of tests share 0.1.
    passes = [
        k for k in range(200, 300) if scipy.stats.binom.cdf(k - 200, k, 0.1) <= 0.1 / 4
    ]
    assert 205 < max(passes) < 222
    assert chosen.values[0] == confidence[max(passes) - 1]
    assert chosen.pictures.tolist() == [300]
    assert chosen.named.tolist() == [max(passes)]
    assert chosen.right.tolist() == [200]


def test_equal_probabilities_have_one_threshold():
    found = belief.Paths(("species",), np.zeros((100, 1), int), np.full((100, 1), 0.7))
    right = {"species": np.zeros(100, int)}
    assert belief.calibrate(found, right).values.tolist() == [0.0]
    half = {"species": np.arange(100) % 2}
    assert belief.calibrate(found, half).values.tolist() == [np.inf]


@pytest.mark.parametrize("accuracy", [0.8, 0.95])
def test_least_number_of_pictures(accuracy):
    least = belief.least_pictures(accuracy, 0.9, ranks=1)
    for count, believes in ((least, True), (least - 1, False)):
        shares = np.linspace(0.5, 0.9, count)[:, None]
        found = belief.Paths(("species",), np.zeros((count, 1), int), shares)
        chosen = belief.calibrate(found, {"species": np.zeros(count, int)}, accuracy)
        assert bool(np.isfinite(chosen.values[0])) == believes


def test_unknown_taxa_are_wrong_and_unidentified_ones_are_left_out():
    found = belief.Paths(("species",), np.zeros((300, 1), int), np.ones((300, 1)))
    labels = np.zeros(300, int)
    labels[:150] = belief.UNLABELLED
    chosen = belief.calibrate(found, {"species": labels})
    assert chosen.pictures.tolist() == [150] and chosen.right.tolist() == [150]
    labels[:150] = -1
    chosen = belief.calibrate(found, {"species": labels})
    assert chosen.values.tolist() == [np.inf]


def test_numbers_out_of_range_are_refused():
    found = belief.Paths(("species",), np.zeros((3, 1), int), np.ones((3, 1)))
    with pytest.raises(ValueError, match="accuracy is 1"):
        belief.calibrate(found, {"species": [0, 0, 0]}, accuracy=1)
    with pytest.raises(ValueError, match=r"species has shape \(2,\)"):
        belief.calibrate(found, {"species": [0, 0]})


def _population(seed, size, sharpness):
    """Softmax answers for pictures of TREE, and their true labels by rank."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 64, size)
    logits = rng.normal(0, 1, (size, 64))
    evidence = rng.gamma(2, 1.5, size)
    rows = np.arange(size)
    logits[rows, truth] += evidence
    for member in range(4):
        logits[rows, truth // 4 * 4 + member] += 0.6 * evidence
    found = belief.paths(softmax(logits * sharpness), TREE, "species")
    return found, {"order": truth // 16, "family": truth // 4, "species": truth}


def _some(found, truth, chosen):
    part = belief.Paths(found.ranks, found.taxa[chosen], found.probabilities[chosen])
    return part, {rank: labels[chosen] for rank, labels in truth.items()}


@pytest.mark.parametrize("sharpness", [0.5, 2.0])  # under- and overconfident networks
def test_guarantee_holds_as_often_as_it_says(sharpness):
    found, truth = _population(0, 20_000, sharpness)
    rng = np.random.default_rng(1)
    kept, named, tries = 0, 0.0, 200
    for _ in range(tries):
        part = _some(found, truth, rng.choice(20_000, 200, replace=False))
        values = belief.calibrate(*part, accuracy=0.8, confidence_level=0.8).values
        sure = np.logical_and.accumulate(found.probabilities >= values, axis=1)
        named += sure.mean(0) / tries
        kept += all(
            not sure[:, at].any()
            or (found.taxa[:, at] == truth[rank])[sure[:, at]].mean() >= 0.8
            for at, rank in enumerate(RANKS)
        )
    assert scipy.stats.binomtest(kept, tries, 0.8, "less").pvalue > 0.01
    assert named[0] > 0.5 and named[2] > 0.2  # the promise is not an empty one


def test_a_wrong_calibration_believes_nothing():
    found, truth = _population(2, 2_000, 1.0)
    shuffled = np.random.default_rng(3).permutation(2_000)
    wrong = {rank: labels[shuffled] for rank, labels in truth.items()}
    chosen = belief.calibrate(found, wrong, accuracy=0.8)
    assert np.isinf(chosen.values).all()
    assert (belief.believed(found, chosen.values) == belief.ROOT).all()


def _random_tree(rng):
    ranks = tuple("abcd"[: rng.integers(1, 5)])
    taxa = {tuple(f"{rng.integers(0, 3)}" for _ in ranks) for _ in range(12)}
    return Taxonomy(
        Lineage(tuple("".join(one[: i + 1]) for i in range(len(one))), ranks)
        for one in taxa
    )


def test_more_evidence_never_gives_a_coarser_rank():
    rng = np.random.default_rng(4)
    for _ in range(300):
        tree = _random_tree(rng)
        finest, count = tree.finest, tree.num_labels(tree.finest)
        logits = rng.normal(0, 2, (1, count))
        allowed = rng.random(count) < 0.7
        allowed[rng.integers(count)] = True
        logits[:, ~allowed] = -np.inf
        before = belief.paths(softmax(logits), tree, finest)
        if not before.ranks:
            continue
        thresholds = rng.uniform(0, 1, len(before.ranks))
        depth = belief.believed(before, thresholds)[0]
        if depth == belief.ROOT:
            below = np.flatnonzero(allowed)
        else:
            rank, taxon = before.ranks[depth], before.taxa[0, depth]
            below = tree.descendants(rank, int(taxon), finest)
            below = below[allowed[below]]
        logits[:, rng.choice(below)] += rng.exponential(2)
        after = belief.paths(softmax(logits), tree, finest)
        deeper = belief.believed(after, thresholds)[0]
        if depth != belief.ROOT:
            assert deeper >= depth
            assert after.taxa[0, depth] == taxon


def test_roll_up_of_hand_worked_answers():
    def one(values):
        probabilities = np.full(64, (1 - sum(values.values())) / (64 - len(values)))
        for label, value in values.items():
            probabilities[label] = value
        found, depth = belief.roll_up(probabilities[None], TREE, "species")
        at = depth[0]
        return at, None if at < 0 else (found.taxa[0, at], found.probabilities[0, at])

    assert one({5: 0.81}) == (2, (5, pytest.approx(0.81)))
    # 5 and 6 are of one family.
    assert one({5: 0.5, 6: 0.2}) == (1, (1, pytest.approx(0.7)))
    # 5 and 9 are of one order; the three next labels are of it too.
    depth, (order, share) = one({5: 0.4, 9: 0.29, 0: 0.01, 1: 0.01, 2: 0.01})
    assert (depth, order) == (0, 0) and share == pytest.approx(0.72)
    assert one({5: 0.3, 20: 0.3})[0] == belief.ROOT
    # A sum over six labels of a family's order would do, over the best five it fails.
    six = {label: 0.111 for label in (0, 4, 8, 12, 1, 5)}
    assert one(six)[0] == belief.ROOT


def test_path_of_a_roll_up_is_that_of_the_taxon():
    # The likeliest label is in o0, and the sum of o1 is above 0.65.
    probabilities = np.zeros(64)
    probabilities[[0, 16, 20, 24]] = 0.3, 0.25, 0.25, 0.2
    found, depth = belief.roll_up(probabilities[None], TREE, "species")
    assert depth.tolist() == [0]
    assert found.taxa[0, 0] == 1


def test_coverage_and_risk():
    found = belief.Paths(
        RANKS, np.array([[0, 0, 0]] * 4), np.array([[0.9, 0.6, 0.3]] * 4)
    )
    depth = np.array([2, 1, 0, belief.ROOT])
    said = belief.coverage(found, depth, TREE, "species")
    np.testing.assert_allclose(said, [1, 1 - np.log(4) / np.log(64), 1 / 3, 0])
    truth = {"order": [0] * 4, "family": [0, 1, 0, 0], "species": [3, 0, 0, 0]}
    right = belief.correct(found, depth, truth)
    assert right.tolist() == [0, 0, 1, 1]


def test_risk_coverage_curve():
    found, truth = _population(5, 1_000, 1.0)
    curve = belief.risk_coverage(found, truth, TREE, "species")
    assert (np.diff(curve.coverage) >= 0).all()
    assert (curve.coverage[0], curve.risk[0]) == (0, 0)
    assert curve.coverage[-1] == 1
    wrong = (found.taxa[:, 2] != truth["species"]).mean()
    assert curve.risk[-1] == pytest.approx(wrong)
    assert 0 < curve.area < curve.risk[-1]
    # An oracle's order of the pictures has less area than a random one.
    mixed = belief.Paths(
        RANKS, found.taxa, np.random.default_rng(0).permutation(found.probabilities)
    )
    assert belief.risk_coverage(mixed, truth, TREE, "species").area > curve.area
