"""Decoded images on disk: the same batches, and never stale or damaged ones."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

from hiercam_keras import locks, workdir
from hiercam_keras.data import disk_cache, loader, sources
from hiercam_keras.errors import UserError

AUGMENT = {"horizontal_flip": True, "crop_jitter": 1.0, "brightness": 0.2}


@pytest.fixture(params=["arrays", "tfdata"])
def config(request, data_config, tmp_path):
    if request.param == "tfdata":
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    data_config.pipeline, data_config.cache_mb = request.param, 0
    data_config.disk_cache = str(tmp_path / "decoded")
    return data_config


@pytest.fixture
def records(data_config, bird_folder):
    return list(sources.load(data_config, str(bird_folder)).records)


def make(records, config, **options):
    labels = {"species": np.arange(len(records)) // 4}
    options = {"training": True, "seed": 1, **options}
    return loader.make_loader(records, labels, config, AUGMENT, **options)


def epochs(records, config, **options):
    with make(records, config, **options) as found:
        return [batch for k in range(2) for batch in found.epoch(k)]


def caches(config):
    folder = disk_cache.Path(config.disk_cache)
    return sorted(path.parent.name for path in folder.glob("*/index.json"))


def assert_same(a, b, levels=0):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.example_ids == y.example_ids
        for field in ("mask", "geometry"):
            np.testing.assert_array_equal(getattr(x, field), getattr(y, field))
        assert np.abs(x.images.astype(int) - y.images).max() <= levels
        assert not levels or np.mean(x.images != y.images) < 0.01


def count_fills(monkeypatch):
    made = []
    make_one = disk_cache._make
    monkeypatch.setattr(
        disk_cache, "_make", lambda *a: made.append(a[0].name) or make_one(*a)
    )
    return made


def test_same_batches_decoded_once(config, records, monkeypatch):
    made = count_fills(monkeypatch)
    cached = [epochs(records, config) for _ in range(2)]
    assert len(made) == 1
    folder = disk_cache.Path(config.disk_cache)
    pixels = folder / made[0] / "pixels.npy"
    # The announced size, and the header.
    with make(records, config) as found:
        assert os.path.getsize(pixels) == found._job.windows.num_bytes + 128
    assert sorted(path.name for path in pixels.parent.iterdir()) == [
        "checked.json",
        "index.json",
        "pixels.npy",
    ]
    assert_same(*cached)
    # A level here and there, which brightness stretches: parts are placed in single
    # precision.
    config.disk_cache = ""
    assert_same(cached[0], epochs(records, config), levels=2)


@pytest.mark.parametrize("config", ["arrays"], indirect=True)
def test_inputs_and_settings_make_a_cache_of_their_own(config, records, bird_folder):
    epochs(records, config)
    first = caches(config)
    path = bird_folder / records[3].example_id
    shutil.copy(bird_folder / records[5].example_id, path)
    changed = list(sources.load(config, str(bird_folder)).records)
    batches = epochs(changed, config)
    assert len(caches(config)) == 2
    for field, value in (("image_size", 24), ("reduced_decode", False)):
        before = caches(config)
        config[field] = value
        epochs(changed, config)
        assert len(caches(config)) == len(before) + 1
    epochs(changed[1:], config)
    assert len(caches(config)) == 5 and first[0] in caches(config)
    config.image_size, config.disk_cache = 32, ""
    assert_same(batches, epochs(changed, config), levels=2)


def flip_a_bit(folder):
    with open(folder / "pixels.npy", "r+b") as file:
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 1]))


def cut(folder):
    os.truncate(folder / "pixels.npy", 4000)


def empty_index(folder):
    (folder / "index.json").write_text("{}")


def no_pixels(folder):
    (folder / "pixels.npy").unlink()


@pytest.mark.parametrize("config", ["arrays"], indirect=True)
@pytest.mark.parametrize("damage", [flip_a_bit, cut, empty_index, no_pixels])
def test_damage_is_found(config, records, damage, monkeypatch):
    batches = epochs(records, config)
    damage(disk_cache.Path(config.disk_cache) / caches(config)[0])
    made = count_fills(monkeypatch)
    assert_same(batches, epochs(records, config))
    assert len(made) == 1
    assert_same(batches, epochs(records, config))
    assert len(made) == 1


@pytest.mark.parametrize("config", ["arrays"], indirect=True)
def test_a_pass_that_is_killed_leaves_nothing(config, records, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(disk_cache, "_checksums", lambda pixels: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            epochs(records, config)
    assert not list(disk_cache.Path(config.disk_cache).glob("*/*"))
    assert len(epochs(records, config)) == 4


@pytest.mark.parametrize("config", ["arrays"], indirect=True)
def test_no_room(config, records, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda path: usage(30_000))
    with pytest.raises(UserError, match=r"12 decoded images takes 0.0 GB.*disk_cache"):
        epochs(records, config)
    assert not list(disk_cache.Path(config.disk_cache).glob("*/*"))


def test_auto_takes_what_there_is(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda path: usage(20e9))

    def folder(setting, num_bytes):
        return disk_cache.folder_of(setting, str(tmp_path), num_bytes, 512 * 2**20)

    assert folder("", 10**10) is None
    assert folder("auto", 10**8) is None  # memory is enough
    assert folder("auto", 10**10) == tmp_path / "decoded"
    assert folder("auto", 19 * 10**9) is None  # no room
    assert folder(str(tmp_path / "x"), 10**8) == tmp_path / "x"


def test_files_that_go_bad_while_the_run_is_on(config, records, bird_folder):
    names = [record.example_id for record in records]
    (bird_folder / names[2]).write_text("no picture")
    with make(records, config, training=False) as found:
        batches = list(found.epoch(0))
        assert list(found.skipped) == [names[2]]
        # All files disappear: the cache on disk is still used.
        shutil.rmtree(bird_folder)
        assert_same(batches, list(found.epoch(0)))
        assert list(found.skipped) == [names[2]]
    assert [list(batch.mask) for batch in batches][0] == [True, True, False, True, True]


def test_files_that_disappear_in_the_middle_of_an_epoch(config, records, bird_folder):
    config.disk_cache, config.batch_size = "", 2
    config.max_bad_share = 0.3
    with make(records, config, training=False) as found:
        batches = found.epoch(0)
        next(batches)
        for record in records[9:]:
            (bird_folder / record.example_id).unlink()
        rest = list(batches)
        assert len(rest) == 5
        # Batches that were read ahead are good; later reads find no file.
        masks = np.concatenate([batch.mask for batch in found.epoch(1)])
        np.testing.assert_array_equal(masks, [True] * 9 + [False] * 3)
        assert sorted(found.skipped) == [r.example_id for r in records[9:]]


@pytest.mark.parametrize("config", ["arrays"], indirect=True)
def test_pixels_are_read_back_once(config, records, monkeypatch):
    epochs(records, config)
    sums = []
    real = disk_cache._checksums
    monkeypatch.setattr(
        disk_cache, "_checksums", lambda pixels: sums.append(1) or real(pixels)
    )
    for _ in range(3):
        epochs(records, config)
    assert len(sums) == 1
    folder = disk_cache.Path(config.disk_cache) / caches(config)[0]
    os.utime(folder / "pixels.npy", ns=(1, 1))
    epochs(records, config)
    assert len(sums) == 2
    # The pixels' file is as it was, but the index is another one's.
    about = json.loads((folder / "index.json").read_text())
    about["checksums"][0] ^= 1
    (folder / "index.json").write_text(json.dumps(about))
    made = count_fills(monkeypatch)
    epochs(records, config)
    assert len(made) == 1


_OTHER_HOST = """
import sys, time
from pathlib import Path
import numpy as np
from hiercam_keras import workdir
from hiercam_keras.data import disk_cache, resize_windows
from hiercam_keras.data.batch_plan import Job

