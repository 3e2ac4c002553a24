"""Which mask belongs to which image."""

import logging

import pytest

from hiercam_keras.data.sources.label_files import LabelFiles


@pytest.fixture
def find(tmp_path):
    def find(images, masks):
        for name in masks:
            (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "masks" / name).write_text("")
        files = LabelFiles(tmp_path, "masks", images)
        found = {name: files.find(name) for name in images}
        return [
            path and path.relative_to(tmp_path / "masks").as_posix()
            for path in found.values()
        ]

    return find


def test_one_image_of_a_stem_has_the_file_of_the_stem(find, caplog):
    images = ["a/x.jpg", "b/x.png", "b/y.v1.JPG", "b/y.v2.jpg", "c/x.jpg"]
    masks = ["a/x.png", "b/x.png", "b/y.v1.png", "b/y.v2.jpg.png"]
    assert find(images, masks) == [*masks, None]
    assert not caplog.records


def test_a_file_that_could_be_of_several_images_is_of_none(find, caplog):
    caplog.set_level(logging.WARNING)
    images = ["a/x.jpg", "a/x.png", "a/y.jpg", "a/y.jpeg", "a/y.tif"]
    masks = ["a/x.png", "a/y.png", "a/y.tif.png"]
    assert find(images, masks) == [None, None, None, None, "a/y.tif.png"]
    assert caplog.messages == [
        f"2 files of {caplog.records[0].args[1]} are not used, as each could belong to "
        "several images: a/x.png to a/x.jpg or a/x.png. Name a file after the whole "
        "name of its image, as in a/x.jpg.png"
    ]


def test_the_file_of_a_stem_is_of_the_one_image_that_has_no_other(find, caplog):
    images = ["a/x.jpg", "a/x.png", "a/x.tif"]
    masks = ["a/x.png", "a/x.png.png", "a/x.tif.png"]
    assert find(images, masks) == masks
    assert not caplog.records
