#!/usr/bin/env bash
# Guess: a COCO file read and written again by a converter scores like the original, and perfect
#   detections have an average precision of 1.
# Instead: AnnotationSet.save_coco numbers annotations from 0, and in pycocotools' COCOeval a
#   matched id of 0 means "not matched". The first box of the file is never found: AP 0.0 with
#   one box, 0.64 with five, 0.96 with fifty, so in a large file it hides and in a rare class it
#   decides. Each of the two is right alone (COCO asks for no positive ids).
# Seen with: globox 2.9.0, pycocotools 2.0.11 (faster-coco-eval 1.8.0: alike, with a warning).
# Hits: who converts YOLO, VOC or CSV boxes by globox, or numbers annotations by enumerate(),
#   and evaluates with pycocotools.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "globox==2.9.0" "pycocotools==2.0.11" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import contextlib
import importlib.metadata
import io
import json

from globox import AnnotationSet
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

for name in ("globox", "pycocotools", "numpy"):
    print(name, importlib.metadata.version(name))


def precision_of_perfect_boxes(path):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        found = truth.loadRes([
            {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
            for a in truth.dataset["annotations"]
        ])
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), min(truth.anns)


results = {}
for count in (1, 5, 50):
    ids = range(1, count + 1)
    dataset = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 80} for i in ids
        ],
        "categories": [{"id": 1, "name": "bird"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 20, 20],
             "area": 400, "iscrowd": 0} for i in ids
        ],
    }
    with open("original.json", "w") as file:
        json.dump(dataset, file)
    AnnotationSet.from_coco("original.json").save_coco("globox.json")
    for path in ("original.json", "globox.json"):
        results[path, count] = precision_of_perfect_boxes(path)
        print(f"{count:3} boxes, {path:14} AP %.4f, first annotation id %d"
              % results[path, count])

for (path, count), (precision, first) in results.items():
    if path == "original.json" and precision < 0.9999:
        raise SystemExit("changed: the original is not perfect")
    if path == "globox.json" and (first != 0 or precision > 1 - 0.9 / count + 0.02):
        raise SystemExit(f"changed: {path}, {count} boxes: {precision}, {first}")
EOF
