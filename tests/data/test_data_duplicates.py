"""Photographs that are in a data set more than once."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hiercam_keras.data import decode, duplicates, fingerprints, index, sources
from hiercam_keras.data.records import Record
from hiercam_keras.taxonomy.lineage import Lineage

RANKS = ("family", "species")
CROW = Lineage(("Corvidae", "Crow"), RANKS)
JAY = Lineage(("Corvidae", "Jay"), RANKS)


def record(name, look=0, lineage=None, pixels="", size=(40, 30)):
    return Record(name, Path(name), lineage, *size, dhash=f"{look:016x}", pixels=pixels)


def picture(seed):
    """Smooth shapes with some noise, 120 x 90."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
    values = np.asarray(shapes.resize((120, 90), Image.Resampling.BICUBIC))
    noise = rng.integers(0, 20, values.shape)
    return Image.fromarray((values * 0.9 + noise).astype(np.uint8))


@pytest.fixture
def photo():
    """A photograph."""
    return picture(0)


@pytest.fixture
def folder(tmp_path, class_names, photo):
    """Copies of one photograph in two class folders, and other photographs."""
    root = tmp_path / "images"
    for name in class_names[:2]:
        (root / name).mkdir(parents=True)
    a, b = (root / name for name in class_names[:2])
    photo.save(a / "one.jpg", quality=90)
    decoded = Image.open(a / "one.jpg").convert("RGB")
    (a / "again.jpg").write_bytes((a / "one.jpg").read_bytes())
    decoded.save(b / "as.png")
    # Other bytes of the same pixels: stored turned, and with a comment.
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = decoded.transpose(Image.Transpose.ROTATE_90)
    upright.save(b / "turned.png", exif=turned)
    data = (a / "one.jpg").read_bytes()
    (b / "comment.jpg").write_bytes(data[:2] + b"\xff\xfe\x00\x06bird" + data[2:])
    decoded.resize((80, 60), Image.Resampling.LANCZOS).save(a / "small.jpg")
    other = np.asarray(decoded).copy()
    other[45, 60] ^= 1  # one pixel, that the sketch may not see
    Image.fromarray(other).save(a / "pixel.png")
    for number in range(1, 5):
        picture(number).save(a / f"{number}.jpg")
    return root


EXACT = {"again.jpg", "as.png", "comment.jpg", "one.jpg", "turned.png"}


def names(found):
    return {one.example_id.split("/")[1] for one in found}


def test_copies_have_the_same_pixels_under_any_name(data_config, folder):
    source = sources.load(data_config, str(folder))
    (copies,) = duplicates.exact_copies(source.records)
    assert names(copies) == EXACT
    assert duplicates.of_several_classes([copies]) == [copies]
    first = min(one.example_id for one in copies)
    assert duplicates.groups([copies]) == {one.example_id: first for one in copies}


def test_copies_of_another_folder_are_found(data_config, folder, tmp_path):
    """Of those with equal hashes the pixels decide: one differs, or the format does."""
    new = tmp_path / "new" / next(folder.iterdir()).name
    new.mkdir(parents=True)
    old = next(folder.rglob("one.jpg"))
    Image.open(old).save(new / "renamed.png")
    shutil.copy(old, new / "renamed.jpg")
    for name in ("pixel.png", "small.jpg"):
        shutil.copy(next(folder.rglob(name)), new / f"other_{name}")
    picture(77).save(new / "new.jpg")
    Image.new("RGB", (120, 90)).save(new / "black.png")
    records = sources.load(data_config, str(new.parent)).records
    used = [
        one
        for one in sources.load(data_config, str(folder)).records
        if names([one]) == {"one.jpg"}
    ]
    exact, near = duplicates.copies_of(records, used)
    assert names(one.record for one in exact) == {"renamed.png", "renamed.jpg"}
    assert names(one.record for one in near) == {"other_pixel.png", "other_small.jpg"}
    assert {one.of.example_id for one in (*exact, *near)} == {used[0].example_id}
    assert duplicates.copies_of(records, []) == ([], [])


