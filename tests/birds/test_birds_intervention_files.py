"""Exchanged birds on disk: the table, lossless files, and runs that are stopped."""

import csv
import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.birds import (
    DatasetSettings,
    bird_of,
    exchanges,
    read_interventions,
    write_interventions,
)
from hiercam_keras.birds import intervention_files as files
from hiercam_keras.birds.interventions import BIRD, HOWS, PARTS
from hiercam_keras.birds.sheet import exchange_sheet
from hiercam_keras.errors import UserError

SMALL = {"orders": 2, "families": 2, "genera": 1, "species": 2}
SETTINGS = DatasetSettings(**SMALL)
IDS = [f"{SETTINGS.tree()[s].class_dir}/{i:04d}.jpg" for s, i in ((0, 0), (6, 3))]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("exchanged") / "new"
    return write_interventions(root, SETTINGS, IDS, size=64, seed=5, workers=0)


def _pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def _files(root) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_row_for_each_bird_part_and_way_with_its_files(table):
    rows = read_interventions(table)
    wanted = list(itertools.product(IDS, PARTS, HOWS))
    assert [(row.example_id, row.part, row.how) for row in rows] == wanted
    drawn = {id_: bird_of(SETTINGS, id_, size=64) for id_ in IDS}
    expected = [one for id_ in IDS for one in exchanges(drawn[id_], seed=5)]
    for row, one in zip(rows, expected, strict=True):
        before = drawn[row.example_id].draw()
        found = (row.rank, row.donor, row.changed)
        assert found == (one.rank, one.donor, one.changed)
        assert row.share == pytest.approx(one.mask.mean(), abs=1e-6)
        image, mask = _pixels(table.parent / row.path), _pixels(table.parent / row.mask)
        np.testing.assert_array_equal(image, one.image)
        np.testing.assert_array_equal(mask, np.where(one.mask, 255, 0))
        original = _pixels(table.parent / row.original)
        np.testing.assert_array_equal(original, before.image)
        labels = _pixels(table.parent / row.original_parts)
        np.testing.assert_array_equal(labels, before.parts)
        np.testing.assert_array_equal(image[mask == 0], original[mask == 0])


def test_a_part_without_another_form_is_marked_in_the_table(table):
    """One genus in each family: no sibling has another wing."""
    rows = {(r.part, r.how): r for r in read_interventions(table)[: len(PARTS) * 3]}
    assert not rows["wing", "sibling"].changed and rows["wing", "sibling"].donor == ""
    assert rows["wing", "unrelated"].changed and rows["wing", "removed"].changed
    with table.open(newline="", encoding="utf-8") as file:
        cells = [row["changed"] for row in csv.DictReader(file)]
    assert set(cells) == {"0", "1"}


def test_equal_arguments_give_equal_bytes_in_any_number_of_processes(table, tmp_path):
    again = write_interventions(
        tmp_path / "again", SMALL, IDS, size=64, seed=5, workers=2
    )
    assert _files(again.parent) == _files(table.parent)


def test_a_stopped_run_goes_on_with_the_next_bird(table, tmp_path, monkeypatch):
    root = tmp_path / "stopped"

    def write(**more):
        return write_interventions(
            root, SETTINGS, IDS, size=64, seed=5, workers=0, **more
        )

    def stop(done, total):
        assert (done, total) == (1, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(progress=stop)
    assert not (root / files.TABLE).exists()
    kept = _files(root)
    drawn = []
    monkeypatch.setattr(
        files,
        "exchanges",
        lambda bird, *a, **k: drawn.append(bird) or exchanges(bird, *a, **k),
    )
    write()
    assert [bird.example_id for bird in drawn] == IDS[1:]
    assert _files(root) == _files(table.parent)
    assert kept.items() < _files(root).items()


def test_more_birds_are_added_to_a_folder(table, tmp_path):
    root = tmp_path / "grows"
    for ids in (IDS[:1], IDS, [*IDS, IDS[0]]):
        found = write_interventions(root, SETTINGS, ids, size=64, seed=5, workers=0)
        assert len(read_interventions(found)) == len(set(ids)) * len(PARTS) * len(HOWS)
    assert _files(root) == _files(table.parent)


@pytest.mark.parametrize(
    "other", [{"seed": 6}, {"size": 65}, {"parts": ("wing",)}, {"hows": ("removed",)}]
)
def test_a_folder_of_other_interventions_is_refused(table, other):
    before = _files(table.parent)
    arguments = {"size": 64, "seed": 5, "workers": 0} | other
    with pytest.raises(UserError, match="other settings"):
        write_interventions(table.parent, SETTINGS, IDS, **arguments)
    assert _files(table.parent) == before


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="empty folder"):
        write_interventions(tmp_path, SETTINGS, IDS, size=64, workers=0)


