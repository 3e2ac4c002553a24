import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import geometry, loader, sources
from hiercam_keras.errors import UserError

AUGMENT = ConfigDict(
    {
        "horizontal_flip": True,
        "vertical_flip": False,
        "crop_jitter": 1.0,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.05,
        "erasing_probability": 0.5,
        "erasing_area": (0.02, 0.2),
    }
)
PIPELINES = ["arrays", "tfdata"]


@pytest.fixture(params=PIPELINES)
def pipeline(request, data_config):
    if request.param == "tfdata":
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    data_config.pipeline = request.param
    return request.param


@pytest.fixture
def records(data_config, bird_folder):
    return list(sources.load(data_config, str(bird_folder)).records)


@pytest.fixture
def messages(monkeypatch):
    """Warnings of the log."""
    lines = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *fields: lines.append(text % fields)
    )
    return lines


def make(records, config, augment=None, **options):
    labels = {
        "species": np.arange(len(records), dtype=np.int32) // 4,
        "order": np.arange(len(records), dtype=np.int32) // 8,
    }
    return loader.make_loader(records, labels, config, augment, **options)


def assert_same(a, b, levels=0):
    assert a.example_ids == b.example_ids
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_array_equal(a.geometry, b.geometry)
    for rank in a.labels:
        np.testing.assert_array_equal(a.labels[rank], b.labels[rank])
    assert np.abs(a.images.astype(int) - b.images).max() <= levels


def test_eval_batches_are_in_order_padded_and_masked(pipeline, records, data_config):
    with make(records, data_config) as found:
        assert (found.num_batches, found.num_examples) == (3, 12)
        batches = list(found.epoch(0))
    assert len(batches) == 3
    ids = [
        name
        for batch in batches
        for name, real in zip(batch.example_ids, batch.mask, strict=True)
        if real
    ]
    assert ids == [record.example_id for record in records]
    np.testing.assert_array_equal(batches[2].mask, [True, True, False, False, False])
    assert batches[2].example_ids[2:] == [records[11].example_id] * 3
    for batch in batches:
        assert batch.images.shape == (5, 32, 32, 3) and batch.images.dtype == np.uint8
        assert batch.geometry.shape == (5, 7) and batch.geometry.dtype == np.float32
        assert batch.labels["order"].dtype == np.int32
    np.testing.assert_array_equal(batches[1].labels["species"], [1, 1, 1, 2, 2])
    g = geometry.Geometry.from_row(batches[0].geometry[1])
    assert (g.width, g.height) == (records[1].width, records[1].height)


