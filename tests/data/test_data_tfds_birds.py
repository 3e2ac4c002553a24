"""The builder of iNat2021's birds: TFDS' own tests of builders, archives, the CLI."""

import dataclasses
import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile
from collections import namedtuple
from typing import NamedTuple

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources
from hiercam_keras.data.sources import tfds_inat2021, tfds_prepared
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.tree import Taxonomy

tfds = tfds_prepared.import_tfds()
from hiercam_keras.data.sources.tfds_birds import inat2021_birds  # noqa: E402

ROOT = pathlib.Path(__file__).parent.parent.parent
ABOVE = "Animalia_Chordata_Aves"
CLASSES = (
    f"03194_{ABOVE}_Anseriformes_Anatidae_Anas_crecca",
    f"03244_{ABOVE}_Anseriformes_Anatidae_Cygnus_olor",
    f"04434_{ABOVE}_Piciformes_Picidae_Dendrocopos_major",
)
MOTH = "00500_Animalia_Arthropoda_Insecta_Lepidoptera_Erebidae_Catocala_nupta"


def photos(part, count):
    """JPEG bytes by name in the archive: birds, and a moth that is not wanted."""
    files = {}
    for k, name in enumerate((*CLASSES, MOTH)):
        for i in range(count):
            pixels = np.random.default_rng([k, i, len(part)]).integers(
                0, 255, (9, 12, 3)
            )
            data = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(data, "JPEG")
            files[f"{part}/{name}/{part}-{i}.jpg"] = data.getvalue()
    return files


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="session")
def dummy(tmp_path_factory):
    """A manual folder with tiny official archives."""
    folder = tmp_path_factory.mktemp("manual")
    write_tar(folder / "train_mini.tar.gz", photos("train_mini", 3))
    write_tar(folder / "val.tar.gz", photos("val", 1))
    return folder


@pytest.fixture(scope="session", autouse=True)
def dummy_for_tfds(dummy):
    TestInat2021Birds.EXAMPLE_DIR = str(dummy)


class TestInat2021Birds(tfds.testing.DatasetBuilderTestCase):
    """What TFDS asks of every builder: registered, prepares, reloads, splits apart."""

    DATASET_CLASS = inat2021_birds.Inat2021Birds
    SPLITS = {"train": 9, "test": 3}

    def test_session(self, *args, **kwargs):
        return super().test_session(*args, **kwargs)

    test_session.__test__ = False  # TensorFlow's, no test: it would count as skipped


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def config(data_config, dummy, tmp_path):
    more = {"source": "tfds_birds", "manual_dir": str(dummy)}
    more["root"] = str(tmp_path / "tfds")
    return ConfigDict(data_config.to_dict() | more)


def test_the_source_prepares_unpacks_and_reads(config, monkeypatch):
    source = sources.load(config)
    files = {k: v for k, v in photos("train_mini", 3).items() if MOTH not in k}
    files |= {k: v for k, v in photos("val", 1).items() if MOTH not in k}
    expected = {"/".join(name.split("/")[1:]): data for name, data in files.items()}
    assert {r.example_id for r in source.records} == set(expected)
    for record in source.records:
        assert record.path.read_bytes() == expected[record.example_id]
        assert record.split == ("test" if "/val-" in record.example_id else "train")
        taxa = "_".join(record.lineage.taxa)
        assert record.example_id.split("/")[0].endswith(f"_{taxa}")
    monkeypatch.setattr(tfds_prepared, "import_tfds", None)
    assert sources.load(config).records == source.records
    ducks = ConfigDict(
        config.to_dict() | {"keep_lineage": "Animalia/Chordata/Aves/Anseriformes"}
    )
    assert len(sources.load(ducks).records) == 8


def test_labels_number_the_lineages_of_the_metadata(config):
    sources.load(config)
    builder = tfds_prepared.find_prepared("inat2021_birds", config.root)
    assert builder.info.file_format.value == "array_record"
    lineages = builder.info.metadata["lineages"]
    assert len(lineages) == 3 and lineages == sorted(lineages)
    taxonomy = Taxonomy(
        tfds_inat2021.Lineage(tuple(text.split("/"))) for text in lineages
    )
    train = builder.as_data_source("train")
    assert len(train) == 9
    for number in (8, 0, 3):  # at random
        example = train[number]
        taxa = tfds_prepared.text(example["lineage"]).split("/")
        for rank in taxonomy.ranks:
            assert example[f"label/{rank}"] == taxonomy.label(taxa, rank)
        assert example["image"].shape == (9, 12, 3)


@pytest.mark.parametrize("form", ["zip", "folder", "archive.zip"])
def test_the_kaggle_archive_by_hand(config, tmp_path, form):
    manual = tmp_path / "kaggle"
    manual.mkdir()
    files = photos("bird_train", 2)
    if form == "folder":
        for name, data in files.items():
            (manual / name).parent.mkdir(parents=True, exist_ok=True)
            (manual / name).write_bytes(data)
    else:
        name = "bird_train.zip" if form == "zip" else form
        write_zip(manual / name, files)
    config.manual_dir = str(manual)
    records = sources.load(config).records
    assert len(records) == 6 and {r.split for r in records} == {"train"}


def test_a_manual_folder_that_is_not_there(config, tmp_path, monkeypatch):
    monkeypatch.setattr(inat2021_birds.download, "fetch", None)  # nothing is downloaded
    config.manual_dir = str(tmp_path / "typo")
    for source in ("tfds_birds", "cub200"):
        config.source = source
        with pytest.raises(UserError, match="data.manual_dir is .*typo, which is no"):
            sources.load(config)


