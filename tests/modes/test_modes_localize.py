"""--mode=localize on drawn birds and on lists of metadata, and what it refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras.cam import heatmaps, profiles, store
from hiercam_keras.data import geometry, splits
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.boxes import resize_boxes
from hiercam_keras.metrics.localization import BoxCounts, PixelCounts
from hiercam_keras.report import tables

FAST = {"localize.resamples": 50, "localize.size": 64, "localize.num_pictures": 4}


@pytest.fixture(scope="module")
def localized(trained, birds):
    """What localize of the species model said, and its folder."""
    said = tiny_birds.run("localize", trained.config, fields=FAST, rank=("species",))
    return said, trained.path("species") / "localize" / "test" / "gradcam"


def read(folder):
    rows = tables.read_csv(folder / "localization.csv")
    return {
        name: {key: cells[i] for key, cells in rows.items()}
        for i, name in enumerate(rows["measure"])
    }


def test_it_writes_and_tells_every_figure(localized):
    said, folder = localized
    rows = read(folder)
    assert set(rows) >= {
        "MaxBoxAcc (oracle threshold)",
        "MaxBoxAcc (val threshold)",
        "MaxBoxAccV2 (oracle threshold)",
        "MaxBoxAccV2 (val threshold)",
        "PxAP",
        "BoxPxAP",
        "pointing game",
        "energy in the box",
        "energy in the mask",
    }
    for name, row in rows.items():
        assert 0 <= float(row["value"]) <= 1 and 0 <= float(row["center_gaussian"]) <= 1
        assert row["images"] == "9"
        if row["low"]:
            assert float(row["low"]) <= float(row["value"]) + 1e-6, name
            assert float(row["value"]) <= float(row["high"]) + 1e-6, name
    oracle = float(rows["MaxBoxAcc (oracle threshold)"]["value"])
    assert float(rows["MaxBoxAcc (val threshold)"]["value"]) <= oracle
    assert "PxAP" in said and str(folder) in said and "(val)" in said
    for name in ("curve.png", "pictures.png"):
        with Image.open(folder / name) as image:
            assert image.width > 200
    about = json.loads((folder / "localization.json").read_text())
    assert about["threshold_from"] == "val" and about["images"] == 9
    assert [row["measure"] for row in about["figures"]] == list(rows)
    taxa = tables.read_csv(folder / "taxa_order.csv")
    assert sum(map(int, taxa["images"])) == 9


def test_the_figures_are_those_of_the_maps(localized, trained, birds):
    """Worked out again, image by image, from the store and the files of the birds."""
    _, folder = localized
    about = json.loads((folder / "localization.json").read_text())
    maps = store.open(about["maps"])
    ids = splits.load(trained.path("species") / "split").test
    assert sorted(maps.example_ids) == sorted(ids)
    own = tables.read_csv(birds / "boxes.csv")
    boxes = {
        name: [float(own[side][i]) for side in ("x0", "y0", "x1", "y1")]
        for i, name in enumerate(own["example_id"])
    }
    counts, pixels, shares = BoxCounts(), PixelCounts(), []
    for name in ids:
        cam = maps.get(name).cam[:1]
        score = profiles.wsol(cam, 64)[0]
        with Image.open(birds / "images" / name) as image:
            size = image.size
        true = resize_boxes([boxes[name]], size, (64, 64))
        counts.add(score, true)
        with Image.open(birds / "masks" / name.replace(".jpg", ".png")) as image:
            mask = np.asarray(image.resize((64, 64), Image.Resampling.NEAREST)) > 0
        pixels.add(score, mask)
        x0, y0, x1, y1 = true[0]
        energy = heatmaps.energy(cam, 64)[0]
        shares.append(energy[y0 : y1 + 1, x0 : x1 + 1].sum())
    rows = read(folder)
    found = float(rows["MaxBoxAcc (oracle threshold)"]["value"])
    assert found == pytest.approx(counts.max_box_acc()[0], abs=1e-6)
    found = float(rows["MaxBoxAccV2 (oracle threshold)"]["value"])
    assert found == pytest.approx(counts.max_box_acc_v2()[0], abs=1e-5)
    assert float(rows["PxAP"]["value"]) == pytest.approx(pixels.pxap(), abs=1e-5)
    found = float(rows["energy in the box"]["value"])
    assert found == pytest.approx(np.mean(shares), abs=1e-5)


def test_maps_are_of_whole_images_and_have_a_store_of_their_own(localized, trained):
    _, folder = localized
    about = json.loads((folder / "localization.json").read_text())
    maps = store.open(about["maps"])
    assert maps.meta["identity"]["preprocessing"]["crop"] == "none"
    for row in maps.column("geometry"):
        g = geometry.Geometry.from_row(row)
        assert (g.offset_x, g.offset_y) == (0, 0)
        assert g.scale_x * g.width == pytest.approx(tiny_birds.SIZE)
    tiny_birds.run("cam", trained.config, rank=("species",))
    others = {path.name for path in (trained.path("species") / "maps").iterdir()}
    assert len(others - {maps.folder.name}) >= 1


def test_predicted_boxes_are_in_pixels_of_the_originals(localized, birds):
    _, folder = localized
    rows = tables.read_csv(folder / "boxes.csv")
    for i, name in enumerate(rows["example_id"]):
        with Image.open(birds / "images" / name) as image:
            width, height = image.size
        x0, y0, x1, y1 = (float(rows[side][i]) for side in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height
        assert 0 <= float(rows["iou"][i]) <= 1


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


def make_store(root, ids=tuple(SIZES), layout="localization"):
    """Maps with a blob in the middle, as another program may have made them."""
    identity = store.identity(
        weights="w", example_ids=ids, method="own", layer="l", targets=["t"],
        preprocessing={"root": str(root)},
    )  # fmt: skip
    writer = store.Writer(root, identity, ids, ["t"], {"class": ["a", "b"]})
    cam = np.zeros((len(ids), 1, 7, 7), np.float32)
    cam[:, :, 2:5, 2:5] = 1 + np.arange(len(ids))[:, None, None, None]
    n = len(ids)
    explanation = SimpleNamespace(
        cams=cam, labels=np.zeros((n, 1)), scores=np.zeros((n, 1)),
        probabilities=np.ones((n, 1)), degenerate=np.zeros((n, 1)),
        trivial=np.zeros((n, 1)), ranks=("class",), rivals=np.full((n, 1), -1),
        space=SimpleNamespace(rank_label=lambda row: ("", -1)),
    )  # fmt: skip
    rows = [geometry.of(*SIZES.get(one, (9, 9)), 224, layout).to_row() for one in ids]
    writer.add(ids, explanation, np.stack(rows))
    return writer.close()


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
            "none of the 1 maps .* 6 images with a box or a mask: .*'x/1.jpg'",
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


def test_a_run_whose_images_have_neither(trained, image_folder, tmp_path):
    bare = tmp_path / "bare"
    bare.symlink_to(image_folder)
    with pytest.raises(UserError, match="none of the 9 test images of .* has a box"):
        tiny_birds.run(
            "localize", trained.config, rank=("species",), data_dir=str(bare)
        )
