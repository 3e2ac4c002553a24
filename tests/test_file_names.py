"""File names are unique for all texts."""

import os
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hiercam_keras import file_names, workdir

MARKED = r"~[0-9a-f]{12}"

# Few characters, so that names are often similar, and parts with a special meaning.
_parts = st.lists(
    st.sampled_from([*"ax_. -~/\\:CON", "__", "é", "e\u0301", "\n", ".jpg", ".png"]),
    max_size=8,
).map("".join)
_texts = st.one_of(
    _parts,
    st.text(max_size=300),
    st.text("aé鳥🐦/", min_size=60, max_size=300),
    _parts.map(file_names.file_name),
    _parts.map(lambda text: file_names.flat_name(text, ".jpg")),
)
FUNCTIONS = {
    "file_name": lambda text: file_names.file_name(text, ".png"),
    "folder": file_names.file_name,
    "flat_name": lambda text: file_names.flat_name(text, ".png"),
    "words_name": file_names.words_name,
    "taxon": lambda text: file_names.flat_name(text[::2], ".png", f"T{text[1::2]}"),
    "image_path": lambda text: file_names.image_path(text, ".png"),
    "joined_name": lambda text: file_names.joined_name(text.split("/"), "__"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=75, deadline=None)
@given(texts=st.lists(_texts, min_size=2, max_size=16, unique=True))
@example(texts=["a/x.jpg", "a__x.jpg", "a/x", "a/x.png", "a/x.png.jpg", "a_/_x.jpg"])
def test_every_text_has_a_name_of_its_own(name, texts):
    found = [FUNCTIONS[name](text) for text in texts]
    assert len(set(found)) == len(texts)
    # Disks that compose accents see one file in "é" and "e" with an accent.
    assert [unicodedata.normalize("NFC", one) for one in found] == found
    for path in found:
        for part in path.split("/"):
            assert 0 < len(part.encode()) <= file_names.MAX_BYTES
            assert not set(part) & set('<>:"\\|?*\n\r\t\0')
            assert part[0] not in ". " and part[-1] not in ". "
            assert part.split(".")[0].upper() not in {"CON", "PRN", "NUL", "COM1"}


@settings(max_examples=20, deadline=None)
@given(texts=st.sets(_texts, min_size=2, max_size=12))
def test_all_of_them_fit_on_one_disk(tmp_path_factory, texts):
    """Paths do not collide, even if one id is the folder of another."""
    folder = tmp_path_factory.mktemp("names")
    for text in texts:
        path = folder / file_names.image_path(text, ".jpg")
        assert not path.exists()
        workdir.write_text(path, text.encode(errors="replace").decode())
    assert sum(path.is_file() for path in folder.rglob("*")) == len(texts)


@pytest.mark.parametrize(
    "example_id, stem",
    [
        ("03114_A_nisus/0a1b.jpg", "03114_A_nisus/0a1b"),
        ("x.jpg", "x"),
        ("x.png", "x.png"),
        ("a/x.JPG", "a/x.JPG"),
        ("a/x.jpeg", "a/x.jpeg"),
        ("my birds/IMG.2020.01.jpg", "my birds/IMG.2020.01"),
        ("DSC_0001.jpg", "DSC_0001"),
        ("Grünfink é.jpg", "Grünfink é"),
        ("a/x.jpg#2", "a/x.jpg#2"),
        ("x.JPG#12", "x.JPG#12"),
    ],
)
def test_ordinary_names_stay_readable(example_id, stem):
    assert file_names.image_path(example_id, ".png") == f"{stem}.png"
    assert file_names.flat_name(example_id, ".png") == (
        f"{stem.replace('/', '__')}.png"
    )


def test_taxa_ranks_and_data_sets():
    assert file_names.words_name("Accipiter nisus") == "Accipiter_nisus"
    name = file_names.flat_name("a/x.jpg", ".png", "Accipiter nisus")
    assert name == "a__x__Accipiter_nisus.png"
    assert file_names.file_name("confusion_family", ".csv") == "confusion_family.csv"
    assert file_names.file_name("bird_train-a1b2c3") == "bird_train-a1b2c3"
    assert file_names.joined_name(("family", "species"), "+") == "family+species"


def matches(name, start, suffix=""):
    return re.fullmatch(re.escape(start) + MARKED + re.escape(suffix), name)


def test_other_names_get_a_mark():
    assert matches(file_names.words_name("Crows/Jays"), "Crows-Jays")
    # The same letters once blanks are replaced.
    assert matches(file_names.words_name("a_b"), "a_b")
    assert matches(file_names.flat_name("a__b.jpg", ".png"), "a__b", ".png")
    # Without a suffix of an image it could be x.jpg's.
    assert matches(file_names.image_path("a/x", ".png"), "a/x", ".png")
    assert matches(file_names.image_path("a/x.png.jpg", ".jpg"), "a/x.png", ".jpg")
    assert matches(file_names.file_name("nul.tar"), "_nul.tar")
    assert matches(file_names.file_name(" .."), "_")
    long = file_names.file_name("ü" * 120, ".png")
    assert matches(long, "ü" * ((200 - 4 - 13) // 2), ".png")
    marked = file_names.file_name("a/b")
    assert matches(file_names.file_name(marked), marked)


def test_a_name_that_is_no_text_has_one_too():
    """File names that are not UTF-8, as Python decodes them."""
    name = os.fsdecode(b"x\xff.jpg")
    assert matches(file_names.image_path(name, ".jpg"), "x-", ".jpg")
    assert file_names.image_path(os.fsdecode(b"x\xfe.jpg"), ".jpg") != (
        file_names.image_path(name, ".jpg")
    )
