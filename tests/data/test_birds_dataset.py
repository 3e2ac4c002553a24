"""The data set on disk: layout, sameness, and runs that are killed."""

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.birds import (
    DatasetSettings,
    bird_at,
    is_complete,
    write_dataset,
)
from hiercam_keras.birds import dataset as dataset_module
from hiercam_keras.errors import UserError

SMALL = {
    "orders": 2,
    "families": 2,
    "genera": 1,
    "species": 2,
    "images_per_species": 3,
    "image_size": (64, 80),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("birds") / "data", workers=0, **SMALL)


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def test_layout_has_a_mask_parts_and_a_box_for_every_picture(written):
    images = sorted((written / "images").rglob("*.jpg"))
    assert len(images) == 24
    boxes = {row["example_id"]: row for row in _rows(written / "boxes.csv")}
    assert len(boxes) == 24
    sizes = set()
    for path in images:
        example_id = path.relative_to(written / "images").as_posix()
        label_file = Path(example_id).with_suffix(".png")
        image = _image(path)
        parts = np.asarray(_image(written / "parts" / label_file))
        mask = np.asarray(_image(written / "masks" / label_file))
        assert image.mode == "RGB" and image.size == parts.shape[::-1]
        assert set(np.unique(parts)) == {0, 1, 2, 3, 4, 5}
        np.testing.assert_array_equal(mask, np.where(parts > 0, 255, 0))
        rows, columns = np.nonzero(parts)
        box = [float(boxes[example_id][edge]) for edge in ("x0", "y0", "x1", "y1")]
        bounds = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box == bounds
        sizes.add(image.size)
    assert len(sizes) > 5
    assert all(64 <= side <= 80 for size in sizes for side in size)


def test_evidence_says_which_part_carries_which_rank(written):
    assert (written / "evidence.csv").read_text() == (
        "rank,part,part_label\n"
        "order,body,1\nfamily,bill_and_tail,2\ngenus,wing,3\nspecies,patch,4\n"
    )


def test_bytes_do_not_depend_on_the_number_of_workers(written, tmp_path):
    again = write_dataset(tmp_path / "data", workers=2, **SMALL)
    assert _files(again) == _files(written)
    other = write_dataset(tmp_path / "other", workers=0, **SMALL, seed=1)
    same = set(_files(other).items()) & set(_files(written).items())
    assert {name for name, _ in same} == {"evidence.csv"}


def test_settings_decide_whether_it_is_complete(written):
    assert is_complete(written, SMALL)
    assert is_complete(str(written), DatasetSettings(**SMALL))
    assert not is_complete(written, SMALL | {"seed": 1})
    assert not is_complete(written, {})
    assert not is_complete(written / "nothing", SMALL)
    assert DatasetSettings(**SMALL).key != DatasetSettings(**SMALL, seed=1).key


def test_progress_counts_pictures_up_to_all_of_them(tmp_path):
    reports = []
    write_dataset(
        tmp_path / "data",
        workers=0,
        progress=lambda done, total: reports.append((done, total)),
        **SMALL,
    )
    assert reports == [(3 * k, 24) for k in range(1, 9)]


def test_a_complete_data_set_is_left_alone(written):
    before = (written / "dataset.json").stat().st_mtime_ns
    assert write_dataset(written, **SMALL) == written
    assert (written / "dataset.json").stat().st_mtime_ns == before


def test_a_missing_picture_makes_it_incomplete_and_writing_repairs_it(tmp_path):
    root = write_dataset(tmp_path / "data", workers=0, **SMALL)
    whole = _files(root)
    next((root / "images").rglob("*.jpg")).unlink()
    assert not is_complete(root, SMALL)
    write_dataset(root, workers=0, **SMALL)
    assert _files(root) == whole


def test_other_settings_replace_it_but_foreign_files_are_never_touched(tmp_path):
    root = tmp_path / "data"
    root.mkdir()  # an empty folder is no obstacle
    write_dataset(root, workers=0, **SMALL)
    changed = SMALL | {"images_per_species": 1}
    write_dataset(root, workers=0, **changed)
    assert is_complete(root, changed)
    assert os.listdir(tmp_path) == ["data"]

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("years of work")
    with pytest.raises(UserError, match="mine.*is not a synthetic data set"):
        write_dataset(mine, workers=0, **SMALL)
    assert (mine / "notes.txt").read_text() == "years of work"


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write synthetic birds to"):
        write_dataset(tmp_path / "file" / "data", workers=0, **SMALL)


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset_module, "_write_csv", fail)
    with pytest.raises(OSError, match="No space left"):
        write_dataset(tmp_path / "data", workers=0, **SMALL)
    assert os.listdir(tmp_path) == []


