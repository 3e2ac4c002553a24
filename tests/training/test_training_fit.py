"""fit: what moves and what stays, exact validation, the best epoch, resuming."""

import logging

import numpy as np
import pytest

from hiercam_keras import tables
from hiercam_keras.errors import UserError
from hiercam_keras.training import callbacks, fit
from hiercam_keras.training.predict import Predictions, predict_logits


def cross_entropy(logits, labels):
    """Mean over images, float64, in a loop."""
    total = 0.0
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[label]
    return total / len(labels)


def test_training_learns_and_logs(train):
    done = train(epochs=6, keep_best=False)
    log = tables.read_log(done.folder / "log.csv")
    assert log["epoch"] == [1, 2, 3, 4, 5, 6]
    assert log["loss"][-1] < 0.7 * log["loss"][0]
    assert set(log) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    np.testing.assert_allclose([row["loss"] for row in done.rows], log["loss"])


def test_validation_is_exact_over_padded_batches(train, loaders):
    done = train(epochs=1, keep_best=False)
    _, val = loaders
    logits = done.model.predict_on_batch(val.images)
    labels = val.labels["family"]
    row = done.rows[-1]
    assert row["val_loss"] == pytest.approx(cross_entropy(logits, labels), rel=1e-5)
    assert row["val_accuracy"] == np.mean(np.argmax(logits, 1) == labels)


def test_several_heads_learn_together(train, loaders):
    done = train(("family", "species"), epochs=2, keep_best=False)
    _, val = loaders
    logits = done.model.predict_on_batch(val.images)
    row, total = done.rows[-1], 0.0
    for rank in ("family", "species"):
        expected = cross_entropy(logits[rank], val.labels[rank])
        assert row[f"val_{rank}_loss"] == pytest.approx(expected, rel=1e-5)
        total += expected
    assert row["val_loss"] == pytest.approx(total, rel=1e-5)
    assert row["loss"] == pytest.approx(
        row["family_loss"] + row["species_loss"], rel=1e-5
    )


def test_label_smoothing_is_that_of_the_paper(train, loaders, make_model, config):
    """First loss: (1 - e) CE(label) + e/K sum CE(k), Szegedy et al. 2016."""
    model, counts = make_model(dropout=0.0)
    config.train.update({"label_smoothing": 0.2, "learning_rate": 0.0, "epochs": 1})
    fit.compile_model(model, counts, config.train, 4)
    images, labels = next(fit._training_batches(loaders[0], counts, 0, config.train))
    np.testing.assert_allclose(labels.sum(1), 1)
    found = model.test_on_batch(images, labels, return_dict=True)["loss"]
    logits, truth = model.predict_on_batch(images), labels.argmax(1)
    uniform = np.mean([cross_entropy(logits, np.full(8, k)) for k in range(2)])
    expected = 0.8 * cross_entropy(logits, truth) + 0.2 * uniform
    assert found == pytest.approx(expected, rel=1e-5)


def test_frozen_layers_do_not_move(train):
    done = train(epochs=1, freeze_through="bn", keep_best=False)
    for weight in done.model.weights:
        same = np.array_equal(np.asarray(weight), done.before[weight.path])
        frozen = weight.path.startswith(("conv/", "bn/"))
        # The seed of the dropout is no weight; kernels and biases of the head move.
        assert same == frozen, weight.path


def test_reestimating_sets_the_statistics_of_the_training_images(train, loaders):
    training, _ = loaders
    batches = list(training.epoch(1))
    done = train(epochs=1, statistics=batches, keep_best=False)
    images = np.concatenate([batch.images for batch in batches])
    bn = done.model.get_layer("bn")
    inner = type(done.model)(done.model.input, bn.input)
    values = np.asarray(inner.predict_on_batch(images), np.float64)
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    np.testing.assert_allclose(np.asarray(bn.moving_mean), mean, atol=1e-5)
    np.testing.assert_allclose(np.asarray(bn.moving_variance), variance, rtol=1e-3)


def test_validation_recovers_after_a_very_short_run(
    make_model, loaders, config, tmp_path, caplog
):
    """With Keras' momentum of 0.99 eight steps leave the statistics where they were."""
    model, counts = make_model()
    model.get_layer("bn").momentum = 0.99
    training, val = loaders
    config.train.update({"epochs": 2, "keep_best": False, "learning_rate": 0.1})
    fit.compile_model(model, counts, config.train, training.num_batches)
    with caplog.at_level(logging.INFO, "absl"):
        rows = fit.train(
            model,
            training,
            val,
            counts,
            config,
            tmp_path,
            statistics=training.epoch(9),
        )
    before, after = rows[-1], callbacks.validate(model, val, ("family",))
    assert before["accuracy"] > before["val_accuracy"] + 0.1  # training looks fine
    assert after["val_accuracy"] > before["val_accuracy"] + 0.2
    assert after["val_loss"] < before["val_loss"] - 0.1
    assert f"with them: val_loss {after['val_loss']:.4f}" in caplog.text