def test_a_full_disk_is_an_error_and_the_next_call_draws_the_bird_again(
    table, tmp_path, monkeypatch
):
    root = tmp_path / "full"
    save = Image.Image.save

    def fail(image, path, **more):
        if "wing" in str(path):
            raise OSError(28, "No space left on device")
        save(image, path, **more)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space"):
        patch.setattr(Image.Image, "save", fail)
        write_interventions(root, SETTINGS, IDS, size=64, seed=5, workers=0)
    write_interventions(root, SETTINGS, IDS, size=64, seed=5, workers=0)
    assert _files(root) == _files(table.parent)


@pytest.mark.parametrize("damage", ["no picture", "empty table", "torn", "no number"])
def test_a_damaged_bird_is_drawn_again(table, tmp_path, damage):
    root = tmp_path / "copy"
    shutil.copytree(table.parent, root)
    (own, _) = (path for path in sorted(root.rglob("*.csv")) if path.parent != root)
    whole = own.read_bytes()
    if damage == "no picture":
        next(own.parent.glob("wing*.png")).unlink()
    else:
        first = read_interventions(own)[0].share
        number = whole.replace(f",{first},".encode(), b",much,", 1)
        left = {"empty table": b"", "torn": whole[:300], "no number": number}[damage]
        own.write_bytes(left)
        assert left != whole
    write_interventions(root, SETTINGS, IDS, size=64, seed=5, workers=0)
    assert _files(root) == _files(table.parent)


def test_parts_ways_and_ids_are_checked_before_anything_is_written(tmp_path):
    root = tmp_path / "none"
    for wrong in ({"parts": ("beak",)}, {"hows": ("swapped",)}):
        with pytest.raises(UserError, match="must be one of"):
            write_interventions(root, SETTINGS, IDS, size=64, workers=0, **wrong)
    with pytest.raises(UserError, match="example_id"):
        write_interventions(root, SETTINGS, [*IDS, "a.jpg"], size=64, workers=0)
    assert not root.exists()


def test_the_size_of_the_data_set_is_the_default(tmp_path):
    found = write_interventions(
        tmp_path / "own", SETTINGS, IDS[:1], parts=(BIRD,), hows=HOWS[:1], workers=0
    )
    (row,) = read_interventions(found)
    size = bird_of(SETTINGS, IDS[0]).size
    assert 150 <= size <= 220
    assert _pixels(found.parent / row.path).shape == (size, size, 3)


def test_a_table_of_other_columns_is_an_error(table, tmp_path):
    text = table.read_text(encoding="utf-8").replace("donor", "giver", 1)
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="giver"):
        read_interventions(tmp_path / "table.csv")


def test_the_sheet_has_the_bird_and_every_exchange():
    bird = bird_of(SETTINGS, IDS[1], size=64)
    sheet = np.asarray(exchange_sheet(bird, parts=(*PARTS, BIRD), seed=2, gap=3))
    shown = [one.image for one in exchanges(bird, (*PARTS, BIRD), seed=2)]
    wanted = [bird.draw().image, *shown]
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (1, 64))[
        ..., 0, :
    ]
    for image in wanted:
        first = (windows == image[0, :, 0]).all(axis=-1)
        places = np.argwhere(first)
        assert any(
            (sheet[y : y + 64, x : x + 64] == image).all() for y, x in places.tolist()
        )
    assert (sheet[-1] == 255).all() and (sheet[:, -1] == 255).all()