def test_near_copies_are_listed_once_with_the_nearest(data_config, folder):
    source = sources.load(data_config, str(folder))
    near = duplicates.near_copies(source.records)
    # Of those that look the same, each with one before it that is no exact copy.
    assert names(one.record for one in near) >= {"pixel.png", "small.jpg"}
    assert names(one.record for one in near) <= EXACT | {"pixel.png", "small.jpg"}
    for one in near:
        assert one.bits <= duplicates.NEAR_BITS
        assert one.record.pixels != one.of.pixels or not one.record.pixels


def test_only_files_that_look_the_same_are_compared_in_full(
    data_config, folder, monkeypatch
):
    seen = []
    digest = fingerprints.pixels_digest
    monkeypatch.setattr(
        fingerprints, "pixels_digest", lambda image: seen.append(1) or digest(image)
    )
    sources.load(data_config, str(folder))
    assert len(EXACT) <= len(seen) <= len(EXACT) + 2
    seen.clear()
    sources.load(data_config, str(folder))
    assert not seen


def test_a_copy_that_comes_later_is_found(data_config, folder):
    for path in folder.rglob("*"):
        if path.name in EXACT - {"one.jpg"} | {"pixel.png"}:
            path.rename(path.with_name(f".{path.name}"))
    source = sources.load(data_config, str(folder))
    assert not any(one.pixels for one in source.records)
    for path in folder.rglob(".*"):
        path.rename(path.with_name(path.name[1:]))
    source = sources.load(data_config, str(folder))
    assert [names(one) for one in duplicates.exact_copies(source.records)] == [EXACT]


def test_an_index_of_the_first_version_is_read_and_completed(data_config, folder):
    """Its converted copies stay as they are, and nothing counts as changed."""
    new = sources.load(data_config, str(folder))
    place = new.report.index_dir / "index.json"
    old = json.loads(place.read_text())
    rows = {name: row[:10] for name, row in old["files"].items()}
    place.write_text(json.dumps({**old, "schema_version": 1, "files": rows}))
    copies = list((place.parent / "converted").iterdir())
    before = {one: one.stat().st_mtime_ns for one in copies}
    assert before
    again = sources.load(data_config, str(folder))
    report = again.report
    assert (report.added, report.changed, report.removed) == (0, 0, 0)
    assert again.records == new.records
    assert json.loads(place.read_text()) == old
    assert {one: one.stat().st_mtime_ns for one in copies} == before
    # And a file that is gone takes its copy along, as always.
    place.write_text(json.dumps({**old, "schema_version": 1, "files": rows}))
    next(folder.rglob("turned.png")).unlink()
    assert sources.load(data_config, str(folder)).report.removed == 1
    assert not list((place.parent / "converted").iterdir())


def test_the_hash_by_hand():
    """Cells from dark to bright, from bright to dark, and alike: 255, 0 and 0."""
    values = np.zeros((64, 72), np.uint8)
    values[0:8] = np.repeat(np.arange(9) * 20, 8)
    values[8:16] = np.repeat(np.arange(9)[::-1] * 20, 8)
    values[16:24] = np.repeat(np.arange(9) * 2, 8)  # no more than noise
    image = Image.fromarray(np.stack([values] * 3, axis=-1))
    _, look = fingerprints.sketch(image)
    assert look == "ff" + "00" * 7
    # A size of its own, and all pixels of it.
    assert (
        fingerprints.sketch(image)[0]
        != fingerprints.sketch(image.resize((144, 128), Image.Resampling.NEAREST))[0]
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6),
    st.lists(
        st.tuples(st.integers(0, 5), st.lists(st.integers(0, 63), max_size=7)),
        max_size=12,
    ),
    st.integers(0, 7),
)
def test_near_copies_are_those_of_all_pairs(bases, changes, most):
    looks = list(bases)
    for base, flips in changes:
        look = bases[base % len(bases)]
        for bit in flips:
            look ^= 1 << bit
        looks.append(look)
    records = [record(f"{i:02d}", look) for i, look in enumerate(looks)]
    records = [one for one in records if duplicates._has_look(one)]
    wanted = []
    for number, one in enumerate(records):
        bits = [
            ((int(one.dhash, 16) ^ int(other.dhash, 16)).bit_count(), i)
            for i, other in enumerate(records[:number])
        ]
        near = min((pair for pair in bits if pair[0] <= most), default=None)
        if near:
            wanted.append(duplicates.Near(one, records[near[1]], near[0]))
    assert duplicates.near_copies(records[::-1], most) == wanted


