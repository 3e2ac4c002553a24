"""Losses of several heads put together, and terms between them."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from configs import default
from hiercam_keras.errors import UserError
from hiercam_keras.training import compiling, objective

PARENTS = {"family": np.array([0, 0, 1, 1]), "species": np.arange(4)}
LABELS = {"family": 2, "species": 4}


def options(**fields):
    train = default.get_config().train
    train.update({"learning_rate": 0.02, "epochs": 4, **fields})
    return train


def make_data(seed, count=96):
    """Noise with a faint hue for four species in two families."""
    rng = np.random.default_rng(seed)
    species = rng.integers(0, 4, count)
    images = rng.normal(128, 60, (count, 4, 4, 3))
    for channel in range(2):
        lit = (species >> channel) & 1
        images[..., channel] += 30 * lit[:, None, None]
    labels = {"family": PARENTS["family"][species], "species": species}
    return images.clip(0, 255).astype("uint8"), labels


def make_model(seed=0, ranks=("family", "species")):
    keras.utils.set_random_seed(seed)
    image = keras.Input((4, 4, 3))
    x = keras.layers.Rescaling(1 / 255, -0.5)(image)
    x = keras.layers.Conv2D(8, 1, activation="relu", name="top")(x)
    features = keras.layers.GlobalAveragePooling2D()(x)
    logits = {r: keras.layers.Dense(LABELS[r], name=f"logits_{r}") for r in ranks}
    heads = {rank: dense(features) for rank, dense in logits.items()}
    model = keras.Model(image, heads if len(ranks) > 1 else heads[ranks[0]])
    model.cam_layer = "top"
    return model


def fit(train, seed=0, ranks=("family", "species"), epochs=1):
    model = make_model(seed, ranks)
    counts = {rank: LABELS[rank] for rank in ranks}
    compiling.compile_model(model, counts, train, 3, PARENTS)
    images, labels = make_data(seed)
    ids = [str(i) for i in range(len(images))]
    batch = SimpleNamespace(images=images, labels=labels, example_ids=ids, weights=None)
    images, truth = compiling.training_batch(batch, counts, train, 0)
    history = model.fit(images, truth, 32, epochs, 0, shuffle=False).history
    return SimpleNamespace(model=model, history=history, images=images, truth=truth)


def test_terms_and_weights_add_up_by_hand():
    """loss = 0.5 CE(family) + 2 CE(species) + 3 JS(family, marginal), no step taken."""
    train = options(learning_rate=0.0, loss_weights=(0.5, 2.0), consistency=3.0)
    done = fit(train)
    outputs = done.model.predict(done.images, verbose=0)
    total = 0.0
    for rank, weight in (("family", 0.5), ("species", 2.0)):
        log_p = log_softmax(outputs[rank].astype(float), -1)
        cost = -log_p[np.arange(96), done.truth[rank]].mean()
        assert done.history[f"{rank}_loss"][0] == pytest.approx(cost, rel=1e-4)
        total += weight * cost
    p = softmax(outputs["family"].astype(float), -1)
    q = softmax(outputs["species"].astype(float), -1)
    q = np.stack([q[:, :2].sum(1), q[:, 2:].sum(1)], 1)
    m = (p + q) / 2
    js = (np.sum(p * np.log(p / m), 1) + np.sum(q * np.log(q / m), 1)).mean() / 2
    assert done.history["consistency"][0] == pytest.approx(js, rel=1e-3)
    assert done.history["loss"][0] == pytest.approx(total + 3 * js, rel=1e-4)


def test_the_hierarchical_loss_is_that_of_the_finest_head():
    for name, kind in (
        ("hxe", "HierarchicalCrossEntropy"),
        ("soft_labels", "SoftLabelCrossEntropy"),
    ):
        losses = objective.head_losses(options(hierarchical=name), LABELS, PARENTS)
        assert type(losses["species"]).__name__ == kind
        assert [level.tolist() for level in losses["species"].parents] == [[0, 0, 1, 1]]
        assert "Sparse" in type(losses["family"]).__name__
    # alpha = 0 is the plain loss; a model with one head has it all the same.
    plain = fit(options(), ranks=("species",)).history["loss"]
    train = options(hierarchical="hxe", hxe_alpha=0.0)
    assert fit(train, ranks=("species",)).history["loss"] == pytest.approx(
        plain, rel=1e-4
    )


def test_the_tree_tells_the_finest_head_where_sizes_do_not():
    """Every genus has one species: the losses over the tree sit on the species' head,
    in any order of the ranks."""
    tree = {"family": np.array([0, 0, 1, 1]), "genus": np.arange(4)}
    tree["species"] = np.arange(4)
    for counts in ({"genus": 4, "species": 4}, {"species": 4, "genus": 4}):
        assert objective.finest_rank(counts, tree) == "species"
        losses = objective.head_losses(options(hierarchical="hxe"), counts, tree)
        assert type(losses["species"]).__name__ == "HierarchicalCrossEntropy"
        assert "Sparse" in type(losses["genus"]).__name__
        # The order of the tree above it: families, then the genera.
        assert [one.tolist() for one in losses["species"].parents] == [
            [0, 0, 1, 1],
            [0, 1, 2, 3],
        ]
    # A tree may hold ranks below the heads'.
    assert objective.finest_rank({"family": 2, "genus": 4}, tree) == "genus"


def consistent(done):
    outputs = done.model.predict(make_data(99, 400)[0], verbose=0)
    best = {rank: logits.argmax(-1) for rank, logits in outputs.items()}
    return np.mean(PARENTS["family"][best["species"]] == best["family"])


@pytest.mark.slow
def test_paths_are_more_consistent_with_the_consistency_term():
    """Mean over three seeds, on pictures that were not trained on."""
    shares = {
        weight: np.mean(
            [
                consistent(fit(options(consistency=weight), seed, epochs=8))
                for seed in range(3)
            ]
        )
        for weight in (0.0, 10.0)
    }
    assert shares[10.0] > shares[0.0] + 0.02


def test_the_filter_loss_falls_when_it_is_trained():
    """And by far less in the same training with next to no weight on it."""
    falls = {}
    for weight in (1e-6, 1000.0):
        values = fit(options(filter_loss=weight), epochs=6).history["filter_loss"]
        assert max(values) <= 0
        falls[weight] = values[0] - values[-1]
    assert falls[1000.0] > 3 * abs(falls[1e-6])


def test_the_papers_gradient_makes_filters_of_one_category():
    """Of a filter's maps a larger share is on its best family than without weight; but
    most images are of others, for which it pushes the maps down, so that they shrink
    and the information decreases."""
    found = {}
    for weight in (1e-6, 1000.0):
        done = fit(options(filter_loss=weight, filter_targets="category"), epochs=6)
        maps = keras.Model(done.model.input, done.model.get_layer("top").output)
        fired = maps.predict(done.images, verbose=0).mean((1, 2))
        family = make_data(0)[1]["family"]
        each = np.stack([fired[family == one].mean(0) for one in range(2)])
        own = (each.max(0) / np.maximum(each.sum(0), 1e-9)).mean()
        found[weight] = own, fired.mean(), done.history["filter_loss"][-1]
    (own, fired, loss), (own_with, fired_with, loss_with) = found.values()
    assert own_with > own + 0.05
    assert fired_with < fired / 2 and loss_with > loss


def test_the_filter_loss_leaves_no_trace():
    done = fit(options(filter_loss=20.0))
    plain = fit(options(), epochs=1)
    assert "filter_loss" not in plain.history
    # Nothing of it is left in a model that is saved or called later.
    assert done.model.predict(done.images, verbose=0)["species"].shape == (96, 4)


def test_mixed_and_smoothed_labels_go_with_every_loss():
    train = options(mixup=0.5, label_smoothing=0.1, hierarchical="hxe", consistency=1.0)
    done = fit(train, epochs=2)
    assert done.truth["species"].shape == (96, 4)
    assert np.isfinite(done.history["loss"]).all()
    assert "family_accuracy" in done.history


@pytest.mark.parametrize(
    ("fields", "ranks", "words"),
    [
        ({"consistency": 1.0}, ("species",), r"this model has one.*--rank=all"),
        ({"loss_weights": (1.0,)}, None, r"loss_weights is \(1\.0,\).*family,species"),
        ({"loss_weights": (1.0, -1.0)}, None, "one weight of 0 or more"),
        ({"hierarchical": "tree"}, None, "hierarchical is 'tree'.*none, hxe, soft"),
        ({"filter_targets": "one"}, None, "filter_targets is 'one'"),
        ({"hxe_alpha": -0.1}, None, "hxe_alpha is -0.1"),
        ({"cutmix": -1.0}, None, "cutmix is -1"),
        ({"ema_momentum": 1.0}, None, "ema_momentum is 1.0"),
        ({"clip_norm": -1.0}, None, "clip_norm is -1"),
        ({"warmup_frozen_epochs": 4.0}, None, "leaves nothing of config.train.epochs"),
    ],
)
def test_invalid_values_are_refused(fields, ranks, words):
    with pytest.raises(UserError, match=words) as error:
        fit(options(**fields), ranks=ranks or ("family", "species"))
    assert "\n" not in str(error.value)


def test_a_model_without_maps_has_no_filter_loss():
    model = make_model()
    model.cam_layer = "logits_species"
    with pytest.raises(
        UserError, match="a layer that outputs maps once, found 'logits_sp"
    ):
        compiling.compile_model(model, LABELS, options(filter_loss=1.0), 3, PARENTS)


@pytest.mark.parametrize("kind", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("ranks", [("species",), ("family", "species")])
def test_keras_gets_labels_that_jax_does_not_truncate(kind, ranks):
    labels = {rank: values.astype(kind) for rank, values in make_data(0)[1].items()}
    batch = SimpleNamespace(images=0, labels=labels, example_ids=[], weights=None)
    counts = {rank: LABELS[rank] for rank in ranks}
    _, truth = compiling.training_batch(batch, counts, options(), 0)
    found = truth if len(ranks) > 1 else {"species": truth}
    for rank, values in found.items():
        assert values.dtype == np.int32
        np.testing.assert_array_equal(values, labels[rank])