@pytest.mark.parametrize("keep_best", [True, False])
def test_the_best_epoch_is_kept(train, monkeypatch, keep_best):
    """The val losses are 3, 1, 2: epoch 2 is the best one."""
    seen = []

    def validate(self, epoch, logs=None):
        logs["val_loss"] = [3.0, 1.0, 2.0][epoch]
        seen.append([np.array(one) for one in self.model.get_weights()])

    monkeypatch.setattr(callbacks.Validation, "on_epoch_end", validate)
    done = train(keep_best=keep_best)
    for found, best, last in zip(done.model.get_weights(), *seen[1:], strict=True):
        np.testing.assert_array_equal(found, best if keep_best else last)
    assert any(not np.array_equal(*pair) for pair in zip(*seen[1:], strict=True))


@pytest.mark.parametrize(
    ("least", "chosen"), [(0, True), (10, True), (11, False), (30, False)]
)
def test_few_images_do_not_choose(train, monkeypatch, caplog, least, chosen):
    """Of 10 val images the first of 3 epochs seems best; it has learned least."""
    seen = []

    def validate(self, epoch, logs=None):
        logs["val_loss"] = [1.0, 2.0, 3.0][epoch]
        seen.append([np.array(one) for one in self.model.get_weights()])

    monkeypatch.setattr(callbacks.Validation, "on_epoch_end", validate)
    with caplog.at_level(logging.INFO):
        done = train(keep_best_images=least)
    for found, first, last in zip(
        done.model.get_weights(), seen[0], seen[2], strict=True
    ):
        np.testing.assert_array_equal(found, first if chosen else last)
    said = "10 val images are too few to choose an epoch by"
    assert (said in caplog.text) != chosen


def test_images_without_a_label_do_not_count(make_model, loaders):
    """-1 at a rank: the loss is the mean over the others; NaN where there are none."""
    model, _ = make_model(("family", "species"))
    loader = loaders[1]
    plain = callbacks.validate(model, loader, ("family", "species"))
    found = predict_logits(model, loader, ("family", "species"))
    log_p = np.log(np.exp(found.logits["species"].astype(np.float64)))
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    truth = found.labels["species"].copy()
    loader.labels["species"] = np.where(np.arange(len(truth)) < 4, -1, truth)
    partly = callbacks.validate(model, loader, ("family", "species"))
    expected = -np.mean(log_p[np.arange(4, 10), truth[4:]])
    assert partly["val_species_loss"] == pytest.approx(expected, rel=1e-6)
    assert partly["val_family_loss"] == plain["val_family_loss"]
    loader.labels["species"] = np.full(len(truth), -1)
    none = callbacks.validate(model, loader, ("family", "species"))
    assert np.isnan(none["val_species_loss"]) and np.isnan(none["val_species_accuracy"])
    assert none["val_loss"] == pytest.approx(plain["val_family_loss"])


def test_without_validation_the_last_epoch_is_kept(train):
    done = train(epochs=2, validation=False)
    assert set(done.rows[-1]) == {"epoch", "loss", "accuracy"}


def test_dropout_differs_between_epochs_and_seeds(make_model):
    model, _ = make_model()
    states = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        callback = callbacks.EpochSeed(seed)
        callback.set_model(model)
        callback.on_epoch_begin(epoch)
        state = model.get_layer("head_dropout").seed_generator.state
        states.append(tuple(np.asarray(state)))
    assert len(set(states)) == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 0}, r"config\.train\.epochs is 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing is 1\.0"),
        ({"freeze_through": "conv9"}, r"'conv9'.*logits_family"),
    ],
)
def test_wrong_values_are_named_before_anything_is_written(
    train, tmp_path, fields, words
):
    with pytest.raises(UserError, match=words):
        train(**fields)
    assert not list(tmp_path.iterdir())


def test_predictions_leave_padding_out(make_model, loaders):
    model, _ = make_model()
    _, val = loaders
    found = predict_logits(model, val, ("family",))
    assert found.example_ids == [str(i) for i in range(10)]
    assert found.logits["family"].shape == (10, 2)
    np.testing.assert_array_equal(found.labels["species"], val.labels["species"])
    np.testing.assert_allclose(
        found.logits["family"], model.predict_on_batch(val.images), atol=1e-5
    )


def test_no_tensorboard_is_a_message(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name == "tensorboard":
            raise ImportError("No module named 'tensorboard'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    lines = []
    monkeypatch.setattr(
        callbacks.logging, "warning", lambda text, *values: lines.append(text % values)
    )
    assert callbacks.tensorboard(tmp_path, True) == []
    assert len(lines) == 1 and "pip install tensorboard" in lines[0]
    assert callbacks.tensorboard(tmp_path, False) == []


def test_logits_that_are_no_numbers_are_never_the_best(monkeypatch):
    """A rank without labels counts nothing; one with NaN is worse than anything."""
    logits = {"family": np.full((3, 2), np.nan), "species": np.zeros((3, 4))}
    labels = {"family": np.array([0, 1, 1]), "species": np.full(3, -1)}
    found = Predictions(["a", "b", "c"], logits, labels)
    monkeypatch.setattr(callbacks, "predict_logits", lambda *_, **__: found)
    figures = callbacks.validate(None, None, ("family", "species"))
    assert figures["val_loss"] == np.inf and np.isnan(figures["val_species_loss"])
    labels["family"][:] = -1
    assert callbacks.validate(None, None, ("family", "species"))["val_loss"] == 0
