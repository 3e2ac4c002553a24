#!/usr/bin/env bash
# Guess: a field of a Darwin Core archive that has both a column and a default takes the default
#   where the column is empty (Darwin Core text guide, 2.4.2), in rows and in pandas alike.
# Instead: the rows of the reader do so; pd_read() writes the default over the whole column. An
#   archive with default kingdom Animalia turns a mulberry, Plantae, into an animal, and one with
#   default countryCode moves every record there. Nothing is logged.
# Seen with: python-dwca-reader 0.17.1, pandas 3.1.1.
# Hits: who reads GBIF, iNaturalist or museum archives into a DataFrame. Read the rows, or read the
#   table itself and fill empty cells.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "python-dwca-reader==0.17.1" "pandas==3.1.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata
import zipfile

from dwca.read import DwCAReader

for name in ("python-dwca-reader", "pandas"):
    print(name, importlib.metadata.version(name))

DWC = "http://rs.tdwg.org/dwc/terms/"
META = f"""<archive xmlns="http://rs.tdwg.org/dwc/text/">
<core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n"
 fieldsEnclosedBy="" ignoreHeaderLines="1" rowType="{DWC}Occurrence">
<files><location>occurrence.txt</location></files><id index="0"/>
<field index="1" term="{DWC}scientificName"/>
<field index="2" term="{DWC}kingdom" default="Animalia"/>
</core></archive>"""
TABLE = "id\tscientificName\tkingdom\n1\tParus major\t\n2\tMorus alba\tPlantae\n"
with zipfile.ZipFile("archive.zip", "w") as archive:
    archive.writestr("meta.xml", META)
    archive.writestr("occurrence.txt", TABLE)

with DwCAReader("archive.zip") as reader:
    rows = [row.data[f"{DWC}kingdom"] for row in reader.rows]
    frame = reader.pd_read("occurrence.txt")
print("in the file :", ["", "Plantae"])
print("rows        :", rows)
print("pd_read     :", frame["kingdom"].tolist())
assert rows == ["Animalia", "Plantae"], rows
assert frame["kingdom"].tolist() == ["Animalia", "Animalia"], frame
print("ok: the default replaces every value of the column in pandas")
PY
