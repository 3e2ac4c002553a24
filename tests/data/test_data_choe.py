"""Metadata in the format of Choe et al.: read, checked, refused; and the real CUB."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import sources, splits
from hiercam_keras.data.sources import choe_metadata as choe
from hiercam_keras.data.sources import choe_metadata_files as files
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.tree import Taxonomy

REAL = os.environ.get("HIERCAM_REAL_DATA")
A, B, C = "a/1.jpg", "a/2,x.jpg", "b/3.jpg"
SIZES = {A: (60, 40), B: (50, 30), C: (64, 32)}  # width, height
BOXES = {A: [(5, 6, 55, 30)], B: [(0, 0, 20, 29), (30, 2, 50, 30)], C: [(1, 2, 60, 20)]}


def write(folder, name, rows):
    """A file without a final newline, as some real ones are."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (folder / name).write_text(text)


def make_role(folder, ids=(A, B, C), labels=(0, 0, 1), size_order="wh", boxes="xyxy"):
    write(folder, "image_ids.txt", [[name] for name in ids])
    write(folder, "class_labels.txt", zip(ids, labels, strict=True))
    if boxes:
        step = 1 if size_order == "wh" else -1
        rows = [(name, *SIZES[name][::step]) for name in ids]
        write(folder, "image_sizes.txt", rows)
        order = [0, 1, 2, 3] if boxes == "xyxy" else [0, 2, 1, 3]
        rows = [(n, *(box[i] for i in order)) for n in ids for box in BOXES[n]]
        write(folder, "localization.txt", rows)
    return folder


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    for name, (width, height) in SIZES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(root / name)
    return root


def config_with(data_config, metadata, **options):
    data_config.source = "choe"
    data_config.choe = {"metadata": str(metadata), **options}
    return data_config


def test_a_role_alone(tmp_path):
    found = choe.read_metadata(make_role(tmp_path / "test"))
    assert list(found.split.items()) == [(A, "test"), (B, "test"), (C, "test")]
    assert found.sizes == SIZES
    assert found.boxes == {name: tuple(boxes) for name, boxes in BOXES.items()}
    # Labels and folders go together, so that the folders name the classes.
    assert found.lineages[A].taxa == ("a",) and found.lineages[C].taxa == ("b",)
    assert found.lineages[A].ranks == ("class",)
    assert choe.read_metadata(make_role(tmp_path / "mine")).split[A] is None


def test_records_with_roles(tmp_path, images, data_config):
    meta = tmp_path / "metadata"
    make_role(meta / "train", (A,), (0,), boxes=None)
    make_role(meta / "val", (B,), (0,))
    make_role(meta / "test", (C,), (1,))
    source = sources.load(config_with(data_config, meta), str(images))
    by_id = {record.example_id: record for record in source.records}
    assert {name: record.split for name, record in by_id.items()} == {
        A: "train",
        B: "val",
        C: "test",
    }
    assert by_id[A].boxes == () and by_id[B].boxes == tuple(BOXES[B])
    assert (by_id[C].width, by_id[C].height) == SIZES[C]
    parts = splits.split_records(source.records, 0, (0.78, 0.11, 0.11))
    assert (parts.train, parts.val, parts.test) == ((A,), (B,), (C,))


@pytest.mark.parametrize("size_order", ["wh", "hw"])
@pytest.mark.parametrize("boxes", ["xyxy", "xxyy"])
def test_orders_are_found_out(tmp_path, size_order, boxes, caplog):
    folder = make_role(tmp_path / "val", size_order=size_order, boxes=boxes)
    with caplog.at_level("INFO"):
        found = choe.read_metadata(folder)
    sides = {"wh": "width,height", "hw": "height,width"}[size_order]
    corners = {"xyxy": "x0,y0,x1,y1", "xxyy": "x0,x1,y0,y1"}[boxes]
    assert f"are read as {sides} and {corners}" in caplog.text
    assert found.sizes == SIZES and found.boxes[B] == tuple(BOXES[B])
    right = {"size_order": size_order, "box_order": boxes}
    assert choe.read_metadata(folder, right).sizes == SIZES
    other = "hw" if size_order == "wh" else "wh"
    with pytest.raises(UserError, match="width and height are swapped") as error:
        choe.read_metadata(folder, {"size_order": other, "box_order": boxes})
    assert f"; the first is {A}: " in str(error.value)  # a path keeps its letters
    assert f"size_order={size_order}" in str(error.value)