def test_other_shapes_flat_images_and_copies_are_no_near_copies():
    look = 0x0123456789ABCDEF
    assert duplicates.near_copies([record("a", look), record("b", look)])
    wide = record("b", look, size=(40, 20))
    assert not duplicates.near_copies([record("a", look), wide])
    for flat in (0, 0b11111, 2**64 - 1):
        assert not duplicates.near_copies([record("a", flat), record("b", flat)])
    same = [record("a", look, pixels="p"), record("b", look, pixels="p")]
    assert not duplicates.near_copies(same)


def test_classes_of_copies():
    same = (record("a", lineage=CROW), record("b", lineage=CROW), record("c"))
    other = (record("d", lineage=CROW), record("e", lineage=JAY))
    assert duplicates.of_several_classes([same, other]) == [other]


def test_drawn_birds_are_no_copies(data_config, tmp_path):
    from hiercam_keras import birds

    root = tmp_path / "birds"
    shape = {"orders": 1, "families": 1, "genera": 1, "species": 2}
    birds.write_dataset(
        root,
        workers=0,
        images_per_species=12,
        image_size=(64, 80),
        habitat_correlation=1.0,
        **shape,
    )
    records = sources.load(data_config, str(root)).records
    assert len(records) == 24
    assert duplicates.exact_copies(records) == []


def test_real_photographs_and_their_smaller_copies(real_data, tmp_path):
    """All of 54 are found at half the size, and no two different ones."""
    files = {}
    for number, path in enumerate(sorted((real_data / "bird_photos").rglob("*.jpg"))):
        with Image.open(path) as image:
            half = image.convert("RGB")
            half = half.resize((half.width // 2, half.height // 2))
        half.save(tmp_path / f"{number:02d}b.jpg", quality=85)
        files |= {
            f"{number:02d}a": path,
            f"{number:02d}b": tmp_path / f"{number:02d}b.jpg",
        }
    entries = index.scan(tmp_path, tmp_path / "cache", files).entries
    records = [
        dataclasses.replace(
            record(name, int(entry.dhash, 16), size=(entry.width, entry.height)),
            pixels=entry.pixels,
        )
        for name, entry in entries.items()
    ]
    near = duplicates.near_copies(records)
    assert all(one.record.example_id[:2] == one.of.example_id[:2] for one in near)
    assert len(near) >= 52
    assert duplicates.exact_copies(records) == []


def test_a_file_that_breaks_between_two_looks(tmp_path, photo, monkeypatch):
    files = {name: tmp_path / name for name in ("a.png", "b.png")}
    for path in files.values():
        photo.save(path)
    examine, calls = decode.examine, []

    def breaks(path):
        calls.append(path)
        if len(calls) > 2:
            raise decode.BadImage("gone")
        return examine(path)

    monkeypatch.setattr(decode, "examine", breaks)
    found = index.scan(tmp_path, tmp_path / "cache", files, workers=1)
    assert {one.verdict for one in found.entries.values()} == {"ok"}
    assert {one.pixels for one in found.entries.values()} == {""}
