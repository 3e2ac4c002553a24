#!/usr/bin/env bash
# Guess: a hierarchical metric compares places in the tree. The genus Morus of the gannets
#   (Sulidae) for the genus Morus of the mulberries (Moraceae) is wrong at both levels: F1 0.
# Instead: hiclass.metrics intersect the *sets of names* of truth and prediction, whatever level
#   or parent they have. The gannet for the mulberry scores 0.5, an answer with both levels
#   exchanged 1.0, and the wrong species of a tautonym (bubo virginianus for bubo bubo) has recall 1.0.
#   The classifiers keep the two Morus apart in fit and predict, but predict_proba has one column
#   for both: P = 0.6 where no taxon has more than 0.3.
# Seen with: hiclass 5.0.8.
# Hits: taxonomies with homonyms across families or kingdoms (GBIF, iNaturalist), and tables that
#   write the epithet as the last level; top-k answers and calibration from predict_proba.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "hiclass==5.0.8" "numpy==2.4.6" "scikit-learn==1.9.1"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata

import numpy as np
from hiclass import LocalClassifierPerLevel
from hiclass.metrics import f1, precision, recall
from sklearn.linear_model import LogisticRegression

for name in ("hiclass", "numpy", "scikit-learn"):
    print(name, importlib.metadata.version(name))


def score(metric, truth, answer):
    return round(float(metric(np.array([truth]), np.array([answer]))), 3)


homonym = score(f1, ["Moraceae", "Morus"], ["Sulidae", "Morus"])
exchanged = score(f1, ["Laridae", "Larus"], ["Larus", "Laridae"])
bubo = ["bubo", "bubo"], ["bubo", "virginianus"]
tautonym = score(precision, *bubo), score(recall, *bubo)
print("F1 of the other Morus:", homonym)
print("F1 of exchanged levels:", exchanged)
print("precision and recall of Bubo virginianus for Bubo bubo:", tautonym)

# One constant feature: the probabilities are the frequencies of the classes.
names = [("Sulidae", "Morus", 30), ("Sulidae", "Sula", 30)]
names += [("Moraceae", "Morus", 30), ("Moraceae", "Ficus", 10)]
labels = np.array([[family, genus] for family, genus, n in names for _ in range(n)])
pictures = np.zeros((len(labels), 1))
model = LocalClassifierPerLevel(
    local_classifier=LogisticRegression(),
    return_all_probabilities=True,
    probability_combiner=None,
).fit(pictures, labels)
_, genus = model.predict_proba(pictures[:1])
columns = dict(zip(map(str, model.classes_[1]), genus[0].round(2).tolist()))
print("four genera of P 0.3, 0.3, 0.3, 0.1; predict_proba:", columns)

assert homonym == 0.5 and exchanged == 1.0, (homonym, exchanged)
assert tautonym == (0.5, 1.0), tautonym
assert len(columns) == 3 and abs(columns["Morus"] - 0.6) < 0.02, columns
print("ok: the metrics compare names, and predict_proba adds homonyms up")
PY
