"""Plans of batches: resuming, sharing among processes, shuffling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.data import batch_plan, loader, resize_windows, sources
from hiercam_keras.errors import UserError


def planner(count, batch_size, training=False, shard=(0, 1), seed=3):
    extent = np.tile(np.int32([[9, 12]]), (count, 1))
    where = resize_windows.Windows(extent, extent, np.zeros_like(extent), extent, 8)
    config = {"horizontal_flip": True, "erasing_probability": 0.5}
    config["erasing_area"] = (0.02, 0.3)
    part = batch_plan.Shard(*shard)
    return batch_plan.Planner(where, config, batch_size, seed, training, part)


def join(rows):
    return np.concatenate(rows)


def assert_same(a, b):
    for x, y in zip([*a[:3], *a.drawn], [*b[:3], *b.drawn], strict=True):
        np.testing.assert_array_equal(x, y)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 80), st.integers(1, 6), st.integers(1, 5), st.booleans(), st.data()
)
def test_processes_read_the_rows_of_the_same_batches(count, part, number, train, data):
    batch_size = part * number
    whole = planner(count, batch_size, train)
    parts = [planner(count, batch_size, train, (k, number)) for k in range(number)]
    assert {p.num_batches for p in parts} == {whole.num_batches}
    assert {p.num_rows for p in parts} == {part}
    epoch = data.draw(st.integers(0, 3))
    batches = list(whole.epoch(epoch))
    assert len(batches) == whole.num_batches
    for batch, *shares in zip(batches, *(p.epoch(epoch) for p in parts), strict=True):
        joined = [join([s[field] for s in shares]) for field in range(3)]
        drawn = [join([s.drawn[k] for s in shares]) for k in range(len(batch.drawn))]
        assert_same(batch, batch_plan.Plan(*joined, batch.drawn._make(drawn)))
    real = [i for b in batches for i in b.indices[b.mask]]
    # Nothing twice; nothing lost but, in training, the incomplete batch of all.
    assert len(set(real)) == len(real)
    assert len(real) == (count // batch_size * batch_size if train else count)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 7), st.booleans(), st.data())
def test_an_epoch_is_entered_at_any_step(count, batch_size, train, data):
    found = planner(count, batch_size, train)
    batches = list(found.epoch(2))
    step = data.draw(st.integers(0, found.num_batches))
    rest = list(planner(count, batch_size, train).epoch(2, step))
    assert len(rest) == len(batches) - step
    for a, b in zip(batches[step:], rest, strict=True):
        assert_same(a, b)


def test_steps_that_are_left_out_cost_nothing(monkeypatch):
    found = planner(10_000, 10, training=True)
    drawn = []
    draw = batch_plan.augment.draw
    monkeypatch.setattr(
        batch_plan.augment, "draw", lambda *a: drawn.append(a[2]) or draw(*a)
    )
    assert len(list(found.epoch(1, 998))) == 2
    assert len(drawn) == 2


def test_wrong_shards():
    with pytest.raises(UserError, match=r"3 processes cannot share.*batch_size=9\."):
        planner(20, 10, shard=(0, 3))
    for index, count in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="process"):
            planner(20, 10, shard=(index, count))


@pytest.mark.parametrize("pipeline", ["arrays", "tfdata"])
@pytest.mark.parametrize("training", [True, False])
def test_batches_of_processes_and_of_a_resumed_epoch(
    pipeline, training, data_config, bird_folder
):
    if pipeline == "tfdata":
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    data_config.pipeline, data_config.batch_size = pipeline, 8
    records = sources.load(data_config, str(bird_folder)).records
    labels = {"species": np.arange(12)}
    augment = {"horizontal_flip": True, "crop_jitter": 1.0, "brightness": 0.2}

    def make(shard=(0, 1)):
        return loader.make_loader(
            records, labels, data_config, augment, training=training, shard=shard
        )

    with make() as whole, make((0, 2)) as first, make((1, 2)) as second:
        batches = list(whole.epoch(1))
        assert (first.num_rows, first.batch_size) == (4, 8)
        for batch, *halves in zip(
            batches, first.epoch(1), second.epoch(1), strict=True
        ):
            for field in ("images", "mask", "geometry"):
                joined = join([getattr(half, field) for half in halves])
                np.testing.assert_array_equal(getattr(batch, field), joined)
            assert batch.example_ids == halves[0].example_ids + halves[1].example_ids
            joined = join([half.labels["species"] for half in halves])
            np.testing.assert_array_equal(batch.labels["species"], joined)
    with make() as resumed:
        last = whole.num_batches - 1
        (found,) = resumed.epoch(1, last)
        np.testing.assert_array_equal(found.images, batches[last].images)
        assert found.example_ids == batches[last].example_ids
        assert list(resumed.epoch(1, whole.num_batches)) == []
        for step in (-1, whole.num_batches + 1):
            with pytest.raises(ValueError, match="start_step"):
                resumed.epoch(1, step)
