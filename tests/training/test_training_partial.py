"""Losses, weights and trainings with images identified only to a coarser rank."""

from types import SimpleNamespace

import jax
import keras
import numpy as np
import pytest
from array_loader import ArrayLoader, make_images
from interrupted import Killed, kill, same, stop_before
from scipy.special import log_softmax, logsumexp, softmax

from hiercam_keras.data import sampling
from hiercam_keras.runs.truth import Trained
from hiercam_keras.taxonomy import Lineage, Taxonomy
from hiercam_keras.taxonomy.partial import LabelSpace
from hiercam_keras.training import (
    compiling,
    fit,
    hierarchy_losses,
    marginal_losses,
    mixing,
)
from hiercam_keras.training.saving import Saving

RANKS = ("order", "family", "genus", "species")
# Five species: P/A/a (2), P/A/b (1), P/B/c (1), and O/-/d (1) without a family.
TREE = Taxonomy(
    Lineage(taxa, RANKS)
    for taxa in (
        ("O", "", "d", "v"),
        ("P", "A", "a", "w"),
        ("P", "A", "a", "x"),
        ("P", "A", "b", "y"),
        ("P", "B", "c", "z"),
    )
)
SPACE = LabelSpace.of(TREE, "species")
# Label of a taxon -> its species. Species 0..4, orders 5..6, families 7..8, genera
# 9..12.
BELOW = {5: [0], 6: [1, 2, 3, 4], 7: [1, 2, 3], 8: [4], 9: [0], 10: [1, 2], 12: [4]}
KINDS = {
    "marginal": lambda **k: marginal_losses.MarginalCrossEntropy(
        SPACE.parents, SPACE.sizes, **k
    ),
    "hxe": lambda **k: marginal_losses.MarginalHierarchicalCrossEntropy(
        SPACE.parents, SPACE.sizes, 0.4, **k
    ),
    "soft_labels": lambda **k: marginal_losses.MarginalSoftLabels(
        SPACE.parents, SPACE.sizes, 2.0, **k
    ),
}


def random_logits(count=6, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (count, 5))


def test_the_labels_of_a_head_by_hand():
    assert (SPACE.num_taxa, SPACE.size, SPACE.offsets) == (5, 13, (5, 7, 9))
    lineages = [
        Lineage(("P", "A", "a", "x"), RANKS),
        Lineage(("P", "A", "a", ""), RANKS),
        Lineage(("P", "A", "", ""), RANKS),
        Lineage(("P", "", "", ""), RANKS),
        Lineage(("P", "A", "new", ""), RANKS),  # not in the tree: its family
        Lineage(("Q", "", "", ""), RANKS),
        None,
    ]
    truth = Trained(TREE)
    assert SPACE.labels(lineages, truth).tolist() == [2, 10, 7, 6, 7, -1, -1]
    families = LabelSpace.of(TREE, "family")
    # The order O has no family, and P has all of them: neither says anything there,
    # nor does a species without a family.
    asked = [lineages[0], lineages[3], Lineage(("O", "", "d", "v"), RANKS)]
    assert families.labels(asked, truth).tolist() == [0, -1, -1]


@pytest.mark.parametrize("label", BELOW)
def test_the_loss_and_its_gradient_are_those_of_the_marginal_score(label):
    """-log P(n) in float64, by autodiff and by finite differences."""
    leaves = np.array(BELOW[label])
    logits = random_logits(1, label)

    def marginal(z):  # by the definition, in NumPy
        return logsumexp(z) - logsumexp(z[leaves])

    steps = 1e-6 * np.eye(5)
    slopes = [(marginal(logits[0] + h) - marginal(logits[0] - h)) / 2e-6 for h in steps]
    within = np.zeros(5)
    within[leaves] = softmax(logits[0][leaves])
    with jax.enable_x64(True):
        loss = KINDS["marginal"]()
        value, gradient = jax.value_and_grad(
            lambda z: loss.call(np.array([label]), z).sum()
        )(jax.numpy.asarray(logits))
        assert value.dtype == np.float64
        score = jax.grad(
            lambda z: (
                jax.nn.logsumexp(z, axis=-1) - jax.nn.logsumexp(z[:, leaves], axis=-1)
            ).sum()
        )(jax.numpy.asarray(logits))
    assert float(value) == pytest.approx(marginal(logits[0]), rel=1e-12)
    np.testing.assert_allclose(gradient[0], softmax(logits[0]) - within, atol=1e-12)
    np.testing.assert_allclose(gradient[0], slopes, atol=1e-8)
    np.testing.assert_allclose(gradient, score, atol=1e-12)


