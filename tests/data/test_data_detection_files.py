"""Files of detections are recognized by their content."""

import json
import shutil

import pytest

from hiercam_keras.data import detection_files
from hiercam_keras.errors import UserError

MD = {"images": [], "detection_categories": {}}
COCO = {"images": [], "annotations": [], "categories": []}


def written(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("document", "format"), [(MD, "MegaDetector JSON"), (COCO, "COCO JSON")]
)
@pytest.mark.parametrize("name", ["x.json", "x.txt", "ä b"])
def test_json_is_recognized_under_any_name(tmp_path, document, format, name):
    found = detection_files.read(written(tmp_path / name, document), tmp_path)
    assert found.format == format
    # As Windows editors write it.
    bom = written(tmp_path / name, "\ufeff" + json.dumps(document))
    assert detection_files.read(bom, tmp_path).format == format


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n", "found what is no JSON file"),
        ("[1, 2]", "found JSON with a list"),
        ('{"images": [], "x": 1}', "JSON with the fields images, x"),
    ],
)
def test_other_files_are_refused(tmp_path, text, why):
    path = written(tmp_path / "x.json", text)
    with pytest.raises(UserError, match=why):
        detection_files.read(path, tmp_path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        detection_files.read(tmp_path / "no.json", tmp_path)
    with pytest.raises(UserError, match="is a folder without datapackage.json"):
        detection_files.read(tmp_path, tmp_path)


def test_too_many_rows_with_faults_are_an_error(tmp_path):
    """Up to the share they are left out."""
    good = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.5, 0.5]}
    rows = [{"file": f"{n}.jpg", "detections": [good]} for n in range(30)]
    rows[3]["detections"] = [{**good, "conf": 9}]
    document = {**MD, "detection_categories": {"1": "animal"}, "images": rows}
    path = written(tmp_path / "x.json", document)
    found = detection_files.read(path, tmp_path)
    assert (len(found.detections), len(found.unread)) == (29, 1)
    for row in rows[:10]:
        row["detections"] = [{**good, "conf": 9}]
    with pytest.raises(UserError, match="10 of 60 rows of x.json .*score is not in"):
        detection_files.read(written(path, document), tmp_path)


def test_the_boxes_of_a_real_package(real_data, tmp_path):
    """Twenty boxes of two bursts; of one of them the files are there."""
    package = real_data / "camtrap_dp"
    found = detection_files.read(package, tmp_path)
    assert found.format == "Camtrap DP" and len(found.photos) == 423
    assert len(found.detections) == 20
    here = {one.name for one in (package / "media").iterdir()}
    boxed = [one for one in found.detections if one.file.split("/")[-1] in here]
    assert len(boxed) == len(here) == 10
    for one in boxed:
        assert (one.kind, one.index, one.confidence) == ("animal", 1, None)
        assert one.classifications == (("Ardea", 1.0),)
        assert found.groups[one.file] == found.groups[boxed[0].file]
    # By its descriptor it is the same.
    again = detection_files.read(package / "datapackage.json", tmp_path)
    assert again.detections == found.detections


def test_the_boxes_of_a_package_in_an_archive(real_data, tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    for path in (real_data / "camtrap_dp").glob("*.[cj]s*"):
        shutil.copy(path, folder)
    archive = shutil.make_archive(str(tmp_path / "p"), "zip", folder)
    assert len(detection_files.read(archive, tmp_path / "cache").detections) == 20
