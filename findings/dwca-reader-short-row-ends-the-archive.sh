#!/usr/bin/env bash
# Guess: a row of a Darwin Core archive that lacks its last cells is skipped, or read with empty
#   cells; the rows after it are read.
# Instead: iterating ends there with InvalidArchive, "The descriptor references a non-existent
#   field", for the whole archive, and cannot be continued: the generator is closed. A blank
#   line between rows does the same. Bytes that are no UTF-8 do not: they become U+FFFD, and
#   nothing is logged.
# Seen with: python-dwca-reader 0.17.1.
# Hits: who streams large archives: one damaged row of a million loses all that follow, and the
#   message names a fault of meta.xml, which is right. Read the table by meta.xml oneself, or
#   check the number of cells before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "python-dwca-reader==0.17.1"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata
import pathlib

from dwca.exceptions import InvalidArchive
from dwca.read import DwCAReader

print("python-dwca-reader", importlib.metadata.version("python-dwca-reader"))

DWC = "http://rs.tdwg.org/dwc/terms/"
META = f"""<archive xmlns="http://rs.tdwg.org/dwc/text/">
<core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n"
 fieldsEnclosedBy="" ignoreHeaderLines="1" rowType="{DWC}Occurrence">
<files><location>occurrence.txt</location></files><id index="0"/>
<field index="1" term="{DWC}scientificName"/>
<field index="2" term="{DWC}sex"/>
</core></archive>"""
folder = pathlib.Path("archive")
folder.mkdir()
(folder / "meta.xml").write_text(META)


def read(rows):
    (folder / "occurrence.txt").write_bytes(b"id\tscientificName\tsex\n" + rows)
    found = []
    with DwCAReader(str(folder)) as reader:
        rows = iter(reader)
        while True:
            try:
                found.append(next(rows).data[f"{DWC}scientificName"])
            except StopIteration:
                return found
            except InvalidArchive as error:
                found.append(f"InvalidArchive: {error}")


GOOD = b"1\tParus major\tmale\n", b"3\tPica pica\t\n"
short = read(GOOD[0] + b"2\tMorus alba\n" + GOOD[1])
blank = read(GOOD[0] + b"\n" + GOOD[1])
latin = read(GOOD[0] + b"2\tLa\xefs\tmale\n" + GOOD[1])
for name, found in (("short row", short), ("blank line", blank), ("Latin-1", latin)):
    print(f"{name:10}:", found)
for found in (short, blank):
    assert found[0] == "Parus major" and found[1].startswith("InvalidArchive"), found
    assert len(found) == 2, found
assert latin == ["Parus major", "La\ufffds", "Pica pica"], latin
print("ok: one row without its last cell ends the reading of the archive")
PY