def test_a_rank_without_a_taxon_changes_nothing():
    """As an empty column of a table: neither the labels nor the losses."""
    ranks = ("order", "tribe", *RANKS[1:])
    wider = [
        Lineage((one.taxa[0], "", *one.taxa[1:]), ranks, one.class_id)
        for one in TREE.lineages
    ]
    tree = Taxonomy(wider)
    assert tree.num_labels("tribe") == 0
    assert LabelSpace.of(tree, "species").ranks == RANKS
    for rank in RANKS:
        space, own = LabelSpace.of(tree, rank), LabelSpace.of(TREE, rank)
        assert (space.sizes, space.offsets) == (own.sizes, own.offsets)
        for depth in range(2, 6):
            some = [(*one.taxa[:depth], *[""] * (5 - depth)) for one in wider]
            lineages = [Lineage(taxa, ranks) for taxa in some]
            short = [Lineage((one[0], *one[2:]), RANKS) for one in some]
            found = space.labels(lineages, Trained(tree))
            assert found.tolist() == own.labels(short, Trained(TREE)).tolist()


def test_whole_identifications_cost_what_they_did():
    logits = random_logits().astype(np.float32)
    labels = np.array([0, 1, 2, 3, 4, 4])
    plain = -log_softmax(logits, axis=-1)[np.arange(6), labels]
    np.testing.assert_allclose(KINDS["marginal"]().call(labels, logits), plain, 1e-5)
    rank_tree = [np.array([0, 1, 1, 1, 1]), np.array([0, 1, 1, 1, 2])]  # no gap
    sizes = (2, 3, 5)
    for smoothing in (0.0, 0.1):
        before = hierarchy_losses.HierarchicalCrossEntropy(
            rank_tree, 5, 0.4, label_smoothing=smoothing
        )
        now = marginal_losses.MarginalHierarchicalCrossEntropy(
            rank_tree, sizes, 0.4, label_smoothing=smoothing
        )
        np.testing.assert_allclose(
            now.call(labels, logits), before.call(labels, logits), 1e-5
        )
        before = hierarchy_losses.SoftLabelCrossEntropy(
            rank_tree, 5, 2.0, label_smoothing=smoothing
        )
        now = marginal_losses.MarginalSoftLabels(
            rank_tree, sizes, 2.0, label_smoothing=smoothing
        )
        np.testing.assert_allclose(
            now.call(labels, logits), before.call(labels, logits), 1e-5
        )


def test_a_coarser_label_costs_what_it_costs_in_the_tree_cut_there():
    """A family's loss is that of a network of families with the marginals' logits."""
    logits = random_logits().astype(np.float32)
    order, family = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 2])
    of_family = np.stack(
        [logsumexp(logits[:, family == n], axis=-1) for n in range(3)], axis=-1
    ).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    above = [np.array([0, 1, 1])]
    for before, now in (
        (
            hierarchy_losses.HierarchicalCrossEntropy(above, 3, 0.4),
            marginal_losses.MarginalHierarchicalCrossEntropy(
                [order, family], (2, 3, 5), 0.4
            ),
        ),
        (
            hierarchy_losses.SoftLabelCrossEntropy(above, 3, 2.0),
            marginal_losses.MarginalSoftLabels([order, family], (2, 3, 5), 2.0),
        ),
    ):
        found = now.call(labels + 5 + 2, logits)
        expected = before.call(labels, of_family)
        if before.name == "hxe":  # its steps are one rank higher in the whole tree
            expected = np.exp(-0.4) * np.asarray(expected)
        np.testing.assert_allclose(found, expected, 1e-4)


