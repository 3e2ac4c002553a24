"""Stopped at any step and gone on with: the same bits as never stopped."""

import json
import shutil
import signal
import threading

import numpy as np
import pytest

from hiercam_keras.errors import Stopped, UserError
from hiercam_keras.training import callbacks, fit
from hiercam_keras.training.checkpoint import Checkpoints
from hiercam_keras.training.saving import Saving

NUM_BATCHES = 4  # of an epoch, of the fixture `loaders`


class Killed(Exception):
    """Ends a training where a SIGKILL would."""


def same(one, other):
    """The same weights, seeds and optimizer state to the bit, and the same log."""
    for name in ("trainable_variables", "non_trainable_variables"):
        pairs = zip(getattr(one.model, name), getattr(other.model, name), strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), a.path)
    pairs = zip(
        one.model.optimizer.variables, other.model.optimizer.variables, strict=True
    )
    for a, b in pairs:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), a.path)
    assert one.rows == other.rows
    logs = [(done.folder / "log.csv").read_bytes() for done in (one, other)]
    assert logs[0] == logs[1]


def stop_before(step, act):
    """A patch of Saving that calls `act` before the step of this number, once."""
    begin, left = Saving.on_train_batch_begin, [step]

    def on_train_batch_begin(self, batch, logs=None):
        if self.epoch * self.num_batches + self._first + batch == left[0]:
            left[0] = None
            act(self)
        begin(self, batch, logs)

    return on_train_batch_begin


def kill(saving):
    saving.checkpoints.wait()  # what is half written is the business of other tests
    raise Killed


@pytest.fixture(scope="module")
def whole():
    """An undisturbed training by ranks, made when it is first asked for."""
    return {}


@pytest.mark.parametrize(
    ("ranks", "stops"),
    [
        (("family",), (1, 6, 7)),
        (("family", "species"), (4, 11)),
        (("family",), (3, 5, 8, 9, 10)),
    ],
)
def test_killed_at_any_step_it_ends_the_same(
    train, tmp_path, monkeypatch, whole, ranks, stops
):
    fields = {"keep_best": False, "checkpoint_steps": 1}
    if ranks not in whole:
        plain = {"keep_best": False, "checkpoint_minutes": 1e9}
        whole[ranks] = train(ranks, folder=tmp_path / "whole", **plain)
    parts = tmp_path / "parts"
    for number, stop in enumerate(stops):
        with monkeypatch.context() as patch:
            patch.setattr(Saving, "on_train_batch_begin", stop_before(stop, kill))
            with pytest.raises(Killed):
                train(ranks, folder=parts, resume=number > 0, **fields)
    same(train(ranks, folder=parts, resume=True, **fields), whole[ranks])


@pytest.mark.parametrize("every", [3, 0])
def test_steps_after_the_last_checkpoint_are_done_again(
    train, tmp_path, monkeypatch, every
):
    """With a checkpoint every 3 steps, or one an epoch, killed before step 6."""
    fields = {"keep_best": False, "checkpoint_steps": every}
    expected = train(folder=tmp_path / "whole", **fields)
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "on_train_batch_begin", stop_before(6, kill))
        with pytest.raises(Killed):
            train(folder=tmp_path / "parts", **fields)
    found = Checkpoints(tmp_path / "parts" / "checkpoints").latest()
    assert (found.meta["epoch"], found.meta["step"]) == (1, 0)
    same(train(folder=tmp_path / "parts", resume=True, **fields), expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_tells(train, tmp_path, monkeypatch, number):
    expected = train(folder=tmp_path / "whole", epochs=2)
    before = signal.getsignal(number)
    stop = stop_before(6, lambda saving: signal.raise_signal(number))
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "on_train_batch_begin", stop)
        with pytest.raises(
            Stopped, match=r"stopped at step 2 of epoch 2.*--resume"
        ) as e:
            train(folder=tmp_path / "parts", epochs=2)
    assert e.value.status == {signal.SIGTERM: 75, signal.SIGINT: 130}[number]
    assert str(e.value).startswith(number.name)
    assert signal.getsignal(number) is before
    same(train(folder=tmp_path / "parts", resume=True, epochs=2), expected)


