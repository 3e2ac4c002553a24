"""A hundred thousand files: found again in seconds, and every change with them."""

import os
import time

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import decode, sources

_COUNT = 100_000
_LINKS = 30_000  # of one file; file systems allow 65,000 and less


def make_files(root, source, folders):
    for number in range(folders):
        (root / f"{number:05d}_Animalia_Chordata_Aves_O_F_G_s{number}").mkdir()
    places = sorted(root.iterdir())
    for number in range(_COUNT):
        if number % _LINKS == 0:
            target = source.with_name(f"{number}.jpg")
            target.write_bytes(source.read_bytes())
        os.link(target, places[number % folders] / f"{number:06d}.jpg")
    return places


@pytest.mark.slow
@pytest.mark.parametrize("folders", [1486, 1])
def test_a_second_start_takes_seconds(tmp_path, data_config, monkeypatch, folders):
    source = tmp_path / "source.jpg"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(source)
    root = tmp_path / "images"
    root.mkdir()
    places = make_files(root, source, folders)
    looked = []
    facts, pixels = decode.examine(source)

    def examine(path):
        looked.append(path)
        return facts, pixels

    # What a first look costs is the decoder's business.
    monkeypatch.setattr(decode, "examine", examine)
    found = sources.load(data_config, str(root))
    assert len(found.records) == _COUNT
    assert len(looked) == 2 * _COUNT  # all are copies, so all pixels are compared
    (places[0] / "new.jpg").write_bytes(source.read_bytes())
    gone, changed = places[0] / f"{0:06d}.jpg", places[0] / f"{folders:06d}.jpg"
    gone.unlink()
    changed.unlink()
    changed.write_bytes(source.read_bytes() + b"more")
    looked.clear()
    start, cpu = time.perf_counter(), time.process_time()
    found = sources.load(data_config, str(root))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    print(f"{_COUNT} files in {folders} folders: {wall:.1f} s, {cpu:.1f} s of CPU")
    names = sorted(path.name for path in looked)
    assert names == sorted(2 * [changed.name, "new.jpg"])
    ids = {record.example_id for record in found.records}
    assert len(ids) == _COUNT
    assert f"{places[0].name}/{gone.name}" not in ids
    # CPU time, as others may be at work.
    assert cpu < 10