def test_training_epochs(pipeline, records, data_config):
    data_config.cache_mb = 0
    with make(records, data_config, AUGMENT, training=True, seed=1) as found:
        assert found.num_batches == 2
        epochs = [list(found.epoch(k)) for k in (0, 1, 0)]
    ids = [[name for b in batches for name in b.example_ids] for batches in epochs]
    assert len(set(ids[0])) == 10 and ids[0] != ids[1] and ids[0] == ids[2]
    # The same epoch again, after others: the same batches to the bit.
    for a, b in zip(epochs[0], epochs[2], strict=True):
        assert_same(a, b)
    # Labels follow their examples.
    where = {record.example_id: i // 4 for i, record in enumerate(records)}
    for batch in epochs[1]:
        assert list(batch.labels["species"]) == [where[n] for n in batch.example_ids]
    # From memory they differ by a level here and there, which colors stretch.
    data_config.cache_mb = 16
    with make(records, data_config, AUGMENT, training=True, seed=1) as cached:
        numbers = (0, 1, 0)
        found = [list(cached.epoch(number)) for number in numbers]
    for number, batches in zip(numbers, found, strict=True):
        for a, b in zip(epochs[number], batches, strict=True):
            assert_same(a, b, levels=2)
            assert np.mean(a.images != b.images) < 0.01
    # Before an epoch is in memory and after it they are the same to the bit: whoever
    # resumes a run finds its batches.
    for a, b in zip(found[0], found[2], strict=True):
        assert_same(a, b)
    with make(records, data_config, AUGMENT, training=True, seed=1) as again:
        for a, b in zip(found[1], again.epoch(1), strict=True):
            assert_same(a, b)


@pytest.mark.parametrize("layout", geometry.LAYOUTS)
def test_both_pipelines_give_the_same_batches(
    records, data_config, layout, bird_folder
):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    # A PNG and a very wide file that is read from a smaller copy.
    folder = bird_folder / records[0].example_id.split("/")[0]
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (45, 70, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    wide = np.kron(noise[:10, :50], np.ones((10, 110, 1), np.uint8))
    Image.fromarray(wide).save(folder / "wide.jpg")
    records = list(sources.load(data_config, str(bird_folder)).records)
    assert len(records) == 14
    batches = {}
    for name in PIPELINES:
        data_config.pipeline = name
        with make(records, data_config, AUGMENT, layout=layout, training=True) as found:
            batches[name] = [b for k in range(3) for b in found.epoch(k)]
    for a, b in zip(*batches.values(), strict=True):
        # Pillow rounds between its two passes; colors stretch the difference.
        assert_same(a, b, levels=4)
        assert np.abs(a.images.astype(float) - b.images).mean() < 0.5


def test_center_crop_is_the_middle_of_the_picture(pipeline, tmp_path, data_config):
    # A 70 x 37 picture stays as it is at size 32, as 37 is round(32*256/224), so the
    # crop is made of untouched pixels: from (37-32)//2=2 down and (70-32)//2=19 right.
    folder = tmp_path / "x" / "00001_a_b_c_d_e_F_g"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (37, 70, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    records = list(sources.load(data_config, str(tmp_path / "x")).records)
    data_config.batch_size = 1
    with make(records, data_config) as found:
        (batch,) = found.epoch(0)
    np.testing.assert_array_equal(batch.images[0], pixels[2:34, 19:51])
    g = geometry.Geometry.from_row(batch.geometry[0])
    np.testing.assert_allclose(g.to_original([[0, 0], [32, 32]]), [[19, 2], [51, 34]])


def test_geometry_of_augmented_images_finds_the_place(pipeline, tmp_path, data_config):
    """A bright square is inside its box in every crop."""
    folder = tmp_path / "x" / "00001_a_b_c_d_e_F_g"
    folder.mkdir(parents=True)
    for i in range(6):
        pixels = np.zeros((120, 160, 3), np.uint8)
        pixels[50 + 4 * i : 66 + 4 * i, 60 - 3 * i : 76 - 3 * i] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
    records = list(sources.load(data_config, str(tmp_path / "x")).records)
    config = ConfigDict(
        {"horizontal_flip": True, "vertical_flip": True, "crop_jitter": 1.0}
    )
    data_config.image_size, data_config.batch_size = 64, 6
    with make(records, data_config, config, training=True, seed=2) as found:
        (batch,) = found.epoch(0)
    flips = set()
    for image, name, row in zip(
        batch.images, batch.example_ids, batch.geometry, strict=True
    ):
        i = int(name[-5])
        g = geometry.Geometry.from_row(row)
        flips.add((g.scale_x < 0, g.scale_y < 0))
        x, y = 68 - 3 * i, 58 + 4 * i
        ys, xs = np.nonzero(image[:, :, 0] > 127)
        center = g.to_original([xs.mean() + 0.5, ys.mean() + 0.5])
        np.testing.assert_allclose(center, [x, y], atol=1.0)
    assert len(flips) > 1


def test_files_that_turn_bad_are_skipped(pipeline, records, data_config, bird_folder):
    names = [record.example_id for record in records]
    (bird_folder / names[1]).unlink()
    content = (bird_folder / names[7]).read_bytes()
    (bird_folder / names[7]).write_bytes(content[: len(content) // 2])
    with make(records, data_config) as found:
        for number in range(3):  # from the files, into memory, out of memory
            batches = list(found.epoch(number))
            assert [list(batch.mask) for batch in batches] == [
                [True, False, True, True, True],
                [True, True, False, True, True],
                [True, True, False, False, False],
            ]
            # The replacement repeats a good example with its own label and id.
            first = batches[0]
            twin = first.example_ids.index(first.example_ids[1], 2)
            np.testing.assert_array_equal(first.images[1], first.images[twin])
            assert first.labels["species"][1] == first.labels["species"][twin]
            np.testing.assert_array_equal(first.geometry[1], first.geometry[twin])
        assert sorted(found.skipped) == [names[1], names[7]]
        assert "missing" in found.skipped[names[1]]
        assert "truncated" in found.skipped[names[7]].lower()
    with make(records, data_config, AUGMENT, training=True) as found:
        for number in range(3):
            batches = list(found.epoch(number))
            assert len(batches) == 2
            for batch in batches:
                assert not {names[1], names[7]} & set(batch.example_ids)


def test_pillow_reads_what_tensorflow_cannot(
    records, data_config, monkeypatch, messages
):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    from hiercam_keras.data import pipeline as pipeline_lib

    data_config.cache_mb = 0
    with make(records, data_config, AUGMENT) as found:
        expected = list(found.epoch(0))
    data_config.pipeline = "tfdata"
    monkeypatch.setattr(pipeline_lib, "_PATIENCE", 2)
    tries, plain = [], pipeline_lib.TfReader._examples
    monkeypatch.setattr(
        pipeline_lib.TfReader,
        "_examples",
        lambda reader, plans: tries.append(plans) or plain(reader, plans),
    )

    def fails(example, branches, count):
        with tf.control_dependencies([tf.debugging.Assert(False, ["no such coding"])]):
            return tf.zeros((*count, 3), tf.uint8)

    monkeypatch.setattr(pipeline_lib.pipeline_window, "read", fails)
    with make(records, data_config, AUGMENT) as found:
        for batch, same in zip(found.epoch(0), expected, strict=True):
            assert_same(batch, same)
        assert len(list(found.epoch(1))) == 3
        assert not found.skipped
    # Tried for each of two batches, and then no more.
    assert len(tries) == 2
    assert len(messages) == 1 and "2 batches that Pillow could read" in messages[0]


def test_whole_batch_bad(pipeline, records, data_config, bird_folder):
    data_config.max_bad_share = 0.5
    for record in records[5:10]:
        (bird_folder / record.example_id).write_text("no more")
    with make(records, data_config) as found:
        batches = list(found.epoch(0))
    assert [batch.mask.sum() for batch in batches] == [5, 0, 2]


def test_too_many_bad_files_end_the_run(pipeline, records, data_config, bird_folder):
    shutil.rmtree(bird_folder)
    with make(records, data_config) as found:
        with pytest.raises(UserError, match="max_bad_share") as raised:
            list(found.epoch(0))
    assert "4 of 12 image files became unreadable" in str(raised.value)


def test_each_of_two_processes_answers_for_its_part(records, data_config, bird_folder):
    # Each reads 6 of 12 images: a share of 0.3 is one of them, and three of all.
    data_config.batch_size = 4
    for record in records[:2]:  # both in rows of the first process
        (bird_folder / record.example_id).unlink()
    with make(records, data_config, shard=(0, 2)) as found:
        with pytest.raises(UserError, match="2 of the 2 image files read by this proc"):
            list(found.epoch(0))
    with make(records, data_config, shard=(1, 2)) as found:
        assert len(list(found.epoch(0))) == 3 and not found.skipped


def test_what_was_skipped_is_told_at_the_end(
    records, data_config, bird_folder, messages
):
    for record in records[3:5]:
        (bird_folder / record.example_id).unlink()
    with make(records, data_config) as found:
        list(found.epoch(0))
        assert len(messages) == 2
    assert messages[2:] == [
        "2 of 12 image files failed to decode and were skipped, the first is "
        f"{records[3].example_id}"
    ]


def test_one_bad_file_is_never_too_many(records, data_config, bird_folder):
    data_config.max_bad_share = 0.0
    (bird_folder / records[0].example_id).unlink()
    with make(records, data_config) as found:
        assert len(list(found.epoch(0))) == 3


def test_stopping_in_the_middle(pipeline, records, data_config):
    with make(records, data_config, training=True) as found:
        first = next(found.epoch(0))
        assert_same(first, next(iter(found.epoch(0))))


def test_batch_larger_than_the_training_split(records, data_config):
    data_config.batch_size = 13
    with pytest.raises(UserError, match=r"batch_size=12 or less"):
        make(records, data_config, training=True)
    with make(records, data_config) as found:
        (batch,) = found.epoch(0)
        assert batch.mask.sum() == 12


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pipeline", "torch", "auto, tfdata, arrays"),
        ("batch_size", 0, "at least 1"),
        ("image_size", 0, "at least 1 and 8"),
    ],
)
def test_wrong_fields(records, data_config, field, value, message):
    data_config[field] = value
    with pytest.raises(UserError, match=message):
        make(records, data_config)


def test_wrong_number_of_labels(records, data_config):
    with pytest.raises(ValueError, match="11 labels at order"):
        loader.make_loader(records, {"order": np.zeros(11)}, data_config)


@pytest.mark.slow  # two processes that import TensorFlow
@pytest.mark.parametrize("used_before", [False, True])
def test_operations_of_tensorflow_stay_on_their_thread(used_before):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    code = f"""
import tensorflow as tf
if {used_before}:
    tf.constant(1)
from hiercam_keras.data import pipeline
print(tf.config.threading.get_intra_op_parallelism_threads())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0" if used_before else "1"]
    assert ("keeps its GPUs and threads" in done.stderr) == used_before


def test_without_tensorflow(records, data_config, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
        monkeypatch.delitem(sys.modules, module)
    for part in ("pipeline", "pipeline_window", "augment_tf"):
        module = f"hiercam_keras.data.{part}"
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    data_config.pipeline = "auto"
    with make(records, data_config) as found:
        assert len(list(found.epoch(0))) == 3
    data_config.pipeline = "tfdata"
    with pytest.raises(UserError, match="tfdata needs TensorFlow.*pipeline=arrays"):
        make(records, data_config)


def test_bytes_in_the_path_of_the_folder(pipeline, tmp_path, bird_folder, data_config):
    odd = os.path.join(os.fsencode(tmp_path), b"f\xe9te")
    shutil.copytree(os.fsencode(bird_folder), odd)
    records = list(sources.load(data_config, os.fsdecode(odd)).records)
    with make(records, data_config) as found:
        assert sum(batch.mask.sum() for batch in found.epoch(0)) == 12
        assert not found.skipped


def test_real_photographs(pipeline, real_data, data_config):
    data_config.image_size, data_config.batch_size = 96, 16
    records = list(sources.load(data_config, str(real_data / "bird_photos")).records)
    with make(records, data_config, AUGMENT, training=True) as found:
        batches = list(found.epoch(0))
        assert not found.skipped
    assert len(batches) == 3
    assert all(batch.images.std() > 30 for batch in batches)
