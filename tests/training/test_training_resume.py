"""A training that is stopped at any step and resumed gives the same bits."""

import errno
import json
import shutil
import signal
import threading

import numpy as np
import pytest
from interrupted import Killed, kill, same, stop_before

from hiercam_keras import signals
from hiercam_keras.errors import Stopped, UserError
from hiercam_keras.training import callbacks, fit
from hiercam_keras.training.checkpoint import Checkpoints
from hiercam_keras.training.saving import LossWatch, Saving

NUM_BATCHES = 4  # of an epoch, of the fixture `loaders`


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
    assert str(e.value).startswith(signals.NAMES[number])
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


def test_a_second_sigterm_does_not_break_the_save(train, tmp_path, monkeypatch):
    """Schedulers send it more than once; here while the last checkpoint is written."""
    expected = train(folder=tmp_path / "whole", epochs=2)
    save, received = Checkpoints.save, []

    def act(saving):
        received.append(saving.signals)
        signal.raise_signal(signal.SIGTERM)

    def twice(self, *args):
        if received:
            assert received[0].received == signal.SIGTERM
            signal.raise_signal(signal.SIGTERM)
        return save(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Saving, "on_train_batch_begin", stop_before(6, act))
        patch.setattr(Checkpoints, "save", twice)
        with pytest.raises(Stopped, match="stopped at step 2 of epoch 2") as error:
            train(folder=tmp_path / "parts", epochs=2)
    assert error.value.status == 75
    same(train(folder=tmp_path / "parts", resume=True, epochs=2), expected)


@pytest.mark.parametrize("name", ["latest", "load_best"])
def test_a_signal_before_or_after_the_steps_waits_its_turn(
    train, tmp_path, monkeypatch, name
):
    """While a checkpoint is read: it is no damage, and the run can go on."""
    expected = train(folder=tmp_path / "whole", epochs=2)
    read = getattr(Checkpoints, name)

    def signalled(self, *args):
        signal.raise_signal(signal.SIGTERM)
        return read(self, *args)

    parts = tmp_path / "parts"
    train(folder=parts, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, name, signalled)
        where = "step 0 of epoch 2" if name == "latest" else "step 0 of epoch 3"
        with pytest.raises(Stopped, match=f"stopped at {where}") as error:
            train(folder=parts, resume=True, epochs=2)
    assert error.value.status == 75
    assert not list((parts / "checkpoints").glob("*damaged*"))
    same(train(folder=parts, resume=True, epochs=2), expected)


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
    messages = []
    monkeypatch.setattr(
        "hiercam_keras.training.checkpoint.logging.warning",
        lambda text, *values: messages.append(text % values),
    )
    same(train(folder=parts, resume=True, **fields), expected)
    assert len(messages) == 1 and f"{last} is damaged" in messages[0]
    assert (folder / f"{last.name}.damaged").is_dir()


def test_a_number_that_was_set_aside_before_is_set_aside_again(train, tmp_path):
    train(folder=tmp_path / "run", epochs=2)
    folder = tmp_path / "run" / "checkpoints"
    for name in ("2.damaged", "2.damaged-2"):
        shutil.copytree(folder / "1", folder / name)
    (folder / "2" / "meta" / "metadata").write_text("{")
    assert Checkpoints(folder).latest().path.name == "1"
    assert (folder / "2.damaged-3" / "meta" / "metadata").read_text() == "{"
    assert Checkpoints(folder).numbers() == [1]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied"),
        ValueError('UNAVAILABLE: Error opening "zarr" driver'),
        MemoryError(),
    ],
)
def test_what_is_only_out_of_reach_is_left_alone(train, tmp_path, monkeypatch, error):
    train(folder=tmp_path / "run", epochs=1)
    state = Checkpoints(tmp_path / "run" / "checkpoints")

    def fail(*args, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(state._manager, "restore", fail)
        with pytest.raises(UserError, match=r"cannot read the checkpoint .*/1 now"):
            state.latest()
    assert state.latest().meta["epoch"] == 1


def test_one_process_alone_renames_what_is_damaged(train, tmp_path, monkeypatch):
    """The others wait for it, and then see what it did."""
    train(folder=tmp_path / "run", epochs=2)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "2" / "meta" / "metadata").write_text("")
    waited = []
    monkeypatch.setattr("hiercam_keras.multihost.is_primary", lambda: False)
    monkeypatch.setattr("hiercam_keras.multihost.barrier", waited.append)
    assert Checkpoints(folder).latest().path.name == "1"
    assert (folder / "2").is_dir() and waited == ["set aside 2"]


