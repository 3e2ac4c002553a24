import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data.sources.photos import load_photos
from hiercam_keras.errors import UserError


def test_one_photograph(tmp_path, bird_folder, class_names, pattern):
    Image.fromarray(pattern(30, 20)).save(tmp_path / "mine.jpg")
    (record,) = load_photos(tmp_path / "mine.jpg", tmp_path / "cache")
    assert (record.example_id, record.lineage) == ("mine.jpg", None)
    assert (record.width, record.height) == (30, 20)
    (known,) = load_photos(str(bird_folder / class_names[0] / "2.jpg"), tmp_path / "c")
    assert known.lineage.display_name("species") == "Cygnus olor"


def test_folder_and_glob(tmp_path, bird_folder, class_names):
    cache = tmp_path / "cache"
    everything = load_photos(bird_folder, cache)
    assert len(everything) == 12
    assert everything[0].example_id == f"{class_names[0]}/0.jpg"
    some = load_photos(f"{bird_folder}/*/[01].jpg", cache)
    assert [r.example_id for r in some] == sorted(
        f"{name}/{i}.jpg" for name in class_names for i in (0, 1)
    )
    assert some == load_photos(f"{bird_folder}/**/[01].jpg", cache)


def test_turned_and_cmyk_are_converted(tmp_path, pattern):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pattern(60, 40)).save(tmp_path / "a.jpg", exif=turned)
    Image.fromarray(pattern(60, 40)).convert("CMYK").save(tmp_path / "b.jpg")
    a, b = load_photos(tmp_path / "*.jpg", tmp_path / "cache")
    assert (a.width, a.height) == (40, 60)
    for record in (a, b):
        with Image.open(record.path) as image:
            assert image.mode == "RGB" and image.size == (record.width, record.height)
    # Asking for one alone leaves the other's copy where it is.
    load_photos(tmp_path / "a.jpg", tmp_path / "cache")
    assert b.path.is_file()


def test_no_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"a\.jpg is no image .*not an image"):
        load_photos(tmp_path / "a.jpg", tmp_path / "cache")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="none of 2 files"):
        load_photos(tmp_path / "*.jpg", tmp_path / "cache")
    Image.new("RGB", (20, 20)).save(tmp_path / "c.jpg")
    (left,) = load_photos(tmp_path, tmp_path / "cache")
    assert left.example_id == "c.jpg"


@pytest.mark.parametrize(
    "pattern",
    [
        "my [birds]/*.jpg",
        "my [birds]/red [1]?.jpg",
        "my [birds]",
        "my [birds]/red [1]a.jpg",
        "*/red [1]*.jpg",
        "my [birds]/**/*.jpg",
    ],
)
def test_what_exists_is_taken_before_a_pattern(tmp_path, pattern, monkeypatch):
    """Brackets are a pattern only where no folder has that name."""
    (tmp_path / "my [birds]").mkdir()
    (tmp_path / "my b").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "my b" / "other.jpg")
    Image.new("RGB", (20, 20)).save(tmp_path / "my [birds]" / "red [1]a.jpg")
    (found,) = load_photos(tmp_path / pattern, tmp_path / "cache")
    assert found.path.parent.name == "my [birds]"
    monkeypatch.chdir(tmp_path)
    assert load_photos(pattern, tmp_path / "cache")[0].width == 20
    (other,) = load_photos("my [abc]/*.jpg", tmp_path / "cache")
    assert other.example_id == "other.jpg"


@pytest.mark.parametrize("name", ["nothing.jpg", "*.png", "empty"])
def test_nothing_matches(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="matches no image"):
        load_photos(tmp_path / name, tmp_path / "cache")


def test_circular_links_end(tmp_path):
    (tmp_path / "in" / "loop").mkdir(parents=True)
    (tmp_path / "in" / "loop" / "back").symlink_to(tmp_path / "in")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "in" / "a.png")
    assert len(load_photos(tmp_path / "in", tmp_path / "cache")) == 1