def test_the_files_decide_where_no_box_does(tmp_path, images, data_config):
    ids = (A, C)
    folder = make_role(tmp_path / "val", ids, (0, 1), "hw")
    write(folder, "localization.txt", [(A, 0, 0, 5, 5), (C, 1, 1, 9, 9)])
    source = sources.load(config_with(data_config, folder), str(images))
    assert [record.boxes for record in source.records] == [
        ((0, 0, 5, 5),),
        ((1, 1, 9, 9),),
    ]
    with pytest.raises(UserError, match="swapped") as error:
        wrong = config_with(data_config, folder, size_order="wh")
        sources.load(wrong, str(images))
    assert "but the file is 60 x 40" in str(error.value)


def test_sizes_of_other_images_are_refused(tmp_path, images, data_config):
    folder = make_role(tmp_path / "val")
    write(folder, "image_sizes.txt", [(name, 90, 90) for name in SIZES])
    with pytest.raises(UserError, match="nor in any other order"):
        sources.load(config_with(data_config, folder), str(images))


def test_boxes_follow_smaller_copies_and_exif(tmp_path, images, data_config):
    with Image.open(images / A) as image:
        image.resize((30, 20)).save(images / A)  # half as large as in the list
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    with Image.open(images / C) as image:
        image.save(images / C, exif=exif)
    folder = make_role(tmp_path / "val")
    source = sources.load(config_with(data_config, folder), str(images))
    by_id = {record.example_id: record for record in source.records}
    assert by_id[A].boxes == ((2.5, 3, 27.5, 15),)
    # x, y -> height - y, x: 64 x 32 becomes 32 x 64.
    assert (by_id[C].width, by_id[C].height) == (32, 64)
    assert by_id[C].boxes == ((32 - 20, 1, 32 - 2, 60),)


def test_labels_at_ranks_make_a_tree(tmp_path):
    meta = tmp_path / "metadata"
    ids = (A, B, C)
    for role in ("val", "test"):
        own = ids[:2] if role == "val" else ids[2:]
        make_role(meta / role, own, [7, 8, 9][: len(own)] if role == "val" else [9])
        for rank, values in (("genus", "445"), ("family", "112")):
            rows = zip(ids, values, strict=True)
            kept = [row for row in rows if row[0] in own]
            write(meta / role, f"class_labels_{rank}.txt", kept)
    (meta / "class_names.txt").write_text("\n".join(f"name {i}" for i in range(10)))
    (meta / "class_names_family.txt").write_text("1,Anatidae\n2,Picidae")
    found = choe.read_metadata(meta)
    assert found.lineages[A].ranks == ("family", "genus", "species")
    assert found.lineages[A].taxa == ("Anatidae", "genus 4", "name 7")
    assert found.lineages[C].taxa == ("Picidae", "genus 5", "name 9")
    tree = (meta / "val" / "class_labels_genus.txt", f"{A},4\n{B},5")
    tree[0].write_text(tree[1])
    with pytest.raises(UserError, match="genus 5 is in the family 1 and in"):
        choe.read_metadata(meta)


def test_lineages_from_a_table_and_from_folder_names(tmp_path, class_names):
    folder = make_role(tmp_path / "test")
    table = tmp_path / "lineages.csv"
    table.write_text(
        "class,family,species\na,Anatidae,Anas crecca\n1,Picidae,Picus v\n"
    )
    found = choe.read_metadata(folder, {"lineages": str(table)})
    taxonomy = Taxonomy(found.lineages.values())
    assert taxonomy.names("species") == ("Anas crecca", "Picus v")
    assert found.lineages[C].taxa == ("Picidae", "Picus v")
    table.write_text("class,family\na,Anatidae\n")
    with pytest.raises(UserError, match="has no row for the class 'b'"):
        choe.read_metadata(folder, {"lineages": str(table)})
    table.write_text("who,family\na,Anatidae\n")
    with pytest.raises(UserError, match="columns who, family: expected a key"):
        choe.read_metadata(folder, {"lineages": str(table)})
    named = f"{class_names[2]}/x.jpg"
    make_role(tmp_path / "train", (named,), (4,), boxes=None)
    found = choe.read_metadata(tmp_path / "train")
    assert found.lineages[named].display_name("species") == "Picus viridis"


