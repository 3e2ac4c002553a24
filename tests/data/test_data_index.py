import json
import os

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import decode, fingerprints, index, sources


@pytest.fixture
def mixed_folder(tmp_path, pattern, class_names):
    """A folder with one file of each kind, and what becomes of it."""
    root = tmp_path / "mixed"
    folder = root / class_names[0]
    folder.mkdir(parents=True)
    good = Image.fromarray(pattern(64, 48))
    turned = Image.Exif()
    turned[0x0112] = 6
    good.save(folder / "good.jpg")
    good.save(folder / "good.png")
    good.save(folder / "png.jpg", format="PNG")
    good.save(folder / "webp.jpg", format="WEBP")
    good.save(folder / "gif.jpg", format="GIF")
    good.convert("L").save(folder / "gray.jpg")
    good.convert("CMYK").save(folder / "cmyk.jpg")
    good.convert("RGBA").save(folder / "alpha.png")
    good.save(folder / "turned.jpg", exif=turned)
    Image.fromarray(np.full((30, 40), 40000, np.uint16)).save(folder / "deep.png")
    Image.new("RGB", (20000, 50), "navy").save(folder / "wide.jpg")
    Image.new("RGB", (1, 1)).save(folder / "dot.jpg")
    data = (folder / "good.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a bird")
    return root


CLEAN = {"good.jpg", "good.png", "png.jpg"}
BAD = {"dot.jpg", "half.jpg", "empty.jpg", "text.jpg"}


def names(pairs):
    return {name.split("/")[1] for name, _ in pairs}


def test_every_file_has_a_verdict(data_config, mixed_folder):
    source = sources.load(data_config, str(mixed_folder))
    report = source.report
    assert report.counts == {"ok": 3, "converted": 8, "unreadable": 4}
    assert names(report.unreadable) == BAD
    assert {
        r.example_id.split("/")[1]
        for r in source.records
        if r.path.parent.name != "converted"
    } == CLEAN
    summary = report.summary()
    assert "15 image files: 3 fine as they are, 8 converted, 4 left out" in summary
    assert "empty.jpg: the file is empty (0 bytes)" in summary
    json.dumps(report.to_json())


def test_copies_are_clean_and_upright(data_config, mixed_folder):
    for record in sources.load(data_config, str(mixed_folder)).records:
        facts, image = decode.examine(record.path)
        assert facts.why_convert == ""
        name = record.example_id.split("/")[1]
        if name == "wide.jpg":
            # Boxes refer to the original's pixels; the copy is decoded.
            assert (record.width, record.height) == (20000, 50)
            assert image.size == (4096, 10)
        else:
            assert image.size == (record.width, record.height)
        if name == "turned.jpg":
            assert image.size == (48, 64)
            # Stored top left (red) is displayed top right.
            red = np.asarray(image).astype(int)[5, -5]
            assert red[0] > red[1] + 50
        if name == "deep.png":
            assert (np.asarray(image) == 40000 >> 8).all()


def test_second_scan_decodes_nothing(data_config, mixed_folder, monkeypatch):
    first = sources.load(data_config, str(mixed_folder))
    assert first.report.added == 15
    monkeypatch.setattr(decode, "examine", None)
    second = sources.load(data_config, str(mixed_folder))
    assert second.records == first.records
    assert (second.report.added, second.report.changed, second.report.removed) == (
        0,
        0,
        0,
    )


def test_changes_are_noticed(data_config, mixed_folder, class_names):
    folder = mixed_folder / class_names[0]
    before = sources.load(data_config, str(mixed_folder))
    copies = before.report.index_dir / "converted"
    assert len(list(copies.iterdir())) == 8
    Image.new("RGB", (30, 40)).save(folder / "text.jpg")  # mended
    Image.new("RGB", (30, 40)).save(folder / "new.jpg")
    (folder / "gray.jpg").unlink()
    os.utime(folder / "cmyk.jpg", ns=(1, 1))
    after = sources.load(data_config, str(mixed_folder))
    report = after.report
    assert (report.added, report.changed, report.removed) == (1, 2, 1)
    assert names(report.unreadable) == BAD - {"text.jpg"}
    # gray.jpg's copy is gone; cmyk.jpg has a new one and the old one is gone.
    assert len(list(copies.iterdir())) == 7
    assert "1 new, 2 changed, 1 gone" in report.summary()


def test_lost_copy_is_made_again(data_config, mixed_folder):
    first = sources.load(data_config, str(mixed_folder))
    copy = next(r.path for r in first.records if r.path.parent.name == "converted")
    copy.unlink()
    second = sources.load(data_config, str(mixed_folder))
    assert copy.is_file() and second.records == first.records


@pytest.mark.parametrize("damage", ["", "{", '{"schema_version": 0}', "[1]", "null"])
def test_a_damaged_index_is_rebuilt(data_config, bird_folder, damage):
    first = sources.load(data_config, str(bird_folder))
    (first.report.index_dir / "index.json").write_text(damage)
    second = sources.load(data_config, str(bird_folder))
    assert second.records == first.records and second.report.added == 12


@pytest.mark.parametrize(("every", "left"), [(4, 6), (5000, 6)])
def test_interrupted_scan_goes_on(data_config, bird_folder, monkeypatch, every, left):
    """However few were read: the next saving may be thousands of files away."""
    monkeypatch.setattr(index, "_SAVE_EVERY", every)
    examine, seen = decode.examine, []

    def dies(path):
        seen.append(path)
        if len(seen) > 6:
            raise KeyboardInterrupt
        return examine(path)

    data_config.workers = 1
    monkeypatch.setattr(decode, "examine", dies)
    monkeypatch.setattr(index, "_BLOCK", 2)
    with pytest.raises(KeyboardInterrupt):
        sources.load(data_config, str(bird_folder))
    monkeypatch.setattr(decode, "examine", examine)
    assert sources.load(data_config, str(bird_folder)).report.added == left


def test_digests_before_an_interrupt_are_kept(data_config, bird_folder, monkeypatch):
    for path in sorted(bird_folder.rglob("*.jpg")):
        path.with_suffix(".png").write_bytes(path.read_bytes())  # a copy
    digest, seen = fingerprints.digest_of, []

    def dies(path):
        seen.append(path)
        if len(seen) > 6:
            raise KeyboardInterrupt
        return digest(path)

    data_config.workers = 1
    monkeypatch.setattr(fingerprints, "digest_of", dies)
    monkeypatch.setattr(index, "_BLOCK", 2)
    with pytest.raises(KeyboardInterrupt):
        sources.load(data_config, str(bird_folder))
    before = len(seen)
    monkeypatch.setattr(
        fingerprints, "digest_of", lambda path: seen.append(path) or "x"
    )
    found = sources.load(data_config, str(bird_folder))
    total = sum(bool(record.pixels) for record in found.records)
    assert total >= 24 and len(seen) - before == total - 6


def test_workers_do_not_matter(data_config, mixed_folder, tmp_path):
    first = sources.load(data_config, str(mixed_folder))
    data_config.workers = 1
    second = sources.load(data_config, str(mixed_folder), cache_dir=tmp_path / "other")
    assert [(r.example_id, r.width) for r in first.records] == [
        (r.example_id, r.width) for r in second.records
    ]
    for a, b in zip(first.records, second.records, strict=True):
        assert a.path.read_bytes() == b.path.read_bytes()
