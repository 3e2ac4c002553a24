"""HEIC photographs of phones, and raw ones of cameras."""

import io
import logging
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from configs import default
from hiercam_keras.data import decode, heif, loader, sources, suffixes
from hiercam_keras.data.sources import photos
from hiercam_keras.errors import UserError

SIZE = (96, 64)


def quarters():
    """Four colors, so that every turn and mirror image differs."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[:32, :48], pixels[32:, :48] = (200, 40, 40), (40, 200, 40)
    pixels[:32, 48:], pixels[32:, 48:] = (40, 40, 200), (220, 220, 220)
    return Image.fromarray(pixels)


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


@pytest.fixture
def pillow_heif():
    """The package, which the extra `heif` and requirements-dev.txt install."""
    return pytest.importorskip(
        "pillow_heif", reason="requirements-dev.txt is not installed (pillow-heif)"
    )


@pytest.fixture
def save(pillow_heif, tmp_path):
    def save(name="photo.heic", orientation=1):
        pillow_heif.register_heif_opener()
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        quarters().save(path, "HEIF", exif=exif(orientation), quality=95)
        return path

    return save


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_is_counted_once(save, orientation):
    """As of a JPEG file with the same EXIF data, turned by Pillow."""
    stored = io.BytesIO()
    quarters().save(stored, "JPEG", exif=exif(orientation), quality=95)
    expected = ImageOps.exif_transpose(Image.open(stored))
    facts, pixels = decode.examine(save(orientation=orientation))
    assert pixels.size == expected.size == (facts.width, facts.height)
    assert (facts.format, facts.orientation) == ("HEIF", 1)
    difference = np.asarray(pixels, int) - np.asarray(expected.convert("RGB"), int)
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("pipeline", ["arrays", "tfdata"])
def test_both_pipelines_read_them(save, tmp_path, pipeline):
    """tf.data cannot decode HEIC: it reads the copy that the index makes."""
    if pipeline == "tfdata":
        pytest.importorskip("tensorflow")
    for k in (1, 6):
        save(f"images/crow/{k}.HEIC", orientation=k)
    config = default.get_config().data
    config.update({"image_size": 32, "batch_size": 2, "pipeline": pipeline})
    found = sources.load(config, str(tmp_path / "images"), tmp_path / "cache")
    assert found.report.counts == {"ok": 0, "converted": 2, "unreadable": 0}
    assert [(one.width, one.height) for one in found.records] == [(96, 64), (64, 96)]
    with loader.make_loader(found.records, {}, config) as batches:
        (batch,) = batches.epoch(0)
    first, turned = batch.images.astype(int)
    assert first[4, 4].argmax() == 0 and first[-4, 4].argmax() == 1  # red over green
    assert turned[4, -4].argmax() == 0 and turned[4, 4].argmax() == 1  # beside it


def test_without_the_package_they_are_left_out_until_it_is_there(
    save, tmp_path, monkeypatch
):
    save("images/crow/1.heic")
    quarters().save(tmp_path / "images" / "crow" / "2.jpg")
    config, data = default.get_config().data, str(tmp_path / "images")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        heif.register.cache_clear()
        found = sources.load(config, data, tmp_path / "cache")
        ((name, why),) = found.report.unreadable
        assert name == "crow/1.heic" and 'pip install ".[heif]"' in why
    heif.register.cache_clear()
    assert len(sources.load(config, data, tmp_path / "cache").records) == 2


def test_what_is_heif_says_its_content():
    def head(*brands):
        body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
        return (len(body) + 4).to_bytes(4, "big") + body + b"after" * 9

    assert heif.is_heif(head(b"heic", b"mif1"))
    assert heif.is_heif(head(b"mif1", b"heix", b"miaf"))
    assert heif.is_heif(head(b"mif1", b"miaf"))
    assert not heif.is_heif(head(b"avif", b"mif1", b"miaf"))
    assert not heif.is_heif(head(b"isom", b"mp42"))
    assert not heif.is_heif(b"\xff\xd8\xff\xe0") and not heif.is_heif(b"")


@pytest.fixture
def camera(tmp_path):
    """One JPEG photograph and five raw ones, of three makers."""
    folder = tmp_path / "images" / "crow"
    folder.mkdir(parents=True)
    quarters().save(folder / "1.jpg")
    for name in ("1.NEF", "2.nef", "3.nef", "a.CR2", "b.dng", "notes.txt"):
        (folder / name).write_bytes(b"II*\0")
    return tmp_path / "images"


def test_raw_photographs_are_counted_by_name(camera, tmp_path, caplog):
    config = default.get_config().data
    with caplog.at_level(logging.WARNING):
        found = sources.load(config, str(camera), tmp_path / "cache")
    assert len(found.records) == 1
    said = caplog.text
    for words in ("3 .nef (raw photographs", "1 .cr2 (raw", "1 .dng (raw"):
        assert words in said and words in found.report.summary()
    assert "1 file without an image suffix" in found.report.summary()


def test_raw_photographs_alone_are_the_reason(camera, tmp_path):
    (camera / "crow" / "1.jpg").unlink()
    with pytest.raises(UserError, match=r"Passed by: .*3 \.nef \(raw photographs"):
        sources.load(default.get_config().data, str(camera), tmp_path / "cache")
    with pytest.raises(UserError, match="a raw photograph.*export it as JPEG"):
        photos.load_photos(camera / "crow" / "a.CR2", tmp_path / "cache")


def test_every_suffix_is_of_one_kind():
    assert not set(suffixes.IMAGES) & set(suffixes.RAW)
    assert suffixes.raw_kind("photo.jpg") == suffixes.raw_kind("nef") == ""
