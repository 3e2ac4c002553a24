"""Our own start: the loss over many trees, and training on a stream."""

import signal

import keras
import numpy as np
import pytest

from hiercam_keras.errors import Stopped, UserError
from hiercam_keras.training import pretrain
from hiercam_keras.training.checkpoint import Checkpoints

# Children at each of the four ranks of three trees; the most is 4.
NUM_VALUES = np.array([[2, 3, 4, 2], [3, 2, 2, 4], [2, 2, 3, 3]])


@pytest.fixture
def batch():
    """Logits (20, 48), trees and labels with every tree in it."""
    rng = np.random.default_rng(5)
    tree = rng.integers(0, 3, 20)
    labels = rng.integers(0, NUM_VALUES[tree])
    logits = rng.normal(0, 2, (20, pretrain.head_size(NUM_VALUES)))
    return logits.astype(np.float32), tree, labels


def own_logits(logits, tree, rank):
    """Logits of the children that the tree has at a rank: indices by hand."""
    start = tree * 4 * 4 + rank * 4
    return logits[start : start + NUM_VALUES[tree, rank]].astype(np.float64)


def by_loop(logits, tree, labels):
    """Losses (B,) and hits (B, 4)."""
    losses, hits = [], []
    for row, one, wanted in zip(logits, tree, labels, strict=True):
        each = [own_logits(row, one, rank) for rank in range(4)]
        losses.append(
            np.mean(
                [
                    np.log(np.exp(values).sum()) - values[label]
                    for values, label in zip(each, wanted, strict=True)
                ]
            )
        )
        hits.append([values.argmax() for values in each] == wanted)
    return np.array(losses), np.array(hits)


def truth(tree, labels):
    return np.concatenate([tree[:, None], labels], 1).astype(np.int32)


def test_head_size_counts_trees_ranks_and_children():
    assert pretrain.head_size(NUM_VALUES) == 3 * 4 * 4


def test_loss_and_accuracy_equal_a_loop(batch):
    logits, tree, labels = batch
    losses, hits = by_loop(*batch)
    loss = pretrain.TreeLoss(NUM_VALUES)
    found = np.asarray(loss.call(truth(tree, labels), logits))
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    mean = float(loss(truth(tree, labels), logits))
    assert mean == pytest.approx(losses.mean(), rel=1e-5)
    accuracy = pretrain.TreeAccuracy(NUM_VALUES)
    for half in (slice(0, 8), slice(8, 20)):
        accuracy.update_state(truth(tree[half], labels[half]), logits[half])
    # The mean over calls weights all images equally, for any batches.
    assert float(accuracy.result()) == pytest.approx(hits.mean(), rel=1e-5)


def test_only_the_own_tree_counts(batch):
    logits, tree, labels = batch
    changed = logits.copy()
    for row, one in zip(changed, tree, strict=True):
        grouped = row.reshape(3, 4, 4)
        grouped[np.arange(3) != one] = 50.0
        for rank in range(4):
            grouped[one, rank, NUM_VALUES[one, rank] :] = 50.0
    loss = pretrain.TreeLoss(NUM_VALUES)
    one, other = (loss(truth(tree, labels), z) for z in (logits, changed))
    assert float(one) == pytest.approx(float(other), rel=1e-6)


@pytest.mark.parametrize("cls", [pretrain.TreeLoss, pretrain.TreeAccuracy])
def test_configs_come_back(cls, batch):
    logits, tree, labels = batch
    made = cls(NUM_VALUES, name="mine")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(made)
    )
    assert type(again) is cls and again.name == "mine"
    np.testing.assert_array_equal(again.num_values, NUM_VALUES)
    values = [float(one(truth(tree, labels), logits)) for one in (made, again)]
    assert values[0] == values[1]


def stream_model():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="conv")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(pretrain.head_size(NUM_VALUES), name="logits_traits")(x)
    model = keras.Model(image, x)
    pretrain.compile_model(model, NUM_VALUES, 0.01, 60)
    return model


