"""Our MegaDetector JSON in the programs that ecologists read it with.

Both programs need an environment of their own, as their requirements do not install
next to ours:

    python -m venv md && md/bin/pip install --no-deps megadetector==10.0.28
    md/bin/pip install tqdm numpy jsonpickle opencv-python-headless pillow pytest \\
        requests humanfriendly python-dateutil clipboard
    python -m venv ct && ct/bin/pip install --no-deps camtraptools==0.8.1
    ct/bin/pip install pandas

    HIERCAM_MEGADETECTOR=md/bin/python HIERCAM_CAMTRAPTOOLS=ct/bin/python pytest ...
"""

import json
import os
import subprocess

import pytest

from hiercam_keras.exchange import megadetector
from hiercam_keras.exchange.megadetector import Taxon

pytestmark = pytest.mark.slow  # needs environments of their own

HERON = {"class": "Aves", "order": "Pelecaniformes", "family": "Ardeidae"}
ARDEA = {**HERON, "genus": "Ardea"}
TAXA = [
    Taxon("Ardea cinerea", {**ARDEA, "species": "cinerea"}),
    Taxon("Ardea", ARDEA),
    Taxon("Ardeidae", HERON),
]
VALIDATE = """
import json, sys
from megadetector.postprocessing.validate_batch_results import validate_batch_results
found = validate_batch_results(sys.argv[1])["validation_results"]
print(json.dumps({name: found[name] for name in ("errors", "warnings")}))
"""
SPECIES = """
import json, sys
from pathlib import Path
import pandas as pd
from camtraptools import detect, importer
package, results = map(Path, sys.argv[1:])
print(json.dumps(importer.run(package, results)))
found = detect.load_detections(package / importer.RESULTS_FILE)
print(json.dumps([detect.parse_taxon(label)[0] for label in found["label"].dropna()]))
media = pd.read_csv(package / "media.csv")
print(json.dumps(detect.summarize_species(media, found, 0.2)["d1"].to_dict()))
"""


def answer(variable, code, *arguments):
    """What another environment's Python prints, one JSON value a line."""
    python = os.environ.get(variable, "")
    if not python:
        pytest.skip(f"{variable} does not name a Python with the program")
    command = [python, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    return [json.loads(line) for line in lines]


def written(folder, version="1.5"):
    """Three animals of a burst with classifications, a person, a blank, a failure."""
    animal = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}
    images = [
        {"file": f"a/{n}.jpg", "detections": [{**animal, "category": "2"}, {**animal}]}
        for n in range(len(TAXA))
    ]
    images += [
        {"file": "a/blank.jpg", "detections": []},
        {"file": "a/broken.jpg", "detections": None, "failure": "image access"},
    ]
    document = {
        "info": {"format_version": version, "detector": "md_v5a.0.1.pt"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": images,
    }
    # The best one is not the first.
    answers = {
        (f"a/{n}.jpg", 2): [(TAXA[n - 1], 0.125), (taxon, 0.875)]
        for n, taxon in enumerate(TAXA)
    }
    info = {
        "classifier": "hiercam_keras",
        "classification_completion_time": "2026-01-02 03:04:05",
    }
    path = folder / "md.json"
    path.write_text(json.dumps(megadetector.classify(document, answers, info)))
    return path


@pytest.mark.parametrize("version", ["1.3", "1.5", "1.6"])
def test_megadetector_accepts_it(tmp_path, version):
    path = written(tmp_path, version)
    found = answer("HIERCAM_MEGADETECTOR", VALIDATE, path)
    assert found == [{"errors": [], "warnings": []}]
    # The validator looks at these fields.
    document = json.loads(path.read_text())
    document["images"][0]["detections"][1]["classifications"][0][0] = 0
    path.write_text(json.dumps(document))
    (wrong,) = answer("HIERCAM_MEGADETECTOR", VALIDATE, path)
    assert "illegal classification category" in wrong["errors"][0]


def test_camtraptools_lists_the_species(tmp_path):
    path = written(tmp_path)
    names = [f"a/{n}.jpg" for n in range(len(TAXA))] + ["a/blank.jpg", "a/broken.jpg"]
    rows = "".join(f"{name},d1\n" for name in names)
    (tmp_path / "media.csv").write_text(f"filePath,deploymentID\n{rows}")
    counts, best, listed = answer("HIERCAM_CAMTRAPTOOLS", SPECIES, tmp_path, path)
    assert counts == [5, 0]
    assert best == [taxon.name for taxon in TAXA]
    assert listed == {taxon.name: 1 for taxon in TAXA}
