"""CUB-200-2011: TFDS' real builder on a tiny archive of the same form."""

import csv
import hashlib
import io
import tarfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources, splits
from hiercam_keras.data.sources import annotations, tfds_cub200, tfds_prepared
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import parse_class_name

CLASSES = (
    "001.Black_footed_Albatross",
    "044.Frigatebird",
    "087.Mallard",
    "192.Downy_Woodpecker",
)
HOST = "https://data.caltech.edu/records/"
URLS = {
    "CUB_200_2011.tgz": f"{HOST}65de6-vp158/files/CUB_200_2011.tgz?download=1",
    "segmentations.tgz": f"{HOST}w9d68-gec53/files/segmentations.tgz?download=1",
}


def draw(number):
    """(image, votes, box): a red square with a core that all five annotators drew."""
    width, height = 60 + number, 44
    x, y, side = 5 + number, 7, 20
    image = np.full((height, width, 3), 90, np.uint8)
    votes = np.zeros((height, width), np.uint8)
    image[y : y + side, x : x + side] = (220, 20, 20)
    votes[y - 2 : y + side + 2, x - 2 : x + side + 2] = 102  # two of five: not the bird
    votes[y : y + side, x : x + side] = 255
    return image, votes, (x, y, x + side, y + side)


def write_archives(folder):
    """The two archives of 4 classes x 3 images; returns JPEG bytes by example_id."""
    images, masks, lines = {}, {}, {"images": [], "train_test_split": []}
    lines["bounding_boxes"] = []
    for number in range(12):
        bird = CLASSES[number // 3]
        name = f"{bird}/{bird.split('.')[1]}_{number:04d}_7"
        image, votes, (x0, y0, x1, y1) = draw(number)
        jpeg, png = io.BytesIO(), io.BytesIO()
        Image.fromarray(image).save(jpeg, "JPEG", quality=95, subsampling=0)
        Image.fromarray(votes).save(png, "PNG")
        images[f"{name}.jpg"], masks[f"{name}.png"] = jpeg.getvalue(), png.getvalue()
        lines["images"].append(f"{number + 1} {name}.jpg")
        lines["train_test_split"].append(f"{number + 1} {int(number % 3 < 2)}")
        box = f"{x0}.0 {y0}.0 {x1 - x0}.0 {y1 - y0}.0"
        lines["bounding_boxes"].append(f"{number + 1} {box}")
    files = {
        f"CUB_200_2011/{name}.txt": "\n".join(text).encode() + b"\n"
        for name, text in lines.items()
    }
    files |= {f"CUB_200_2011/images/{name}": data for name, data in images.items()}
    write_tar(folder / "CUB_200_2011.tgz", files)
    write_tar(
        folder / "segmentations.tgz",
        {f"segmentations/{name}": data for name, data in masks.items()},
    )
    return images


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def tfds():
    return tfds_prepared.import_tfds()


@pytest.fixture(scope="module")
def archives(tmp_path_factory, tfds):
    """(TFDS folder with the archives placed by hand, JPEG bytes by example_id)."""
    place = tmp_path_factory.mktemp("tfds")
    return place, write_archives(place / "downloads" / "manual")


@pytest.fixture
def registered(archives, tfds, monkeypatch):
    """TFDS expects the tiny archives' sizes and sums."""
    infos = {}
    for name, url in URLS.items():
        data = (archives[0] / "downloads" / "manual" / name).read_bytes()
        infos[url] = tfds.core.download.checksums.UrlInfo(
            size=tfds.core.utils.Size(len(data)),
            checksum=hashlib.sha256(data).hexdigest(),
            filename=name,
        )
    monkeypatch.setattr(tfds.builder_cls(tfds_cub200.NAME), "url_infos", infos)
    return infos


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def config(data_config):
    return ConfigDict(
        data_config.to_dict() | {"source": "cub200", "manual_dir": "", "root": ""}
    )


def test_boxes_masks_and_splits_arrive(archives, registered, config, tfds, monkeypatch):
    place, images = archives
    config.root = str(place)
    source = sources.load(config, name="cub200_2011")
    assert source.name == "cub200_2011"
    kept = {name for name in images if "Frigatebird" not in name}
    assert {record.example_id for record in source.records} == kept
    assert source.report.ignored == {"images of 1 classes that are not a species": 3}
    for record in source.records:
        number = int(record.example_id.split("_")[-2])
        image, votes, box = draw(number)
        assert record.path.read_bytes() == images[record.example_id]  # no new encoding
        assert (record.height, record.width) == image.shape[:2]
        np.testing.assert_allclose(record.boxes, [box], atol=1e-3)
        mask = annotations.read_labels(record.mask_path)
        np.testing.assert_array_equal(mask > 0, votes == 255)
        # The drawn square, found again in the pixels of the file.
        pixels = np.asarray(Image.open(record.path)).astype(int)
        red = pixels[:, :, 0] - pixels[:, :, 1] > 60
        np.testing.assert_array_equal(mask > 0, red)
        assert record.split == ("train" if number % 3 < 2 else "test")
    species = {r.lineage.display_name("species") for r in source.records}
    assert species == {
        "Phoebastria nigripes",
        "Anas platyrhynchos",
        "Dryobates pubescens",
    }
    split = splits.split_records(source.records, 0)
    assert len(split.test) == 3 and len(split.train) + len(split.val) == 6
    # A second call reads files: it needs neither TFDS nor the prepared data.
    monkeypatch.setattr(tfds_prepared, "import_tfds", None)
    again = sources.load(config, name="cub200_2011")
    assert again.records == source.records and again.report.ignored


def test_prepared_data_are_found(archives, registered, config, tfds, monkeypatch):
    place, images = archives
    config.root = str(place)
    sources.load(config)
    builder = tfds_prepared.find_prepared(tfds_cub200.NAME, str(place))
    assert builder.info.file_format.value == "array_record"
    monkeypatch.setattr(tfds_prepared, "prepare", None)  # nothing is made again
    for data_dir in (str(place), str(builder.data_path)):
        config.cache_dir = f"{config.cache_dir}-again"
        assert len(sources.load(config, data_dir).records) == 9


def test_a_bucket_is_copied_first(archives, registered, config, monkeypatch):
    place, _ = archives
    config.root = str(place)
    sources.load(config)
    monkeypatch.setattr(tfds_prepared, "is_remote", lambda path: str(place) in path)
    config.cache_dir = f"{config.cache_dir}-bucket"
    size = tfds_prepared.find_prepared(tfds_cub200.NAME, str(place)).info.dataset_size
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as context:  # room for the images, not for their copy
        context.setattr(
            tfds_prepared.download.shutil, "disk_usage", lambda p: usage(size * 3 // 2)
        )
        with pytest.raises(UserError, match=f"{tfds_cub200.NAME} needs .* more in"):
            sources.load(config)
    assert not list(Path(config.cache_dir).rglob("*array_record*"))
    assert len(sources.load(config).records) == 9
    assert list(Path(config.cache_dir).rglob("*array_record*"))


def test_formats_without_random_access(archives, registered, config, tmp_path, tfds):
    place, images = archives
    builder = tfds.builder(
        tfds_cub200.NAME, data_dir=str(tmp_path), file_format="tfrecord"
    )
    tfds_prepared.prepare(
        builder, place / "downloads", place / "downloads" / "manual", ""
    )
    records = sources.load(config, str(tmp_path)).records
    assert len(records) == 9
    assert all(r.path.read_bytes() == images[r.example_id] for r in records)


def test_a_killed_unpacking_goes_on(archives, registered, config, monkeypatch):
    place, _ = archives
    config.root = str(place)
    count, write = 0, tfds_prepared._write

    def killed(folder, name, item):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return write(folder, name, item)

    monkeypatch.setattr(tfds_prepared, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        sources.load(config)
    assert not list(Path(config.cache_dir).rglob("table.csv"))
    assert len(sources.load(config).records) == 9


def test_without_network_one_line_tells_how(tfds, config, tmp_path, monkeypatch):
    def unreachable(url, path, size, sha256, **more):
        raise UserError(f"cannot download {url}: no route to host.")

    monkeypatch.setattr(tfds_cub200.download, "fetch", unreachable)
    with pytest.raises(UserError) as raised:
        sources.load(config, str(tmp_path))
    text = str(raised.value)
    assert "no route to host" in text and "\n" not in text
    manual = tmp_path / "downloads" / "manual"
    assert "Place CUB_200_2011.tgz and segmentations.tgz by hand" in text
    assert f"in {manual} and call again" in text


def test_a_damaged_archive_is_told(registered, config, tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    for info in registered.values():
        (manual / info.filename).write_bytes(b"x" * info.size)
    with pytest.raises(UserError, match="another SHA-256") as raised:
        sources.load(config, str(tmp_path))
    text = str(raised.value)
    assert "Place CUB_200_2011.tgz" in text and "\n" not in text


def test_a_mask_of_another_size_is_told():
    image = io.BytesIO()
    Image.new("RGB", (30, 20)).save(image, "JPEG")
    example = {
        "image": image.getvalue(),
        "image/filename": b"CUB_200_2011/images/087.Mallard/a.jpg",
        "segmentation_mask": np.zeros((30, 20, 1), np.uint8),
        "bbox": np.zeros(4),
    }
    with pytest.raises(UserError, match="has 30 x 20 pixels, its mask 20 x 30"):
        tfds_cub200.to_item(tfds_cub200.lineages(), example)


def test_the_table_accounts_for_all_classes():
    rows = list(csv.DictReader(tfds_cub200.TABLE.read_text("utf-8").splitlines()))
    assert [row["cub_class"].split(".")[0] for row in rows] == [
        f"{number:03d}" for number in range(1, 201)
    ]
    assert {row["source"] for row in rows} == {"inat2021", "general knowledge"}
    known = tfds_cub200.lineages()
    nameless = {name for name, lineage in known.items() if lineage is None}
    assert nameless == {
        "044.Frigatebird",
        "070.Green_Violetear",
        "091.Mockingbird",
        "092.Nighthawk",
        "101.White_Pelican",
        "103.Sayornis",
        "105.Whip_poor_Will",
        "110.Geococcyx",
        "130.Tree_Sparrow",
    }
    species = [lineage.taxa for lineage in known.values() if lineage]
    assert len(set(species)) == len(species) == 191
    for coarse, fine in ((3, 4), (4, 5)):  # a family has one order, a genus one family
        above = {}
        for taxa in species:
            assert above.setdefault(taxa[fine], taxa[coarse]) == taxa[coarse]


def test_the_table_agrees_with_the_real_names(real_data):
    names = (real_data / "inat2021_aves_class_names.txt").read_text().split()
    by_species = {
        lineage.display_name("species"): lineage.taxa
        for lineage in map(parse_class_name, names)
    }
    text = (real_data / "cub_inat_mapping.txt").read_text()
    mapped = {
        row["cub_category"]: row["scientific_name"]
        for row in csv.DictReader(io.StringIO(text))
    }
    known = tfds_cub200.lineages()
    assert mapped.keys() == known.keys()
    rows = csv.DictReader(tfds_cub200.TABLE.read_text("utf-8").splitlines())
    from_names = {row["cub_class"] for row in rows if row["source"] == "inat2021"}
    assert len(from_names) == 173
    for bird, lineage in known.items():
        taken = lineage is not None and lineage.taxa in by_species.values()
        assert taken == (bird in from_names)
        if mapped[bird] != "Unknown":
            assert lineage.display_name("species") == mapped[bird]
            assert by_species.get(mapped[bird], lineage.taxa) == lineage.taxa
        if lineage and lineage.taxa[5] in {taxa[5] for taxa in by_species.values()}:
            assert lineage.taxa[:6] in {taxa[:6] for taxa in by_species.values()}


def test_the_table_names_the_classes_of_the_real_metadata(real_data):
    ids = (real_data / "cub_choe" / "test" / "image_ids.txt").read_text().split()
    assert {name.split("/")[0] for name in ids} == set(tfds_cub200.lineages())
