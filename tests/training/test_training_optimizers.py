"""Learning rates by hand, and names that do not exist."""

import math

import keras
import pytest
from ml_collections import ConfigDict

from configs import default
from hiercam_keras.errors import UserError
from hiercam_keras.training import optimizers
from hiercam_keras.training.optimizers import make_optimizer, make_schedule


def options(**fields) -> ConfigDict:
    train = default.get_config().train
    train.update({"learning_rate": 0.4, "epochs": 4, **fields})
    return train


def rates(train, steps_per_epoch, count):
    schedule = make_schedule(train, steps_per_epoch)
    return [float(schedule(step)) for step in range(count)]


def test_constant_is_a_number():
    assert make_schedule(options(), 10) == 0.4


def test_cosine_goes_from_the_peak_to_zero():
    found = rates(options(schedule="cosine"), 2, 9)
    expected = [0.4 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    assert found == pytest.approx(expected, abs=1e-7)
    assert found[4] == pytest.approx(0.2) and found[8] == pytest.approx(0)


def test_another_schedule_is_logged_with_both_rates(monkeypatch):
    """After 2 of 2 epochs the cosine is at 0; of 4 epochs it is at its half."""
    found = []
    for level in ("info", "warning"):
        monkeypatch.setattr(
            optimizers.logging, level, lambda text, *more: found.append(text % more)
        )
    optimizers.log_other_schedule(options(schedule="cosine"), 2, 10, 20)
    optimizers.log_other_schedule(options(), 2, 10, 20)
    optimizers.log_other_schedule(options(schedule="cosine"), 4, 10, 20)
    assert len(found) == 2
    words = (
        "that of 4 epochs: the next learning rate is 0.2, where that of 2 epochs has"
    )
    assert words in found[0] and "has 0. The result" in found[0]
    assert "constant" in found[1]


def test_warm_up_is_linear_and_part_of_the_epochs():
    # 4 epochs of 3 steps: 6 steps up, 6 steps down.
    found = rates(options(schedule="cosine", warmup_epochs=2.0), 3, 13)
    assert found[:7] == pytest.approx([0.4 * step / 6 for step in range(7)], abs=1e-7)
    down = [0.4 * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(7)]
    assert found[6:] == pytest.approx(down, abs=1e-7)


def test_constant_after_a_warm_up():
    found = rates(options(warmup_epochs=0.5), 4, 16)
    assert found[:3] == pytest.approx([0.0, 0.2, 0.4])
    assert found[3:] == pytest.approx([0.4] * 13)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schedule": "cosin"}, "schedule is 'cosin', expected one of constant, cos"),
        ({"schedule": "linear", "warmup_epochs": 1.0}, "'linear'"),
        ({"schedule": "cosine", "warmup_epochs": 4.0}, "leaves nothing of"),
        ({"optimizer": "adan"}, "'adan', expected adam, adamw or sgd"),
    ],
)
def test_wrong_values_are_named(fields, words):
    with pytest.raises(UserError, match=words):
        make_optimizer(options(**fields), 10)


@pytest.mark.parametrize(
    ("name", "kind", "decay"),
    [
        ("adam", keras.optimizers.Adam, None),
        ("adamw", keras.optimizers.AdamW, 0.05),
        ("sgd", keras.optimizers.SGD, 0.05),
    ],
)
def test_optimizers_are_those_of_keras(name, kind, decay):
    made = make_optimizer(options(optimizer=name, weight_decay=0.05), 10)
    assert type(made) is kind
    assert made.weight_decay == decay
    assert float(made.learning_rate) == pytest.approx(0.4)
