"""All options of training at once: a resumed training ends the same."""

import numpy as np
import pytest

from hiercam_keras.training import callbacks, compiling, fit

RANKS = ("family", "species")
PARENTS = {"family": np.array([0, 0, 1]), "species": np.arange(3)}
EVERYTHING = {
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "warmup_frozen_epochs": 1.5,
    "backbone_rate": 0.5,
    "depth_rate": 0.5,
    "clip_norm": 1.0,
    "ema_momentum": 0.8,
    "label_smoothing": 0.1,
    "mixup": 0.4,
    "cutmix": 1.0,
    "loss_weights": (0.5, 1.0),
    "hierarchical": "hxe",
    "consistency": 0.5,
    "filter_loss": 1.0,
    "filter_targets": "category",
}


class Stop(Exception):
    """Ends a training in the middle."""


@pytest.fixture(autouse=True)
def with_tree(monkeypatch):
    """The fixture `train` compiles without a tree, and its model names no CAM layer."""

    def compile_model(model, *args):
        model.cam_layer = "top"
        compiling.compile_model(model, *args, parents=PARENTS)

    monkeypatch.setattr(fit, "compile_model", compile_model)


def test_a_stopped_training_ends_the_same(train, tmp_path, monkeypatch):
    whole = train(RANKS, folder=tmp_path / "whole", **EVERYTHING)
    log = callbacks.EpochLog.on_epoch_end

    def stopping(self, epoch, logs=None):
        if epoch == 1:
            raise Stop
        log(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.EpochLog, "on_epoch_end", stopping)
        with pytest.raises(Stop):
            train(RANKS, folder=tmp_path / "parts", **EVERYTHING)
    parts = train(RANKS, folder=tmp_path / "parts", resume=True, **EVERYTHING)
    for one, other in zip(whole.model.weights, parts.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), one.path)
    assert whole.rows == parts.rows


def test_what_is_kept_and_validated_are_the_averages(train, loaders):
    done = train(("species",), ema_momentum=0.8, keep_best=False, epochs=1)
    pairs = zip(
        done.model.trainable_weights,
        done.model.optimizer._model_variables_moving_average,
        strict=True,
    )
    for weight, average in pairs:
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(average))
    _, val = loaders
    logits = done.model.predict_on_batch(val.images)
    right = np.mean(logits.argmax(1) == val.labels["species"])
    assert done.rows[-1]["val_accuracy"] == pytest.approx(right)
