import subprocess
import sys

import numpy as np
import pytest
from absl import logging
from ml_collections import ConfigDict

from hiercam_keras.data import geometry, loader, sources, splits
from hiercam_keras.errors import UserError


@pytest.fixture
def config(tmp_path, data_config):
    """The smallest embedded data set: 8 species of 2 images."""
    data_config.source = "synthetic_birds"
    data_config.root = str(tmp_path / "data" / "birds")
    data_config.synthetic = ConfigDict(
        {
            "orders": 2,
            "families": 2,
            "genera": 2,
            "species": 1,
            "images_per_species": 2,
            "image_size": (64, 70),
            "habitat_correlation": 0.8,
            "distractors": False,
            "seed": 0,
        }
    )
    return data_config


def test_drawn_once_and_read_like_any_folder(config, tmp_path, caplog):
    logging.use_absl_handler()
    with caplog.at_level("INFO"):
        source = sources.load(config, name="synthetic_birds")
    assert source.name == "synthetic_birds"
    assert len(source.records) == 16
    assert "Drawing procedural birds" in caplog.text and "Drew 16 birds" in caplog.text
    caplog.clear()
    again = sources.load(config, name="synthetic_birds")
    assert again.records == source.records and "Drawing" not in caplog.text
    # The same folder by --data_dir is the same data under another name.
    given = sources.load(config, config.root)
    assert given.records == source.records and given.name.startswith("birds-")


def test_annotations_reach_the_model_input(config):
    source = sources.load(config)
    assert set(source.evidence) == {"order", "family", "genus", "species"}
    labels = {name: label for name, label in source.evidence.values()}
    assert len(set(labels.values())) == 4
    record = source.records[3]
    mask = sources.annotations.read_labels(record.mask_path)
    parts = sources.annotations.read_labels(record.parts_path)
    assert mask.shape == parts.shape == (record.height, record.width)
    np.testing.assert_array_equal(mask > 0, parts > 0)
    # The box is the mask's, edges exclusive.
    ys, xs = np.nonzero(mask)
    (box,) = record.boxes
    assert box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    g = geometry.of(record.width, record.height, 64, "localization")
    seen = geometry.resize_mask(mask, g) > 0
    ys, xs = np.nonzero(seen)
    np.testing.assert_allclose(
        g.to_input(box), [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1.0
    )


def test_split_and_batches(config):
    source = sources.load(config)
    split = splits.split_records(source.records, 0)
    records, missing = split.select(source.records, "train")
    assert len(records) == 12 and not missing
    labels = {"species": np.arange(12)}
    with loader.make_loader(records, labels, config, training=True) as train:
        assert len(list(train.epoch(0))) == 2


def test_other_settings_are_drawn_anew_but_other_data_are_kept(config, tmp_path):
    sources.load(config)
    config.synthetic.images_per_species = 3
    assert len(sources.load(config).records) == 24
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    config.root = str(mine)
    with pytest.raises(UserError, match="not replaced"):
        sources.load(config)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_reading_imports_neither_tensorflow_nor_jax():
    code = (
        "import sys\n"
        "from hiercam_keras.data import sources, splits, loader, arrays, geometry\n"
        "from hiercam_keras.data.sources import photos\n"
        "found = {'tensorflow', 'jax', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(repr(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_augmentation_of_the_embedded_config_keeps_every_trait(config):
    """Neither a random crop nor an erased rectangle removes a part that identifies a
    rank."""
    from configs import synthetic_birds

    embedded = synthetic_birds.get_config()
    config.image_size, config.batch_size = embedded.data.image_size, 12
    config.synthetic.update(embedded.data.synthetic)
    config.synthetic.update(
        {"families": 1, "genera": 1, "images_per_species": 1, "seed": 5}
    )
    source = sources.load(config)
    size, area = config.image_size, embedded.augment.erasing_area[1]
    parts = {
        record.example_id: sources.annotations.read_labels(record.parts_path)
        for record in source.records
    }
    with loader.make_loader(
        source.records, {}, config, embedded.augment, training=True
    ) as found:
        batches = [batch for k in range(4) for batch in found.epoch(k)]
    for batch in batches:
        for name, row in zip(batch.example_ids, batch.geometry, strict=True):
            g = geometry.Geometry.from_row(row)
            seen = geometry.resize_mask(parts[name], g)
            for _, label in source.evidence.values():
                whole = (parts[name] == label).sum() * abs(g.scale_x * g.scale_y)
                assert (seen == label).sum() > 0.9 * whole
                assert whole > 1.5 * area * size * size
