"""The map store: maps of a whole split on disk. NumPy only.

A store is a folder named by a hash of everything that its maps depend on, so maps of
another model are never reused by mistake. Shards are written atomically, and a later
run computes only the missing ones, so a run may be killed at any time.

    <key>/store.json           schema_version, identity, targets, lineages, versions
    <key>/shard-00000.npz      the maps of the first `shard_size` examples, and so on

To read one without this package, with NumPy and the standard library:

    import glob, json, numpy
    with open("KEY/store.json", encoding="utf-8") as file:
        meta = json.load(file)
    for path in sorted(glob.glob("KEY/shard-*.npz")):
        with numpy.load(path) as file:  # no pickle
            shard = dict(file)
        for i, example_id in enumerate(shard["example_id"]):
            cam = shard["cam"][i]  # float32 (K, h, w), signed, before ReLU
            for k, rank in enumerate(shard["rank"]):
                lineage = meta["lineages"][rank][shard["label"][i, k]]
                print(example_id, lineage, shard["score"][i, k], cam[k].max())

Arrays of a shard of N examples and K targets: example_id (N,) text; rank (K,) text;
label int32 (N, K) of the target taxon (-1 for a step that was not asked, as the model
does not know the image's taxon; its map is trivial); rival_rank text and rival_label
int32 (N, K) of the opposing taxon ("" and -1 for none); cam float32 (N, K, h, w); score
and probability float32 (N, K); degenerate and trivial bool (N, K); geometry float32
(N, 7); skipped_id and skipped_reason (S,) text. If examples are crops of detected
animals: box and crop float32 (N, 4), the detection and what was cropped, as x0, y0, x1,
y1 in pixels of the whole picture, which `geometry` refers to as well; `info` in
store.json has the convention of the crop and the file of the detections.
"""

from hiercam_keras.cam.store_key import SCHEMA_VERSION, identity, key, weights_digest
from hiercam_keras.cam.store_reader import Entry, Reader, open
from hiercam_keras.cam.store_writer import Writer

__all__ = [
    "SCHEMA_VERSION",
    "Entry",
    "Reader",
    "Writer",
    "identity",
    "key",
    "open",
    "weights_digest",
]