def test_a_killed_run_leaves_nothing_that_is_taken_for_data(tmp_path):
    script = tmp_path / "write.py"
    script.write_text(
        "from hiercam_keras.birds import write_dataset\n"
        "if __name__ == '__main__':\n"
        f"    write_dataset({str(tmp_path / 'out' / 'data')!r}, workers=1,\n"
        "                  images_per_species=40, image_size=(64, 80),\n"
        "                  progress=lambda done, total: print(done, flush=True))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=environment
    ) as run:
        assert run.stdout.readline()
        run.kill()
    root = tmp_path / "out" / "data"
    assert not root.exists()
    assert not is_complete(root, {"images_per_species": 40, "image_size": (64, 80)})
    leftovers = os.listdir(tmp_path / "out")
    assert len(leftovers) == 1 and leftovers[0].startswith(".data.partial-")
    time.sleep(0.5)  # the orphaned worker ends at its next result
    write_dataset(root, workers=0, **SMALL)
    assert os.listdir(tmp_path / "out") == ["data"]


def test_habitat_goes_with_the_family_as_often_as_asked():
    for wanted in (0.0, 0.8, 1.0):
        settings = DatasetSettings(habitat_correlation=wanted)
        own, seen = 0, Counter()
        for species, leaf in enumerate(settings.tree()):
            for index in range(60):
                bird = bird_at(settings, species, index, leaf=leaf)
                own += bird.habitat == leaf.habitat
                seen[bird.habitat] += 1
        # By chance one of the ten habitats is the family's own as well.
        expected = wanted + (1 - wanted) / 10
        assert own / 2880 == pytest.approx(expected, abs=0.025)
        assert len(seen) == (8 if wanted == 1.0 else 10)


def test_habitats_csv_says_what_was_drawn(written):
    rows = _rows(written / "habitats.csv")
    families = {}
    for row in rows:
        family = row["example_id"].split("_")[5]
        families.setdefault(family, set()).add(row["family_habitat"])
    assert len(rows) == 24
    assert all(len(names) == 1 for names in families.values())
    assert len(set.union(*families.values())) == 4


def test_header_records_settings_and_versions(written):
    header = json.loads((written / "dataset.json").read_text())
    assert header["schema_version"] == 1
    assert header["settings"]["image_size"] == [64, 80]
    assert header["parts"][1:] == ["body", "bill_and_tail", "wing", "patch", "legs"]
    assert len(header["classes"]) == 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("habitat_correlation", 1.2),
        ("image_size", (220, 150)),
        ("image_size", (8, 16)),
        ("images_per_species", 0),
        ("orders", 9),
    ],
)
def test_impossible_settings_are_a_clear_error(tmp_path, field, value):
    with pytest.raises(UserError, match="synthetic birds: .*found"):
        write_dataset(tmp_path / "data", workers=0, **{field: value})


def test_bursts_are_pictures_of_one_individual(written, tmp_path):
    """Three shots a burst: alike among each other, the first as without bursts."""
    settings = SMALL | {"images_per_species": 7, "images_per_burst": 3}
    root = write_dataset(tmp_path / "bursts", workers=0, **settings)
    assert is_complete(root, settings) and not is_complete(root, SMALL)
    assert not (written / "groups.csv").exists()
    groups = {row["example_id"]: row["group"] for row in _rows(root / "groups.csv")}
    assert len(groups) == 56 and len(set(groups.values())) == 8 * 3
    folder = sorted((root / "images").iterdir())[0]
    bursts = [groups[f"{folder.name}/{n:04d}.jpg"] for n in range(7)]
    assert [bursts.index(one) for one in bursts] == [0, 0, 0, 3, 3, 3, 6]
    for first, without in ((0, 0), (3, 1), (6, 2)):
        same = (folder / f"{first:04d}.jpg").read_bytes()
        before = written / "images" / folder.name / f"{without:04d}.jpg"
        assert same == before.read_bytes()

    def pixels(n):
        image = _image(folder / f"{n:04d}.jpg").resize((32, 32))
        return np.asarray(image).astype(float)

    within = [abs(pixels(a) - pixels(b)).mean() for a, b in ((0, 1), (1, 2), (3, 4))]
    across = [abs(pixels(a) - pixels(b)).mean() for a, b in ((0, 3), (1, 5), (2, 6))]
    assert 1 < min(within) and max(within) < min(across) / 2
    with pytest.raises(UserError, match="images_per_burst must be 1 or more"):
        DatasetSettings(images_per_burst=0)