def test_the_lists_of_inatloc500_are_read(tmp_path, data_config):
    """Blanks in paths, width,height and x0,y0,x1,y1, binomials, a stray folder."""
    meta, root = tmp_path / "metadata", tmp_path / "images"
    names = ("Accipiter gentilis", "Accipiter nisus", "Picus viridis")
    for label, name in enumerate(names):
        image = f"val/Aves/{name}/0a1b.jpg"
        (root / image).parent.mkdir(parents=True)
        Image.new("RGB", (60, 40), (60 * label, 0, 0)).save(root / image)
        for file, row in (
            ("image_ids.txt", image),
            ("class_labels.txt", f"{image},{label}"),
            ("class_labels_species.txt", f"{image},{label}"),
            ("class_labels_genus.txt", f"{image},{label // 2}"),
            ("image_sizes.txt", f"{image},60,40"),
            ("localization.txt", f"{image},5,6,55,30"),
        ):
            (meta / "val").mkdir(parents=True, exist_ok=True)
            with open(meta / "val" / file, "a") as out:
                out.write(f"{row}\n")
    (meta / "class_names_species.txt").write_text("\n".join(names))
    (meta / "class_names_genus.txt").write_text("Accipiter\nPicus\n")
    for place in (meta, meta / "val", root / "val"):
        (place / ".ipynb_checkpoints").mkdir()
        (place / ".ipynb_checkpoints" / "class_labels-checkpoint.txt").write_text("x")
    source = sources.load(config_with(data_config, meta), str(root))
    first = source.records[0]
    assert first.example_id == "val/Aves/Accipiter gentilis/0a1b.jpg"
    assert first.boxes == ((5, 6, 55, 30),) and first.split == "val"
    taxonomy = Taxonomy(record.lineage for record in source.records)
    assert taxonomy.ranks == ("genus", "species")
    assert taxonomy.names("species") == names


def test_a_lineage_table_may_have_a_column_class(tmp_path):
    """With the key `folder`, `class` is the rank."""
    folder = make_role(tmp_path / "test")
    table = tmp_path / "taxa.csv"
    table.write_text(
        "Folder;Class;Species\nA;Aves;Anas crecca\nb;Mammalia;Lutra lutra\n",
        "utf-8-sig",
    )
    found = choe.read_metadata(folder, {"lineages": str(table)})
    assert found.lineages[C].taxa == ("Mammalia", "Lutra lutra")
    assert found.lineages[A].ranks == ("class", "species")


def test_mask_lists(tmp_path, images, data_config):
    folder = make_role(tmp_path / "test")
    rows = [(A, "m/1.png", "m/ig.png"), (A, "m/2.png", ""), (C, "m/3.png", "")]
    write(folder, "localization.txt", rows)
    (images / "m").mkdir()
    Image.new("L", SIZES[C]).save(images / "m" / "3.png")
    found = choe.read_metadata(folder)
    assert found.boxes == {}
    assert found.masks[A] == files.Masks(("m/1.png", "m/2.png"), "m/ig.png")
    assert found.masks[C] == files.Masks(("m/3.png",), None)
    source = sources.load(config_with(data_config, folder), str(images))
    assert [r.mask_path for r in source.records] == [None, None, images / "m" / "3.png"]
    write(folder, "localization.txt", [(A, "../m.png", "")])
    with pytest.raises(UserError, match="not a plain relative path"):
        choe.read_metadata(folder)


