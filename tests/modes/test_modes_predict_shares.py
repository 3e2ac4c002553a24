"""Photographs that several processes share."""

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data.records import Record
from hiercam_keras.modes import predict


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_photograph_is_read_by_one_process(config, tmp_path, count, processes):
    records = []
    for number in range(count):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 40), (9 * number, 90, 90)).save(path)
        records.append(Record(path.name, path, None, 40, 40))
    config.data.batch_size = 4
    seen, sizes = [], []
    for process in range(processes):
        with predict.photo_loader(records, config, (process, processes)) as loader:
            batches = list(loader.epoch(0))
        sizes.append([len(batch.images) for batch in batches])
        for batch in batches:
            seen += [batch.example_ids[row] for row in np.flatnonzero(batch.mask)]
    assert sorted(seen) == sorted(one.example_id for one in records)
    assert all(one == sizes[0] for one in sizes)  # a collective needs equal batches