def test_a_signal_during_validation_keeps_the_epoch(train, tmp_path, monkeypatch):
    expected = train(folder=tmp_path / "whole", epochs=2)
    validate = callbacks.Validation.on_epoch_end

    def interrupted(self, epoch, logs=None):
        if epoch == 1:
            signal.raise_signal(signal.SIGTERM)
        validate(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Validation, "on_epoch_end", interrupted)
        with pytest.raises(Stopped, match="stopped at step 4 of epoch 2"):
            train(folder=tmp_path / "parts", epochs=2)

    def never(*args):
        raise AssertionError("no step is left")

    monkeypatch.setattr(fit, "_training_batches", never)
    same(train(folder=tmp_path / "parts", resume=True, epochs=2), expected)


def test_a_second_interrupt_does_not_wait(train, monkeypatch):
    def twice(saving):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Saving, "on_train_batch_begin", stop_before(1, twice))
    with pytest.raises(KeyboardInterrupt):
        train(epochs=1)


def test_in_another_thread_signals_are_left_alone(train):
    """As in a notebook's or a server's worker."""
    found = []
    thread = threading.Thread(target=lambda: found.append(train(epochs=1).rows))
    thread.start()
    thread.join(120)
    assert len(found[0]) == 1


def test_the_last_ones_and_the_best_are_kept(train, tmp_path, monkeypatch):
    """Val losses 3, 1, 2, 4: the second epoch stays although two are kept."""

    def validate(self, epoch, logs=None):
        logs["val_loss"] = [3.0, 1.0, 2.0, 4.0][epoch]

    monkeypatch.setattr(callbacks.Validation, "on_epoch_end", validate)
    fields = {"checkpoint_keep": 2, "checkpoint_steps": 2}
    done = train(epochs=4, folder=tmp_path / "run", **fields)
    state = Checkpoints(tmp_path / "run" / "checkpoints", 2)
    latest = state.latest()
    assert state.numbers() == [4, 7, 8] and latest.meta["epoch"] == 4
    assert state.load_best(done.model)["epoch"] == 2
    again = train(epochs=4, folder=tmp_path / "run", resume=True, **fields)
    same(again, done)


@pytest.mark.parametrize("damage", ["cut", "bit", "no meta", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    train, tmp_path, monkeypatch, damage
):
    fields = {"keep_best": False, "checkpoint_steps": 1, "epochs": 2}
    expected = train(folder=tmp_path / "whole", **fields)
    parts = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "on_train_batch_begin", stop_before(7, kill))
        with pytest.raises(Killed):
            train(folder=parts, **fields)
    folder = parts / "checkpoints"
    last = max((one for one in folder.iterdir()), key=lambda one: int(one.name))
    if damage == "no meta":
        shutil.rmtree(last / "meta")
    else:
        for path in [one for one in (last / "state").rglob("*") if one.is_file()]:
            content = bytearray(path.read_bytes())
            if damage == "bit" and len(content) > 20:
                content[len(content) // 2] ^= 16
            elif damage != "bit":
                content = content[: len(content) // 2 if damage == "cut" else 0]
            path.write_bytes(content)
    told = []
    monkeypatch.setattr(
        "hiercam_keras.training.checkpoint.logging.warning",
        lambda text, *values: told.append(text % values),
    )
    same(train(folder=parts, resume=True, **fields), expected)
    assert len(told) == 1 and f"{last} is damaged" in told[0]
    assert (folder / f"{last.name}.damaged").is_dir()


def test_when_all_are_damaged_it_says_so(train, tmp_path):
    train(folder=tmp_path / "run", epochs=1)
    for path in (tmp_path / "run" / "checkpoints").rglob("metadata"):
        path.write_text("")
    with pytest.raises(
        UserError, match=r"every checkpoint in .* is damaged.*overwrite"
    ):
        train(folder=tmp_path / "run", epochs=2, resume=True)


def test_a_loss_that_is_no_number_stops_at_its_step(
    train, loaders, tmp_path, monkeypatch
):
    """The sixth batch is bad: what was saved before it stays the last."""
    real = fit._training_batches

    def broken(loader, counts, epoch, options, first=0):
        for step, (images, labels) in enumerate(
            real(loader, counts, epoch, options, first), first
        ):
            bad = epoch == 1 and step == 1
            yield (np.full(images.shape, np.nan, np.float32) if bad else images, labels)

    monkeypatch.setattr(fit, "_training_batches", broken)
    with pytest.raises(UserError, match=r"nan .*at step 2 of epoch 2.*learning_rate"):
        train(folder=tmp_path / "run", epochs=2, checkpoint_steps=1)
    saved = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert (saved.meta["epoch"], saved.meta["step"]) == (1, 1)
    for group in saved.arrays.values():
        assert all(np.isfinite(value).all() for value in group.values())
    json.dumps(saved.meta, allow_nan=False)