def test_what_another_process_cannot_read_is_damaged_for_all(
    train, tmp_path, monkeypatch
):
    train(folder=tmp_path / "run", epochs=2)
    state = Checkpoints(tmp_path / "run" / "checkpoints")
    answers = iter([False, True])
    monkeypatch.setattr(
        "hiercam_keras.multihost.all_of", lambda mine: mine and next(answers)
    )
    assert state.latest().path.name == "1"


def test_another_batch_size_is_refused(train, loaders, tmp_path, monkeypatch):
    """Steps of a checkpoint count batches of the first call."""
    stop = stop_before(2, lambda saving: signal.raise_signal(signal.SIGTERM))
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "on_train_batch_begin", stop)
        with pytest.raises(Stopped):
            train(folder=tmp_path / "run", epochs=1)
    loaders[0].num_batches = 1
    with pytest.raises(UserError, match="counts 4 steps an epoch, and this .* 1: "):
        train(folder=tmp_path / "run", epochs=1, resume=True)


@pytest.mark.parametrize("steps", [8, 5])
def test_more_epochs_end_as_one_training(train, tmp_path, monkeypatch, steps):
    """Under a constant rate; after the last epoch, and stopped in the middle of one."""
    if steps < 2 * NUM_BATCHES:
        monkeypatch.setattr(Saving, "on_train_batch_begin", stop_before(steps, kill))
        with pytest.raises(Killed):
            train(epochs=2, checkpoint_steps=1, folder=tmp_path / "run")
    else:
        train(epochs=2, folder=tmp_path / "run")
    more = train(epochs=3, resume=True, folder=tmp_path / "run")
    same(more, train(epochs=3, folder=tmp_path / "whole"))


def test_when_all_are_damaged_it_says_so(train, tmp_path):
    train(folder=tmp_path / "run", epochs=1)
    for path in (tmp_path / "run" / "checkpoints").rglob("metadata"):
        path.write_text("")
    with pytest.raises(
        UserError, match=r"every checkpoint in .* is damaged.*overwrite"
    ):
        train(folder=tmp_path / "run", epochs=2, resume=True)


@pytest.mark.parametrize("bad_step", [0, 1])
def test_a_loss_that_is_no_number_stops_at_its_step(
    train, loaders, tmp_path, monkeypatch, bad_step
):
    """The fifth or sixth batch is bad: what was saved before it stays the last."""
    real = fit._training_batches

    def broken(loader, counts, epoch, options, first=0):
        for step, (images, labels) in enumerate(
            real(loader, counts, epoch, options, first), first
        ):
            bad = epoch == 1 and step == bad_step
            yield (np.full(images.shape, np.nan, np.float32) if bad else images, labels)

    monkeypatch.setattr(fit, "_training_batches", broken)
    words = rf"nan .*at step {bad_step + 1} of epoch 2.*learning_rate"
    with pytest.raises(UserError, match=words):
        train(folder=tmp_path / "run", epochs=2, checkpoint_steps=1)
    saved = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert (saved.meta["epoch"], saved.meta["step"]) == (1, bad_step)
    for group in saved.arrays.values():
        assert all(np.isfinite(value).all() for value in group.values())
    json.dumps(saved.meta, allow_nan=False)


def test_the_first_bad_step_is_noted_whatever_the_order():
    """Keras calls the ends of batches in several threads; step 0 counts too."""
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        watch = LossWatch()
        for batch in order:
            watch.on_train_batch_end(batch, {"loss": float("nan")})
        assert watch.first_bad == 0