def test_without_network_one_line_tells_how(config, tmp_path, monkeypatch):
    def unreachable(url, path, size, sha256, **more):
        raise UserError(f"cannot download {url}: no route to host.")

    monkeypatch.setattr(inat2021_birds.download, "fetch", unreachable)
    monkeypatch.setattr(inat2021_birds.download, "check_room", lambda *_: 1e12)
    config.manual_dir = ""
    with pytest.raises(UserError, match="no route.*Or place train_mini.tar.gz by hand"):
        sources.load(config)


def test_an_archive_that_leads_out_is_refused(config, tmp_path):
    manual = tmp_path / "bad"
    manual.mkdir()
    write_zip(manual / "bird_train.zip", {f"../{CLASSES[0]}/a.jpg": b"x"})
    config.manual_dir = str(manual)
    with pytest.raises(UserError, match="not to be trusted"):
        sources.load(config)


def test_what_is_not_there_is_downloaded(config, dummy, tmp_path, monkeypatch):
    asked = []

    def fetch(url, path, size, sha256, **more):
        asked.append((url, size, sha256))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((dummy / path.name).read_bytes())
        return path

    monkeypatch.setattr(inat2021_birds.download, "fetch", fetch)
    # The archives' sizes are those of the real ones, for which a disk may be too small.
    monkeypatch.setattr(inat2021_birds.download, "check_room", lambda *_: 1e12)
    config.manual_dir = ""
    assert len(sources.load(config).records) == 12
    base = "https://ml-inat-competition-datasets.s3.amazonaws.com/2021/"
    assert [url for url, _, _ in asked] == [
        f"{base}train_mini.tar.gz",
        f"{base}val.tar.gz",
    ]
    assert [size for _, size, _ in asked] == [44_636_137_542, 8_931_661_582]
    assert all(len(sha256) == len(hashlib.sha256().hexdigest()) for *_, sha256 in asked)


class Manager(NamedTuple):
    """The folders of a download manager."""

    manual_dir: tfds.core.Path
    download_dir: tfds.core.Path


def test_a_bucket_never_becomes_a_folder_of_this_machine(tmp_path):
    bucket = tfds.core.Path("gs://bucket/tfds")
    cache = tmp_path / "user" / "hiercam_keras"
    there = Manager(bucket / "manual", bucket / "downloads")
    manual = inat2021_birds.manual_dir(there)
    assert str(manual) == "gs://bucket/tfds/manual"
    here = cache / "tfds" / "downloads" / "manual"
    assert inat2021_birds.download_dir(there, manual) == here
    assert inat2021_birds.download_dir(there, tmp_path) == tmp_path
    local = Manager(manual, tfds.core.Path(tmp_path))
    assert inat2021_birds.download_dir(local, manual) == tmp_path / "manual"


def test_archives_by_hand_are_compared_with_their_sums(
    config, dummy, tmp_path, monkeypatch
):
    url = f"{inat2021_birds.URL}val.tar.gz"
    data = (dummy / "val.tar.gz").read_bytes()
    info = tfds.core.download.checksums.UrlInfo(
        size=tfds.core.utils.Size(len(data)), checksum="0" * 64, filename="val.tar.gz"
    )
    infos = {**inat2021_birds.Inat2021Birds.url_infos, url: info}
    monkeypatch.setattr(inat2021_birds.Inat2021Birds, "url_infos", infos)
    with pytest.raises(UserError, match=r"val.tar.gz has another SHA-256 \("):
        sources.load(config)
    right = dataclasses.replace(info, checksum=hashlib.sha256(data).hexdigest())
    infos = {**infos, url: right}
    monkeypatch.setattr(inat2021_birds.Inat2021Birds, "url_infos", infos)
    assert len(sources.load(config).records) == 12


def test_room_for_everything_is_found_first(config, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    free = 50_000_000_000  # enough for train_mini alone
    monkeypatch.setattr(
        inat2021_birds.download.shutil, "disk_usage", lambda place: usage(free)
    )
    monkeypatch.setattr(inat2021_birds.download, "fetch", None)
    config.manual_dir = ""
    with pytest.raises(
        UserError, match="train_mini.tar.gz and val.tar.gz needs 53.6 GB more"
    ):
        sources.load(config)


def test_another_prepared_data_set_is_refused(config, tmp_path):
    class Other(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"x": tfds.features.Scalar(np.int64)})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": iter([("a", {"x": 1})])}

        def _generate_examples(self):
            return iter(())

    other = Other(data_dir=str(tmp_path / "other"))
    other.download_and_prepare()
    with pytest.raises(UserError, match="holds other, which has no feature 'image'"):
        sources.load(config, str(other.data_path))


BUILD = """
import sys
import simple_parsing
from tensorflow_datasets.scripts.cli import build
parser = simple_parsing.ArgumentParser()
parser.add_arguments(build.Args, dest="args")
parser.parse_args(sys.argv[1:]).args.execute()
"""


@pytest.mark.slow  # a process of its own that imports TensorFlow
def test_tfds_build_from_the_path(dummy, tmp_path):
    """`tfds build`; the program `tfds` around it does not start without apache_beam."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            BUILD,
            str(ROOT / "hiercam_keras/data/sources/tfds_birds/inat2021_birds.py"),
            f"--data_dir={tmp_path}",
            f"--manual_dir={dummy}",
            "--file_format=array_record",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    builder = tfds_prepared.find_prepared("inat2021_birds", str(tmp_path))
    assert builder.info.splits["train"].num_examples == 9
    assert len(builder.as_data_source("test")) == 3
