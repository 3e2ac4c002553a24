#!/usr/bin/env bash
# Guess: Converter(to_type="scientific_name", from_authority="ebird", to_authority="avilist") gives
#   AviList's name of an eBird species, and None where it finds none.
# Instead: to_authority has no effect on scientific names: all eBird species keep eBird's, also the
#   51 that AviList has under the same common name in another genus or with another ending. From
#   scientific name to scientific name the converter changes nothing at all. scientific(), whose
#   default authority is "avilist", answers with the smallest list that knows the names: the Bird
#   Banding Lab's Dryobates villosus, which AviList does not have.
# Seen with: birdnames 0.1.3, with eBird of 2024, AviList of 2025.
# Hits: who brings labels of several sources to one taxonomy: the names look converted and do not
#   join, or one species stays two classes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "birdnames==0.1.3" "pandas==3.1.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

import birdnames

for name in ("birdnames", "pandas"):
    print(name, importlib.metadata.version(name))


def converter(source, target, authority, other):
    return birdnames.Converter(source, target, from_authority=authority, to_authority=other)


def pair(authority, other):
    return converter("common_name", "scientific_name", authority, other)


ebird, avilist = pair("ebird", "ebird"), pair("avilist", "avilist")
across = pair("ebird", "avilist")
ask = ["American Robin", "Hairy Woodpecker", "Blue Crane", "Orinoco Goose"]
for name in ask:
    print(f"{name}: eBird {ebird(name)}, AviList {avilist(name)}; "
          f"eBird to AviList: expected {avilist(name)}, found {across(name)}")

shared = [name for name in ebird.lookup.index if avilist(name) is not None]
differ = [name for name in shared if ebird(name) != avilist(name)]
kept = [name for name in differ if across(name) == ebird(name)]
print(f"{len(shared)} common names in both, {len(differ)} with another scientific name, "
      f"{len(kept)} of them left as eBird has them")

same = converter("scientific_name", "scientific_name", "ebird", "avilist")
print("scientific to scientific:", [same(ebird(name)) for name in ask])
known = set(avilist.lookup)
print("in AviList:", {ebird(name): ebird(name) in known for name in ask})
short = birdnames.scientific(["Hairy Woodpecker"], scientific_name_authority="avilist")
print("scientific(..., 'avilist'): expected", avilist("Hairy Woodpecker"), "found", short)

if not differ or kept != differ:
    raise SystemExit(f"changed: {len(kept)} of {len(differ)} kept")
if same("Dryobates villosus") != "Dryobates villosus" or "Dryobates villosus" in known:
    raise SystemExit("changed: the scientific name is converted, or AviList has it")
if short != ["Dryobates villosus"]:
    raise SystemExit(f"changed: {short}")
print("ok: the target authority is not used for scientific names")
PY
