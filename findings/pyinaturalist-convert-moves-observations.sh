#!/usr/bin/env bash
# Guess: to_dwc gives one Darwin Core record for one observation, whether it is handed over as
#   the API's JSON or as an Observation; an obscured place keeps its public accuracy of 28 km.
# Instead: from JSON, where location is the text "52.5,13.4", latitude and longitude are its
#   first two characters: 5 and 2, off the coast of West Africa. From an Observation the place
#   is right and a date without a time becomes midnight. Both state 5 m for the obscured place:
#   the observer's private accuracy is put next to the randomized public coordinates.
# Seen with: pyinaturalist-convert 0.9.1, pyinaturalist 0.21.1.
# Hits: ecologists who bring saved API answers or downloads to GBIF's format: valid records,
#   wrong places, and a filter on coordinateUncertaintyInMeters that lets them through.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "pyinaturalist-convert==0.9.1" "pyinaturalist==0.21.1" "xmltodict==1.0.2"
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.metadata

from pyinaturalist import Observation
from pyinaturalist_convert import to_dwc

for name in ("pyinaturalist-convert", "pyinaturalist"):
    print(name, importlib.metadata.version(name))

answer = {
    "id": 1, "uuid": "made-for-this-script", "quality_grade": "research",
    "observed_on": "2024-05-01", "created_at": "2024-05-02T08:00:00+02:00",
    "location": "52.5,13.4",
    "geojson": {"type": "Point", "coordinates": [13.4, 52.5]},
    "geoprivacy": "obscured", "obscured": True,
    "positional_accuracy": 5, "public_positional_accuracy": 28000,
    "captive": False, "license_code": "cc0", "photos": [],
    "taxon": {"id": 4956, "name": "Ardea herodias", "rank": "species"},
    "user": {"id": 1, "login": "nobody"},
}
shown = ("decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters", "eventDate",
         "informationWithheld")
records = {}
for kind, given in (("JSON", [answer]), ("Observation", [Observation.from_json(answer)])):
    record = to_dwc(given)[0]
    records[kind] = [record["dwc:" + name] for name in shown]
    print(kind)
    for name, value in zip(shown, records[kind]):
        print(f"   {name:30} {value!r}")

if records["JSON"][:4] != ["5", "2", 5, "2024-05-01"]:
    raise SystemExit("changed: the record made from JSON")
if records["Observation"][:4] != [52.5, 13.4, 5, "2024-05-01T00:00:00"]:
    raise SystemExit("changed: the record made from an Observation")
EOF
