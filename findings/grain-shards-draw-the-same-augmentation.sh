#!/usr/bin/env bash
# Guess: with one seed for the pipeline, every record has random numbers of its own, whichever
#   host it is on: that is what index-based seeds are for.
# Instead: a generator depends on the position in the dataset as it is at that place in the
#   pipeline. After the usual ds[host::hosts] the n-th record of every host has the same crop,
#   flip and mixing weight; placed before the slice, random_map gives each record its own. A
#   record's augmentation thus depends on the number of hosts, too. Nothing is logged.
# Seen with: grain 0.2.10 and 0.2.18.
# Hits: data parallel training: a global batch of 32 on 8 hosts holds 4 different augmentations,
#   and a run continued on another number of hosts is another run.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "grain==0.2.18" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.metadata

import grain

print("grain", importlib.metadata.version("grain"))
hosts = 8


class Augment(grain.transforms.RandomMap):
    def random_map(self, element, rng):
        return element, round(float(rng.random()), 6)


whole = grain.MapDataset.range(32).seed(7).shuffle()
after = [list(whole[host::hosts].random_map(Augment())) for host in range(hosts)]
before = [list(whole.random_map(Augment())[host::hosts]) for host in range(hosts)]
for title, shards in (("slice, then random_map", after), ("random_map, then slice", before)):
    print(title)
    for host in (0, 1):
        print(f"   host {host}:", *(f"record {r} draws {x}" for r, x in shards[host]), sep="\n      ")
counts = [len({x for shard in shards for _, x in shard}) for shards in (after, before)]
records = [len({r for shard in shards for r, _ in shard}) for shards in (after, before)]
print("different records", records, "different draws", counts)

if records != [32, 32] or counts != [4, 32]:
    raise SystemExit(f"changed: {records}, {counts}")
EOF
