"""Who made a photograph: attribution.csv in its several forms."""

import os
from pathlib import Path

import pytest

from hiercam_keras.data.sources.credits import read_credits


def test_credits_by_example(tmp_path):
    (tmp_path / "ATTRIBUTION.csv").write_text(
        'file,licence,attribution\na/x.jpg,CC-BY,"Photo by ""A"", Oslo"\n'
        "images/b/y.jpg,CC0,\nb/z.jpg,,\n"
    )
    assert read_credits(tmp_path) == {
        "a/x.jpg": 'Photo by "A", Oslo (CC-BY)',
        "b/y.jpg": "CC0",
    }


def test_other_columns_and_places(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "attribution.csv").write_text("Path,Author\na/x.jpg,B\n")
    assert read_credits(images) == {"a/x.jpg": "B"}
    assert read_credits(tmp_path / "nothing") == {}


def test_a_damaged_file_is_left_out(tmp_path, caplog):
    (tmp_path / "attribution.csv").write_bytes(b"file,author\n\xff\xfe,x\n")
    assert read_credits(tmp_path) == {}


def test_real_photographs_have_credits():
    real = os.environ.get("HIERCAM_REAL_DATA")
    if not real:
        pytest.skip("HIERCAM_REAL_DATA is not set")
    found = read_credits(Path(real) / "bird_photos")
    images = {
        str(path.relative_to(Path(real) / "bird_photos"))
        for path in (Path(real) / "bird_photos").glob("*/*.jpg")
    }
    assert images <= set(found)