@pytest.mark.parametrize(
    "bad",
    ["../out.jpg", "/etc/x.jpg", "a/../../x.jpg", "C:x.jpg", "a\\x", "./a", "a//b"],
)
def test_paths_stay_below_the_root(tmp_path, bad):
    folder = tmp_path / "test"
    write(folder, "image_ids.txt", [[A], [bad]])
    with pytest.raises(UserError, match="image_ids.txt, line 2: the path"):
        choe.read_metadata(folder)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_links_do_not_lead_out(tmp_path, images, data_config, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    (images / A).rename(outside / "1.jpg")
    if kind == "file":
        (images / A).symlink_to(outside / "1.jpg")
    else:
        (images / B).unlink()
        (images / "a").rmdir()
        (images / "a").symlink_to(outside)
    folder = make_role(tmp_path / "test")
    with pytest.raises(UserError, match="a link that leads out of"):
        sources.load(config_with(data_config, folder), str(images))
    # The folder itself may be reached by a link.
    linked = tmp_path / "linked"
    linked.symlink_to(images)
    if kind == "file":
        (images / A).unlink()
        assert len(sources.load(data_config, str(linked)).records) == 2


def test_wrong_folders_and_files_are_refused(tmp_path, images, data_config):
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "nowhere", "does not exist: expected one with train/"),
        (tmp_path / "empty", "holds no image_ids.txt: expected a folder of metadata"),
    ):
        with pytest.raises(UserError, match=words):
            choe.read_metadata(folder)
    folder = make_role(tmp_path / "test")
    with pytest.raises(UserError, match="data.choe.size_order is 'no': use auto"):
        choe.read_metadata(folder, {"size_order": "no"})
    write(folder, "class_labels.txt", [(A, 0), (B, 0)])
    with pytest.raises(UserError, match="class_labels.txt has no label for 'b/3.jpg'"):
        choe.read_metadata(folder)
    write(folder, "class_labels.txt", [(A, 0), (A, 1)])
    with pytest.raises(UserError, match="line 2: 'a/1.jpg' has the labels 0 and 1"):
        choe.read_metadata(folder)
    make_role(folder)
    write(folder, "localization.txt", [(A, 1, 2, 3, 4), (B, 1, 2, "x", 4)])
    with pytest.raises(UserError, match="localization.txt, line 2"):
        choe.read_metadata(folder)
    make_role(folder)
    with pytest.raises(UserError, match="none of 3 images"):
        sources.load(config_with(data_config, folder), str(tmp_path / "empty"))
    with pytest.raises(UserError, match="data.choe.metadata is empty"):
        sources.load(config_with(data_config, ""), str(images))
    make_role(tmp_path / "both" / "val")
    make_role(tmp_path / "both" / "test")
    with pytest.raises(UserError, match="is in val and in test"):
        choe.read_metadata(tmp_path / "both")
    write(folder, "image_ids.txt", [[A], [A]])
    with pytest.raises(UserError, match="lists 'a/1.jpg' twice"):
        choe.read_metadata(folder)


def test_missing_images_are_counted(tmp_path, images, data_config):
    (images / C).unlink()
    folder = make_role(tmp_path / "test")
    source = sources.load(config_with(data_config, folder), str(images))
    assert [record.example_id for record in source.records] == [A, B]
    assert "1 images of the lists that are missing" in source.report.summary()


@pytest.mark.skipif(not REAL, reason="HIERCAM_REAL_DATA is not set")
def test_the_real_metadata_of_cub():
    folder = Path(REAL) / "cub_choe" / "test"
    found = choe.read_metadata(folder)
    assert len(found.split) == 5794 and set(found.split.values()) == {"test"}
    taxonomy = Taxonomy(found.lineages.values())
    assert taxonomy.ranks == ("class",) and taxonomy.num_labels("class") == 200
    first = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg"
    assert found.lineages[first].taxa == ("001.Black_footed_Albatross",)
    assert found.sizes[first] == (500, 335)
    assert found.boxes[first] == ((60, 27, 385, 331),)
    assert len(found.boxes) == len(found.sizes) == 5794
    with pytest.raises(UserError, match="3462 of 5794.*width and height are swapped"):
        choe.read_metadata(folder, {"size_order": "hw"})
    assert choe.read_metadata(folder.parent).split[first] == "test"