def test_hxe_steps_over_a_gap_by_hand():
    """Species 0: log P(v|d) = log P(d|O) = 0, and P(O) at the height of an order."""
    logits = random_logits().astype(np.float32)
    log_p = log_softmax(logits, axis=-1)
    found = KINDS["hxe"]().call(np.zeros(6, int), logits)
    np.testing.assert_allclose(found, -np.exp(-0.4 * 3) * log_p[:, 0], 1e-4)
    genus = np.full(6, 10)  # a, in the family A of the order P
    s = {k: logsumexp(log_p[:, v], axis=-1) for k, v in BELOW.items()}
    expected = np.exp(-0.4) * (s[7] - s[10]) + np.exp(-0.8) * (s[6] - s[7])
    expected -= np.exp(-1.2) * s[6]
    np.testing.assert_allclose(KINDS["hxe"]().call(genus, logits), expected, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_mix_and_smooth_across_ranks(kind):
    logits = random_logits(1).astype(np.float32)
    loss = KINDS[kind]()
    each = [float(loss(np.array([n]), logits)) for n in range(13)]
    mixed = 0.7 * mixing.one_hot(np.array([2]), 13) + 0.3 * mixing.one_hot(
        np.array([7]), 13
    )
    assert float(loss(mixed, logits)) == pytest.approx(0.7 * each[2] + 0.3 * each[7])
    smooth = KINDS[kind](label_smoothing=0.2)
    expected = 0.8 * each[7] + 0.2 * np.mean(each[7:9])  # over the families
    assert float(smooth(np.array([7]), logits)) == pytest.approx(expected, rel=1e-5)
    assert float(smooth(np.array([-1]), logits)) == 0.0
    nothing = mixing.one_hot(np.array([-1]), 13)
    assert float(smooth(nothing, logits)) == 0.0
    again = type(loss).from_config(loss.get_config())
    assert float(again(mixed, logits)) == float(loss(mixed, logits))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_finite_where_a_taxon_has_no_leaf(kind):
    """A head of families in a tree where an order has none, at extreme logits."""
    space = LabelSpace.of(TREE, "family")
    assert space.sizes == (2, 2)
    loss = {
        "marginal": marginal_losses.MarginalCrossEntropy(space.parents, space.sizes),
        "hxe": marginal_losses.MarginalHierarchicalCrossEntropy(
            space.parents, space.sizes, 0.4
        ),
        "soft_labels": marginal_losses.MarginalSoftLabels(
            space.parents, space.sizes, 2.0, label_smoothing=0.1
        ),
    }[kind]
    logits = jax.numpy.array([[300.0, -300.0], [0.0, 1.0]])
    labels = np.array([1, 0])
    value, gradient = jax.value_and_grad(lambda z: loss.call(labels, z).sum())(logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_accuracy_counts_what_is_identified_to_the_rank():
    metric = marginal_losses.KnownAccuracy(5)
    logits = np.eye(5, dtype=np.float32)[[0, 1, 2, 3]]
    metric.update_state(np.array([0, 2, 7, -1]), logits)
    assert float(metric.result()) == 0.5
    metric.reset_state()
    soft = mixing.one_hot(np.array([0, 7, -1, 3]), 13)
    metric.update_state(soft, logits)
    assert float(metric.result()) == 1.0
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert again.num_taxa == 5


def test_balanced_sampling_gives_every_species_its_share():
    """By hand: a record of the genus a counts half for w, half for x."""
    labels = np.array([0, 0, 0, 1, 2, 3, 4, 10, 7])
    weights = sampling.example_weights(labels, "balanced", "f", SPACE)
    sizes = np.array([3, 1 + 1 / 2 + 1 / 3, 1 + 1 / 2 + 1 / 3, 1 + 1 / 3, 1])
    own = 1 / sizes
    expected = own[[0, 0, 0, 1, 2, 3, 4]].tolist()
    expected += [own[1:3].mean(), own[1:4].mean()]
    expected = np.array(expected) / np.mean(expected)
    np.testing.assert_allclose(weights, expected)
    mass = np.zeros(5)
    for label, weight in zip(labels, weights, strict=True):
        leaves = BELOW.get(label, [label])
        share = own[leaves] / own[leaves].sum()
        mass[leaves] += weight * share
    np.testing.assert_allclose(mass, mass[0])
    with_none = sampling.example_weights(np.append(labels, -1), "sqrt", "f", SPACE)
    assert with_none[-1] == 1.0
    assert with_none[:-1].mean() == pytest.approx(1.0)
    whole = np.array([0, 0, 1, 2, 3, 4])
    np.testing.assert_allclose(
        sampling.example_weights(whole, "sqrt", "f", SPACE),
        sampling.example_weights(whole, "sqrt", "f"),
    )


# A tree of the tests' images: family 0 has the species 0 and 1, family 1 the species 2.
NESTED = Taxonomy(
    Lineage(taxa, ("family", "species"))
    for taxa in (("A", "x"), ("A", "y"), ("B", "z"))
)
SPACES = {rank: LabelSpace.of(NESTED, rank) for rank in NESTED.ranks}
PARENTS = {"family": np.array([0, 0, 1]), "species": np.arange(3)}


def nested_loaders(partial=True):
    """Images of the tree's species; every second one is known to its family alone."""
    made = []
    for seed, count in ((0, 34), (1, 10)):
        images, labels = make_images(seed, count)
        species = labels["species"]
        labels = {"family": (species == 2).astype(np.int32), "species": species.copy()}
        if partial and seed == 0:
            labels["species"][::2] = (
                SPACES["species"].offsets[0] + labels["family"][::2]
            )
        elif partial:
            labels["species"][::2] = -1
        made.append(ArrayLoader(images, labels, 8, seed == 0))
    return made


@pytest.fixture
def train_partial(make_model, config, tmp_path):
    def train(ranks, resume=False, spaces=SPACES, folder=None, partial=True, **fields):
        changed = config.copy_and_resolve_references()
        changed.train.update({"keep_best": False, **fields})
        model, counts = make_model(ranks)
        training, val = nested_loaders(partial)
        if spaces is not None:
            spaces = {rank: spaces[rank] for rank in ranks}
        steps = training.num_batches
        fit.compile_model(model, counts, changed.train, steps, PARENTS, spaces)
        folder = folder or tmp_path / "run"
        rows = fit.train(
            model, training, val, counts, changed, folder, resume, spaces=spaces
        )
        return SimpleNamespace(model=model, rows=rows, folder=folder)

    return train


@pytest.mark.parametrize(
    "ranks, fields",
    [
        pytest.param(("species",), {}, marks=pytest.mark.slow),
        pytest.param(
            ("family", "species"),
            {"hierarchical": "hxe", "consistency": 0.1},
            marks=pytest.mark.slow,
        ),
        (
            ("family", "species"),
            {"hierarchical": "soft_labels", "label_smoothing": 0.1, "mixup": 0.4},
        ),
        pytest.param(
            ("species",),
            {"cutmix": 1.0, "filter_loss": 0.1, "filter_targets": "category"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_training_stopped_and_resumed_ends_the_same(
    train_partial, tmp_path, monkeypatch, ranks, fields
):
    fields = {"epochs": 2, "checkpoint_steps": 1, **fields}
    whole = train_partial(ranks, folder=tmp_path / "whole", **fields)
    assert np.isfinite([row["loss"] for row in whole.rows]).all()
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "on_train_batch_begin", stop_before(5, kill))
        with pytest.raises(Killed):
            train_partial(ranks, folder=tmp_path / "parts", **fields)
    same(train_partial(ranks, True, folder=tmp_path / "parts", **fields), whole)


def test_partial_images_teach_their_family(train_partial):
    """With every second image known to its family alone the loss falls, and val counts
    the images that are identified."""
    done = train_partial(("species",), epochs=8)
    assert done.rows[-1]["loss"] < done.rows[0]["loss"]
    assert 0 <= done.rows[-1]["accuracy"] <= 1
    assert done.rows[-1]["val_accuracy"] * 5 == pytest.approx(
        round(done.rows[-1]["val_accuracy"] * 5)
    )


def test_whole_identifications_train_to_the_same_losses(train_partial, tmp_path):
    """The marginal losses on whole labels, and the losses without `spaces`."""
    with_spaces = train_partial(("species",), partial=False, folder=tmp_path / "a")
    without = train_partial(
        ("species",), spaces=None, partial=False, folder=tmp_path / "b"
    )
    for one, other in zip(with_spaces.rows, without.rows, strict=True):
        assert one["accuracy"] == other["accuracy"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_batches_have_distributions_over_all_labels(config):
    config.train.label_smoothing = 0.1
    training, _ = nested_loaders()
    batch = next(iter(training.epoch()))
    counts = {rank: space.size for rank, space in SPACES.items()}
    _, truth = compiling.training_batch(batch, counts, config.train, 0)
    assert truth["species"].shape == (8, 5)
    np.testing.assert_array_equal(truth["species"].sum(-1), 1)