workdir.write_nothing()  # as every process but the first of several
folder, log = map(Path, sys.argv[1:])
two = np.full((1, 2), 2, np.int32)
where = resize_windows.Windows(two, two, 0 * two, two, 2)

def fill(pixels, starts):
    with open(log, "a") as file:
        file.write("fill\\n")
    time.sleep(1.0)
    pixels[:] = 7
    return np.ones(1, bool)

job = Job(["x"], where, False, 1, 0, True, folder)
found = disk_cache.open_or_make(job, "arrays", fill)
assert found.get(0, where.extent[0]).tolist() == [[[7] * 3] * 2] * 2
"""


def test_several_processes_make_one_cache(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", _OTHER_HOST, str(tmp_path / "decoded"), str(log)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert log.read_text() == "fill\n"


def test_nobody_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_TIMEOUT_S", 0.02)
    monkeypatch.setattr(locks, "_POLL_S", 0.01)
    asked = (tmp_path / ".key.lock", "the cache key", "--flag")
    words = rf"been writing the cache key for .*process {os.getpid()} on .*--flag\.$"
    with locks.wait(*asked):
        with pytest.raises(UserError, match=words):
            with locks.wait(*asked):
                pass
    with locks.wait(*asked):  # free again
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_names_its_own_flag(
    records, config, tmp_path, data_config, bird_folder
):
    """Neither --workdir nor --out chooses where caches are."""
    (tmp_path / "file").write_text("")
    config.disk_cache = str(tmp_path / "file" / "decoded")
    with pytest.raises(UserError, match=r"file.*with --config\.data\.disk_cache\.$"):
        epochs(records, config)
    (tmp_path / ".key.lock").mkdir()
    with pytest.raises(UserError, match=r"key\.lock: Is a dir.*data\.disk_cache\.$"):
        with locks.wait(tmp_path / ".key.lock", "key", workdir.DECODED_FLAG):
            pass
    cache = tmp_path / "file" / "cache"
    with pytest.raises(UserError, match=r"file/cache.*--config\.data\.cache_dir\.$"):
        sources.load(data_config, str(bird_folder), cache_dir=cache)
