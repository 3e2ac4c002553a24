#!/usr/bin/env bash
# Guess: category ids that are numbers (1 in place of "1") are read alike, or refused.
# Instead: importer.from_megadetector_format looks the category up by its id as it is and takes
#   "" where it finds none. detect.summarize_detections then counts every picture as empty:
#   four animals at 0.95 become four empty pictures, without a warning. A file with text ids
#   has four animals. (The format asks for text; json.dumps writes numbers as they are given.)
# Seen with: camtraptools 0.8.1, pandas 3.1.1.
# Hits: who writes MegaDetector JSON by a script of their own and filters empty pictures.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --no-deps \
    "camtraptools==0.8.1"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check "pandas==3.1.1"
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.metadata
import json
from pathlib import Path

import pandas as pd
from camtraptools import detect, importer

for name in ("camtraptools", "pandas"):
    print(name, importlib.metadata.version(name))

names = [f"{number}.jpg" for number in range(4)]
media = pd.DataFrame({"filePath": names, "deploymentID": "d1"})
media.to_csv("media.csv", index=False)


def table(category):
    animal = {"category": category, "conf": 0.95, "bbox": [0.1, 0.2, 0.3, 0.4]}
    document = {
        "info": {"format_version": "1.5"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": [{"file": name, "detections": [animal]} for name in names],
    }
    Path("md.json").write_text(json.dumps(document))
    print("imported, unknown:", importer.run(Path("."), Path("md.json")))
    found = detect.load_detections(Path(importer.RESULTS_FILE))
    return detect.summarize_detections(media, found, 0.2).loc["d1"].to_dict()


text, number = table("1"), table(1)
print("ids are text:   ", text)
print("ids are numbers:", number)
if (text["animal"], text["empty"]) != (4, 0):
    raise SystemExit("changed: text ids are not four animals")
if (number["animal"], number["empty"]) != (0, 4):
    raise SystemExit("changed: numeric ids are not four empty pictures")
EOF
