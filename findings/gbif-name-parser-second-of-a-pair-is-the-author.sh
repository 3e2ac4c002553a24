#!/usr/bin/env bash
# Guess: GBIF's name parser refuses a pair such as Martes martes/foina (a pine or a beech marten), as
#   it refuses the hybrid Martes martes x foina, or marks it as no scientific name.
# Instead: it is a SCIENTIFIC name of rank SPECIES, parsed COMPLETE: Martes martes, by an author called
#   foina. The canonical name is Martes martes, the complete one reads Martes martes foina, which
#   parses as a subspecies. Only `doubtful` and a warning about the authorship differ from a sure
#   name; with | in place of / neither does. Mustelidae sp. is at rank GENUS, as Mustela sp. is.
# Seen with: gbif-name-parser 0.4.0.
# Hits: eBird's "slashes", bats from their calls, martens and scaups in photographs: uncertain records
#   join the first species of the pair. Look for / before parsing, or drop what is doubtful.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "gbif-name-parser==0.4.0"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

from nameparser import UnparsableNameError, parse

print("gbif-name-parser", importlib.metadata.version("gbif-name-parser"))

pairs = [
    ("Martes martes", "foina"),
    ("Myotis myotis", "blythii"),
    ("Aythya marila", "affinis"),
    ("Larus argentatus", "cachinnans"),
]
for first, second in pairs:
    name = parse(f"{first}/{second}")
    found = (
        name.canonical_name_minimal(),
        name.combination_authorship.authors,
        name.rank,
        name.type,
        name.state,
    )
    print(f"{first}/{second}: expected no species, found {found}")
    print("   ", name.canonical_name_complete(), "| doubtful:", name.doubtful, name.warnings)
    if found != (first, [second], "SPECIES", "SCIENTIFIC", "COMPLETE") or not name.doubtful:
        raise SystemExit("changed: the second of a pair is not the author")
    again = parse(name.canonical_name_complete())
    if again.infraspecific_epithet != second or again.doubtful:
        raise SystemExit("changed: the complete name is not that of a subspecies")

bar = parse("Martes martes|foina")
print("with a bar:", bar.canonical_name_minimal(), bar.combination_authorship.authors, bar.doubtful)
if bar.combination_authorship.authors != ["foina"] or bar.doubtful or bar.warnings:
    raise SystemExit("changed: a pair with a bar is doubtful")
try:
    parse("Martes martes x foina")
except UnparsableNameError as error:
    print("hybrid:", error)
else:
    raise SystemExit("changed: hybrids are parsed")
ranks = {name: parse(name).to_dict()["taxonRank"] for name in ("Mustela sp.", "Mustelidae sp.")}
print(ranks)
if set(ranks.values()) != {"GENUS"}:
    raise SystemExit("changed: a family is at its own rank")
print("ok: the second species of a pair is the author of the first")
PY
