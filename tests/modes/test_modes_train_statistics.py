"""The batches that batch norm's statistics are taken of."""

import numpy as np
import tiny_birds

from hiercam_keras.modes.load import load_source, make_loader
from hiercam_keras.modes.train_statistics import plain_batches
from hiercam_keras.taxonomy.tree import Taxonomy


def test_they_are_shuffled_and_as_evaluation_sees_them(tmp_path, birds):
    config = tiny_birds.make_config(tmp_path, birds)
    config.augment.update({"brightness": 0.5, "erasing_probability": 1.0})
    records = load_source(config, None).records
    taxonomy = Taxonomy(record.lineage for record in records)
    config.train.reestimate_batches = 2
    batches = list(plain_batches(records, taxonomy, config, 16))
    assert [len(batch.images) for batch in batches] == [16, 16]
    assert all(batch.mask.all() for batch in batches)
    ids = [name for batch in batches for name in batch.example_ids]
    assert len(set(ids)) == 32
    # In the order of the files a batch would be of two species.
    assert all(len(set(batch.labels["species"])) > 4 for batch in batches)
    with make_loader(records, taxonomy, config, batch_size=8, once=True) as loader:
        plain = {
            name: image
            for batch in loader.epoch(0)
            for name, image in zip(batch.example_ids, batch.images, strict=True)
        }
    for batch in batches:
        for name, image in zip(batch.example_ids, batch.images, strict=True):
            np.testing.assert_array_equal(image, plain[name])
    # No more than there are, in whole batches; none if none is asked for.
    config.train.reestimate_batches = 100
    found = list(plain_batches(records, taxonomy, config, 32))
    assert len(found) == len(records) // 32
    config.train.reestimate_batches = 0
    assert not list(plain_batches(records, taxonomy, config, 16))
