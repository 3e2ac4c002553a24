#!/usr/bin/env bash
# Guess: a resource with format csv and no dialect has commas, the default of the CSV dialect
#   (Data Package: delimiter, default ","); or a guess from the header, which has commas only.
# Instead: the delimiter is guessed by csv.Sniffer from the first 100 lines, quoted text first.
#   One remark with words in quotation marks and a semicolon, correctly quoted in the file, makes
#   a table of three columns one of a single column: a valid package is invalid, for missing
#   labels. Semicolons alone, or apostrophes, do not.
# Seen with: frictionless 5.21.0.
# Hits: Camtrap DP and other packages with free text. Write dialect: {"delimiter": ","} into
#   datapackage.json; readers should take the standard's default.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "frictionless==5.21.0"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import csv
import importlib.metadata
import json

from frictionless import Package

print("frictionless", importlib.metadata.version("frictionless"))
HEADER = ["id", "name", "remark"]


def valid(remark, dialect=None):
    with open("table.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([number, "Anas crecca", ""] for number in range(9))
        writer.writerow([9, "Anas crecca", remark])
    schema = {"fields": [{"name": name, "type": "string"} for name in HEADER]}
    resource = {"name": "table", "path": "table.csv", "format": "csv", "schema": schema}
    if dialect:
        resource["dialect"] = dialect
    with open("datapackage.json", "w") as file:
        json.dump({"name": "one", "resources": [resource]}, file)
    report = Package("datapackage.json").validate()
    print(f"{remark!r:32} {dialect}: {report.valid} {report.flatten(['type'])}")
    return report.valid


quoted = 'near the "oak"; "elm"; wet'
assert valid("near the oak; elm; wet")
assert not valid(quoted)
assert valid(quoted, {"delimiter": ","})
print("ok: one quoted remark decides about the delimiter of a table")
PY