def stream(first_step=0):
    """Endless batches; each rank's child is the brightness of a quarter."""
    step = first_step
    while True:
        rng = np.random.default_rng(step)
        tree = rng.integers(0, 3, 12)
        labels = rng.integers(0, NUM_VALUES[tree])
        images = rng.integers(0, 20, (12, 8, 8, 3))
        for rank in range(4):
            rows, columns = divmod(rank, 2)
            quarter = images[:, 4 * rows : 4 * rows + 4, 4 * columns : 4 * columns + 4]
            quarter += 60 * labels[:, rank][:, None, None, None]
        yield images.astype(np.uint8), tree, labels
        step += 1


def test_fit_stream_learns_and_tells(tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    model = stream_model()
    state = Checkpoints(tmp_path)
    rows = pretrain.fit_stream(model, stream(), 0, 60, state, 60, report_every=20)
    assert [row["step"] for row in rows] == [20, 40, 60]
    last = "step {step}: loss {loss:.4f}, accuracy {accuracy:.4f}".format(**rows[-1])
    assert last in caplog.messages
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[-1]["accuracy"] > rows[0]["accuracy"]
    assert state.latest().meta == {"step": 60}
    new = [batch for batch, _ in zip(stream(10**6), range(4), strict=False)]
    measured = pretrain.measure(model, new, NUM_VALUES)
    assert measured.shape == (4,)
    assert measured.mean() > (1 / NUM_VALUES).mean() + 0.1


def test_the_state_is_whole(tmp_path):
    """Weights, and the optimizer's moments and step: training continues unchanged."""
    model = stream_model()
    state = Checkpoints(tmp_path)
    pretrain.fit_stream(model, stream(), 0, 6, state, 60)
    again = stream_model()
    saved = state.latest()
    saved.assign(again)
    assert saved.meta["step"] == 6
    assert int(again.optimizer.iterations) == 6
    for mine, other in (
        (model.variables, again.variables),
        (model.optimizer.variables, again.optimizer.variables),
    ):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    images, tree, labels = next(stream(99))
    for one in (model, again):
        one.train_on_batch(images, truth(tree, labels))
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_state_is_kept_on_the_way(tmp_path, monkeypatch):
    """Every checkpoint holds its step."""
    steps = []
    real = Checkpoints.save

    def save(self, model, meta, best=False):
        steps.append((meta["step"], int(model.optimizer.iterations)))
        return real(self, model, meta, best)

    monkeypatch.setattr(Checkpoints, "save", save)
    model = stream_model()
    pretrain.fit_stream(model, stream(), 0, 5, Checkpoints(tmp_path), 0, report_every=3)
    assert steps == [(step, step) for step in (1, 2, 3, 4, 5)]


def test_a_signal_saves_and_goes_on_to_the_same_weights(tmp_path):
    whole = stream_model()
    pretrain.fit_stream(whole, stream(), 0, 6, Checkpoints(tmp_path / "whole"), 60)

    def signalled():
        for step, batch in enumerate(stream()):
            if step == 3:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    state = Checkpoints(tmp_path / "parts")
    with pytest.raises(Stopped, match="stopped at step .*--resume") as error:
        pretrain.fit_stream(stream_model(), signalled(), 0, 6, state, 60)
    assert error.value.status == 75
    saved, again = Checkpoints(tmp_path / "parts").latest(), stream_model()
    done = saved.meta["step"]
    assert 0 < done < 6
    saved.assign(again)
    pretrain.fit_stream(again, stream(done), done, 6, state, 60)
    for one, two in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_state_of_another_model_is_refused(tmp_path, make_model):
    other, counts = make_model()
    other.compile("adam", "mse")
    other.train_on_batch(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)))
    state = Checkpoints(tmp_path)
    state.save(other, {"step": 1})
    state.wait()
    with pytest.raises(UserError, match=r"/1 holds another model"):
        state.latest().assign(stream_model())
