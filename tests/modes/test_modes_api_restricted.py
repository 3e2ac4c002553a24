"""Runs from Python with allowed taxa and with crops of animals."""

import numpy as np
import pytest

import hiercam_keras as hc
from hiercam_keras import workdir
from hiercam_keras.runs import run_folder

QUESTIONS = [
    hc.Question("species"),
    hc.Question("family", target="true", kind="step"),
    hc.Question("family", method="layercam", layer="activation2"),
]


@pytest.fixture(scope="module")
def path(trained):
    return trained.path("species")


@pytest.fixture(scope="module")
def families(path):
    """Two families of four, by name."""
    return run_folder.read(path).whole_taxonomy().names("family")[1:3]


@pytest.fixture(scope="module")
def boxes(birds, trained, tmp_path_factory):
    """A file of detections with a box in each image."""
    images = [
        {
            "file": path.relative_to(birds / "images").as_posix(),
            "detections": [
                {"category": "1", "conf": 0.9, "bbox": [0.2, 0.2, 0.5, 0.6]}
            ],
        }
        for path in sorted((birds / "images").rglob("*.jpg"))
    ]
    kinds = {"1": "animal"}
    content = {"info": {"format_version": "1.4"}, "detection_categories": kinds}
    place = tmp_path_factory.mktemp("boxes") / "md.json"
    workdir.write_json(place, {**content, "images": images})
    return place


def check(run, table):
    """What holds for every table of QUESTIONS."""
    asked = [one.name for one in QUESTIONS]
    found = hc.compare(table, asked[0], asked[2])
    assert found.agreement and "heatmap_area" in found.differences
    unknown = table.of("true", asked[1]) < 0
    areas = table.of("heatmap_area", asked[1])
    assert np.isnan(areas[unknown]).all()
    records = run.records("test")[:2]
    images = run.images(records)
    explain = run.explainer()
    result = explain(images, [hc.targets.predicted("species")])
    measured = hc.faithfulness(explain, images, result)
    assert measured.curves["deletion"].shape[:2] == (2, 1)
    at = [table.example_ids.tolist().index(one.example_id) for one in records]
    predicted = result.rank_probabilities("species").argmax(-1)
    assert (table.of("predicted", "species")[at] == predicted).all()
    probability = table.of("probability", "species")[at]
    np.testing.assert_allclose(result.probabilities[:, 0], probability, atol=1e-4)


def test_allowed_taxa(path, families):
    run = hc.load_run(path, allowed_taxa=families)
    assert run.taxonomy.names("family") == families
    table = hc.evaluate(run, QUESTIONS)
    assert (table.of("true", "species") < 0).any()
    assert table.of("predicted", "species").max() < run.taxonomy.num_labels("species")
    check(run, table)
    with pytest.raises(hc.UserError, match="knows none of 1 taxon"):
        hc.load_run(path, allowed_taxa="Felidae")


def test_crops(path, boxes):
    run = hc.load_run(path, detections=boxes)
    records = run.records("test")
    assert all(record.crop for record in records)
    with run.data().loader("test", 4) as batches:
        batch = next(batches.epoch(0))
    by_id = {record.example_id: record for record in records}
    shown = [by_id[one] for one in batch.example_ids]
    expected = np.asarray(batch.images, np.uint8)
    np.testing.assert_array_equal(run.images(shown), expected)
    table = hc.evaluate(run, QUESTIONS)
    assert all("#" in one for one in table.example_ids)
    check(run, table)


def test_crops_and_allowed_taxa_of_several_heads(trained, families, boxes):
    run = hc.load_run(
        trained.path("order", "species"), allowed_taxa=families, detections=boxes
    )
    table = hc.evaluate(run, QUESTIONS[:1])
    assert table.of("predicted", "species").max() < run.taxonomy.num_labels("species")
    assert "species" in run.ranks and repr(run)
