#!/usr/bin/env bash
# Guess: h5py.is_hdf5 is True of HDF5 files, and never of a zip archive that holds one.
# Instead: HDF5 may begin at byte 0, 512, 1024, 2048 and so on, and all of these are looked at. An
#   archive that stores an HDF5 member unpacked there, as a .keras file does with its weights, is
#   HDF5 by this test and a zip by zipfile.is_zipfile: by the length of what comes before.
# Seen with: h5py 3.14.0, numpy 2.4.6.
# Hits: who tells .h5 from .keras files by their content; one good file in many is refused.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "h5py==3.14.0" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import zipfile

import h5py

print("h5py", h5py.__version__)
with h5py.File("weights.h5", "w") as file:
    file["kernel"] = [1.0, 2.0]
found = {}
for place in (200, 511, 512, 513, 1024, 1536, 2048):
    with zipfile.ZipFile("net.zip", "w") as archive:
        archive.writestr("config", "x" * (place - 30 - 6 - 30 - 10))
        archive.write("weights.h5")
    assert open("net.zip", "rb").read()[place:].startswith(b"\x89HDF"), place
    assert zipfile.is_zipfile("net.zip")
    found[place] = h5py.is_hdf5("net.zip")
    print(f"zip with HDF5 at byte {place}: is_hdf5 {found[place]}")
assert [place for place, yes in found.items() if yes] == [512, 1024, 2048], found
print("ok: a zip is HDF5 where the member begins at 512, 1024, 2048")
PY
