#!/usr/bin/env bash
# Guess: a COCO dataset that is read and written again keeps the license of each picture, or
#   leaves the fields away.
# Instead: DetectionDataset.as_coco states "CC BY 4.0" for every picture, whatever was read: a
#   CC BY-NC-ND photograph is published as CC BY. The date of capture becomes the time of the
#   export, category ids and supercategories (the taxonomy, in many files) are replaced, and
#   further fields (location, seq_id) are dropped. No argument changes it, nothing is logged.
# Seen with: supervision 0.25.1 and 0.31.2.
# Hits: camera-trap and iNaturalist pictures, whose licenses differ picture by picture and whose
#   split by location or time needs those fields.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "supervision==0.31.2" "opencv-python-headless==4.14.0.94" "numpy==2.4.6" \
    "pillow==13.0.0"
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.metadata
import json
import pathlib

import supervision as sv
from PIL import Image

print("supervision", importlib.metadata.version("supervision"))
pathlib.Path("pictures").mkdir()
Image.new("RGB", (100, 80)).save("pictures/owl.png")
original = {
    "info": {"description": "night station", "rights_holder": "an archive"},
    "licenses": [{
        "id": 4, "name": "CC BY-NC-ND 4.0",
        "url": "https://creativecommons.org/licenses/by-nc-nd/4.0/",
    }],
    "images": [{
        "id": 10, "file_name": "owl.png", "width": 100, "height": 80, "license": 4,
        "date_captured": "2021-05-01 03:04:05", "location": "K7", "seq_id": "s1",
    }],
    "categories": [
        {"id": 7, "name": "Bubo bubo", "supercategory": "Strigidae"},
        {"id": 3, "name": "Ardea alba", "supercategory": "Ardeidae"},
    ],
    "annotations": [{
        "id": 1, "image_id": 10, "category_id": 7, "bbox": [10, 10, 20, 20],
        "area": 400, "iscrowd": 0,
    }],
}
pathlib.Path("in.json").write_text(json.dumps(original))
dataset = sv.DetectionDataset.from_coco("pictures", "in.json")
dataset.as_coco(annotations_path="out.json")
written = json.loads(pathlib.Path("out.json").read_text())
for key in ("info", "licenses", "images", "categories"):
    print(key, "\n   in ", original[key], "\n   out", written[key])

image = written["images"][0]
license_ = {x["id"]: x["name"] for x in written["licenses"]}[image["license"]]
owl = {c["id"]: c for c in written["categories"]}[written["annotations"][0]["category_id"]]
if license_ != "CC BY 4.0":
    raise SystemExit(f"changed: the license is {license_}")
if image["date_captured"].startswith("2021") or {"location", "seq_id"} & set(image):
    raise SystemExit("changed: the picture's fields are kept")
if owl["name"] != "Bubo bubo" or owl["id"] == 7 or owl["supercategory"] == "Strigidae":
    raise SystemExit("changed: the categories are kept")
EOF
