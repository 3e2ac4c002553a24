"""--mode=localize on maps from elsewhere and lists of metadata, and what it refuses."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.data import geometry
from hiercam_keras.errors import UserError

REAL = os.environ.get("HIERCAM_REAL_DATA", "")
FAST = {"localize.resamples": 50, "localize.size": 64, "localize.num_pictures": 4}


SIZES = {f"c{i % 2}/{i}.jpg": (40 + 5 * i, 30 + 2 * i) for i in range(6)}


def make_metadata(folder, ids=tuple(SIZES), boxes=True):
    folder.mkdir(parents=True)
    (folder / "image_ids.txt").write_text("\n".join(ids))
    (folder / "class_labels.txt").write_text("\n".join(f"{n},{n[1]}" for n in ids))
    if boxes:
        rows = [f"{n},{SIZES[n][0]},{SIZES[n][1]}" for n in ids]
        (folder / "image_sizes.txt").write_text("\n".join(rows))
        rows = [f"{n},5,4,{SIZES[n][0] - 5},{SIZES[n][1] - 6}" for n in ids]
        (folder / "localization.txt").write_text("\n".join(rows))
    return folder


def make_store(root, ids=tuple(SIZES), layout="localization", sizes=SIZES, cams=None):
    """Maps with a blob in the middle, as another program may have made them."""
    identity = store.identity(
        weights="w", example_ids=ids, method="own", layer="l", targets=["t"],
        preprocessing={"root": str(root)},
    )  # fmt: skip
    writer = store.Writer(root, identity, ids, ["t"], {"class": ["a", "b"]})
    n = len(ids)
    if cams is None:
        cams = np.zeros((n, 7, 7), np.float32)
        cams[:, 2:5, 2:5] = 1 + np.arange(n)[:, None, None]
    explanation = SimpleNamespace(
        cams=cams[:, None], labels=np.zeros((n, 1)), scores=np.zeros((n, 1)),
        probabilities=np.ones((n, 1)), degenerate=np.zeros((n, 1)),
        trivial=np.zeros((n, 1)), ranks=("class",), rivals=np.full((n, 1), -1),
        space=SimpleNamespace(rank_label=lambda row: ("", -1)),
    )  # fmt: skip
    rows = [geometry.of(*sizes.get(one, (9, 9)), 224, layout).to_row() for one in ids]
    writer.add(ids, explanation, np.stack(rows))
    return writer.close()


def read(folder):
    rows = tables.read_csv(folder / "localization.csv")
    return {
        name: {key: cells[i] for key, cells in rows.items()}
        for i, name in enumerate(rows["measure"])
    }


def score(config, out, **fields):
    fields = {f"localize.{name}": str(value) for name, value in fields.items()}
    return tiny_birds.run("localize", config, fields={**FAST, **fields}, out=str(out))


def test_a_given_store_and_metadata(config, tmp_path):
    metadata, maps = make_metadata(tmp_path / "test"), make_store(tmp_path / "maps")
    said = score(config, tmp_path / "out", metadata=metadata, maps=maps)
    rows = read(tmp_path / "out")
    # Middle of 3 x 3 in 7 x 7 cells: half-way up the threshold it is near the box.
    assert float(rows["MaxBoxAcc (oracle threshold)"]["value"]) == 1
    assert float(rows["pointing game"]["value"]) == 1
    assert "MaxBoxAcc (val threshold)" not in rows and "(oracle)" in said
    assert rows["BoxPxAP"]["images"] == "6" and "PxAP" not in rows
    assert not (tmp_path / "out" / "pictures.png").exists()
    taxa = tables.read_csv(tmp_path / "out" / "taxa_class.csv")
    assert taxa["taxon"] == ["c0", "c1"] and taxa["images"] == ["3", "3"]


def test_a_threshold_from_other_maps(config, tmp_path):
    ids = tuple(SIZES)
    make_metadata(tmp_path / "meta" / "val", ids[:3])
    make_metadata(tmp_path / "meta" / "test", ids[3:])
    maps = make_store(tmp_path / "maps", ids[3:])
    val_maps = make_store(tmp_path / "val_maps", ids[:3])
    score(
        config,
        tmp_path / "out",
        metadata=tmp_path / "meta",
        maps=maps,
        val_maps=val_maps,
    )
    assert read(tmp_path / "out")["MaxBoxAcc (val threshold)"]["images"] == "3"


def make_masks(folder, ids):
    """Metadata with two masks an image, and a third of what does not count.

    Of 64 x 64 pixels: the object is the upper left quarter, in two pieces. The right
    half is ignored, and a piece of the object, which counts all the same.
    """
    make_metadata(folder, ids, boxes=False)
    rows = []
    for name in ids:
        stem = name.removesuffix(".jpg")
        pieces = {end: np.zeros((64, 64), np.uint8) for end in ("a", "b", "no")}
        pieces["a"][:32, :16] = pieces["b"][:32, 16:32] = 255
        pieces["no"][:, 32:] = pieces["no"][:32, :8] = 255
        for end, pixels in pieces.items():
            path = folder.parent / "masks" / f"{stem}-{end}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        rows += [f"{name},{stem}-{end}.png,{stem}-no.png" for end in ("a", "b")]
    (folder / "localization.txt").write_text("\n".join(rows))


def test_lists_of_masks_with_pixels_that_do_not_count(config, tmp_path):
    ids = tuple(SIZES)
    make_masks(tmp_path / "test", ids)
    fields = {"metadata": tmp_path / "test", "maps": make_store(tmp_path / "maps")}
    with pytest.raises(UserError, match="names masks: name their folder with"):
        score(config, tmp_path / "out", **fields)
    score(config, tmp_path / "out", **fields, images=tmp_path / "masks")
    rows = read(tmp_path / "out")
    # The blob is as much in the upper left quarter as in the lower left one.
    row = rows["energy in the mask"]
    assert row["images"] == "6" and float(row["chance"]) == 0.5
    assert float(row["value"]) == pytest.approx(0.5, abs=1e-6)
    assert float(rows["PxAP"]["value"]) == pytest.approx(0.5, abs=1e-6)
    assert "BoxPxAP" not in rows and "MaxBoxAcc (oracle threshold)" not in rows
    about = json.loads((tmp_path / "out" / "localization.json").read_text())
    assert about["threshold_from"] == "no boxes"


def test_masks_alone_choose_no_threshold_for_boxes(config, tmp_path):
    ids = tuple(SIZES)
    make_masks(tmp_path / "meta" / "val", ids[:3])
    make_metadata(tmp_path / "meta" / "test", ids[3:])
    fields = {
        "metadata": tmp_path / "meta",
        "images": tmp_path / "meta" / "masks",
        "maps": make_store(tmp_path / "maps", ids[3:]),
        "val_maps": make_store(tmp_path / "val_maps", ids[:3]),
    }
    said = score(config, tmp_path / "out", **fields)
    rows = read(tmp_path / "out")
    assert float(rows["MaxBoxAcc (oracle threshold)"]["value"]) == 1
    assert "MaxBoxAcc (val threshold)" not in rows and "(oracle)" in said


@pytest.mark.skipif(not REAL, reason="HIERCAM_REAL_DATA is not set")
def test_maps_of_some_images_of_real_metadata(config, tmp_path):
    """Half of the maps are the true boxes, half a spot in the corner."""
    metadata = Path(REAL) / "cub_choe" / "test"
    said = {
        name: dict(line.split(",", 1) for line in (metadata / name).read_text().split())
        for name in ("image_sizes.txt", "localization.txt")
    }
    every = (metadata / "image_ids.txt").read_text().split()
    ids = tuple(every[::160])
    sizes, cams = {}, np.zeros((len(ids), 64, 64), np.float32)
    for number, name in enumerate(ids):
        sizes[name] = tuple(map(int, said["image_sizes.txt"][name].split(",")))
        box = np.array(said["localization.txt"][name].split(","), int)
        x0, y0, x1, y1 = (box / np.tile(sizes[name], 2) * 64).astype(int)
        if number % 2:
            cams[number, 0, 0] = 1
        else:
            cams[number, y0 : y1 + 1, x0 : x1 + 1] = 1
    maps = make_store(tmp_path / "maps", ids, sizes=sizes, cams=cams)
    score(config, tmp_path / "out", metadata=metadata, maps=maps)
    rows = read(tmp_path / "out")
    right = np.mean(np.arange(len(ids)) % 2 == 0)
    for name in ("MaxBoxAcc", "MaxBoxAccV2"):
        found = float(rows[f"{name} (oracle threshold)"]["value"])
        assert found == pytest.approx(right, abs=1e-6), name
    assert float(rows["energy in the box"]["value"]) == pytest.approx(right, abs=1e-6)
    about = json.loads((tmp_path / "out" / "localization.json").read_text())
    assert about["images"] == len(ids) == 37
    assert about["without_map"] == len(every) - 37
    # One image a taxon or two: the birds of the list, in its order of names.
    taxa = tables.read_csv(tmp_path / "out" / "images.csv")["taxon"]
    assert len(set(taxa)) > 30


def test_what_does_not_fit_is_told(config, tmp_path):
    metadata, maps = make_metadata(tmp_path / "test"), make_store(tmp_path / "maps")
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    cases = (
        ({"maps": maps}, "localize.maps needs localize.metadata"),
        ({"maps": maps, "metadata": empty}, "train, val, test"),
        ({"maps": empty, "metadata": metadata}, "store.json is missing"),
        (
            {"maps": make_store(tmp_path / "b", ("x/1.jpg",)), "metadata": metadata},
            "none of 1 map .* 6 images with a box or a mask: .*'x/1.jpg'",
        ),
        (
            {
                "maps": make_store(tmp_path / "c", layout="classification"),
                "metadata": metadata,
            },
            "is of a crop of the image",
        ),
        (
            {
                "maps": maps,
                "metadata": make_metadata(tmp_path / "d" / "train", boxes=False),
            },
            "has neither boxes nor masks",
        ),
        (
            {"maps": maps, "metadata": metadata, "size_order": "hw"},
            "width and height are swapped",
        ),
    )
    for fields, words in cases:
        with pytest.raises(UserError, match=words):
            score(config, out, **fields)
    assert not out.exists()
    boxes = metadata / "localization.txt"
    boxes.write_text("\n".join(f"{name},1,1,9,9" for name in SIZES))
    sizes = [f"{name},{b},{a}" for name, (a, b) in SIZES.items()]
    (metadata / "image_sizes.txt").write_text("\n".join(sizes))
    # Boxes fit either way here; the maps know better.
    with pytest.raises(UserError, match="swapped; use --config.localize.size_order=hw"):
        score(config, out, maps=maps, metadata=metadata)
    score(config, out, maps=maps, metadata=metadata, size_order="hw")
    with pytest.raises(UserError, match="no boxes or masks for the split val"):
        tiny_birds.run(
            "localize",
            config,
            fields={"localize.maps": str(maps), "localize.metadata": str(metadata)},
            split="val",
        )
