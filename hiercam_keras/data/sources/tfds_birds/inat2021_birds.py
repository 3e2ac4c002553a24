"""A TFDS builder of iNat2021's birds, with their lineages.

    tfds build hiercam_keras/data/sources/tfds_birds/inat2021_birds.py \
        --file_format=array_record --data_dir=gs://bucket/tfds --manual_dir=/archives

`i_naturalist2021` of TFDS 4.9.10 cannot be built (its list of labels is not packaged)
and has no lineages. The manual folder may hold bird_train.zip (or .tar, .tar.gz;
archive.zip is Kaggle's own name) or bird_train/ unpacked; or train_mini.tar.gz or
train.tar.gz, and val.tar.gz, or these unpacked. If it holds none of them, the official
train_mini and val are downloaded (54 GB), with resume and checksums.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras.cache_folder import cache_folder
from hiercam_keras.data.sources import archives, checksums, download, tfds_prepared
from hiercam_keras.errors import UserError
from hiercam_keras.progress import progress
from hiercam_keras.taxonomy.lineage import parse_class_name
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS
from hiercam_keras.taxonomy.tree import Taxonomy

tfds = tfds_prepared.import_tfds()

BIRDS = ("Animalia", "Chordata", "Aves")
URL = "https://ml-inat-competition-datasets.s3.amazonaws.com/2021/"
TRAIN = ("bird_train", "archive", "train_mini", "train")
TEST = ("val",)

_DESCRIPTION = """
Photographs of 1,486 bird species from the iNaturalist 2021 competition, each with its
lineage from kingdom to species and a label at every rank. The labels number the sorted
lineages of a rank; `metadata.json` lists the lineages. The official validation images
are the test split. For non-commercial research and education only; see the homepage.
"""
_CITATION = """
@misc{inaturalist21,
  title = {{iNaturalist} 2021 competition dataset},
  howpublished = {https://github.com/visipedia/inat_comp/tree/master/2021},
  year = {2021},
}
"""


class Inat2021Birds(tfds.core.GeneratorBasedBuilder):
    """iNat2021 birds."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = __doc__
    notes: Path | None = None  # cache of verified checksums; None: the user's

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "image/filename": tfds.features.Text(),
            "lineage": tfds.features.Text(),
        }
        features |= {
            f"label/{rank}": tfds.features.Scalar(np.int64) for rank in _ranks()
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label/species"),
            homepage="https://github.com/visipedia/inat_comp/tree/master/2021",
            citation=_CITATION,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        manual = manual_dir(dl_manager)
        found = {"train": find(manual, TRAIN), "test": find(manual, TEST)}
        for path in filter(None, found.values()):
            self._check(path)
        if found["train"] is None:
            # TFDS does not resume a download, so ours runs first; TFDS then finds the
            # archives in the manual folder.
            wanted = {"train": "train_mini.tar.gz", "test": "val.tar.gz"}
            wanted = {k: name for k, name in wanted.items() if found[k] is None}
            found |= self._download_all(wanted, download_dir(dl_manager, manual))
        sources = {split: path for split, path in found.items() if path is not None}
        counts = {split: count_birds(path) for split, path in sources.items()}
        classes = {name for count in counts.values() for name in count}
        if not classes:
            raise UserError(
                f"no birds in {', '.join(map(str, sources.values()))}: expected class "
                "folders such as 03113_Animalia_Chordata_Aves_.._gentilis."
            )
        taxonomy = Taxonomy(parse_class_name(name) for name in classes)
        self.info.metadata["ranks"] = list(taxonomy.ranks)
        self.info.metadata["lineages"] = [
            "/".join(lineage.taxa) for lineage in taxonomy.lineages
        ]
        return {
            split: self._generate_examples(path, taxonomy, counts[split].total())
            for split, path in sources.items()
        }

    def _generate_examples(
        self, source: Path, taxonomy: Taxonomy, total: int
    ) -> Iterator[tuple[str, dict]]:
        birds = (
            (name, data, lineage)
            for name, data in archives.images(source)
            if (lineage := bird_lineage(name)) is not None
        )
        for name, data, lineage in progress(birds, total, f"shards of {source.name}"):
            key = "/".join(name.split("/")[-2:])
            labels = {f"label/{r}": taxonomy.label(lineage, r) for r in _ranks()}
            yield (
                key,
                {
                    "image": data,
                    "image/filename": key,
                    "lineage": "/".join(lineage.taxa),
                    **labels,
                },
            )

    def _check(self, path: Path) -> None:
        """Verifies the published checksum of a manually placed archive."""
        info = self.url_infos.get(URL + path.name)
        if info is None or path.is_dir():
            return  # Kaggle publishes no checksums; zip and gzip have their own
        if tfds_prepared.is_remote(str(path)):
            logging.info("%s is in a bucket: its checksum is not verified", path)
        elif path.stat().st_size != info.size:
            logging.warning(
                "%s has %d bytes, the published one %d: it is read without a check",
                path,
                path.stat().st_size,
                info.size,
            )
        else:
            checksums.check(path, info.checksum, self.notes)

    def _download_all(self, wanted: dict[str, str], folder: Path) -> dict[str, Path]:
        """Downloads archives, by split; first logs their size and checks the free
        space."""
        infos = {name: self.url_infos[URL + name] for name in wanted.values()}
        need = sum(
            info.size - _size_there(folder / name) for name, info in infos.items()
        )
        free = download.check_room(folder, need, " and ".join(infos))
        logging.info(
            "iNat2021: %s to download to %s, which has %s free; the birds are about a "
            "seventh of it, and their shards take as much again",
            download.in_words(need),
            folder,
            download.in_words(free),
        )
        return {split: self._download(name, folder) for split, name in wanted.items()}

    def _download(self, name: str, folder: Path) -> Path:
        info = self.url_infos[URL + name]
        try:
            return download.fetch(
                URL + name,
                folder / name,
                info.size,
                info.checksum,
                cache=self.notes,
            )
        except UserError as error:
            raise UserError(f"{error} Or place {name} by hand in {folder}.") from error


def find(folder: Path | None, stems: tuple[str, ...]) -> Path | None:
    """The first archive or folder of these names, None if there is none."""
    if folder is None:
        return None
    for stem in stems:
        for suffix in (*archives.KINDS, ""):
            path = folder / f"{stem}{suffix}"
            if path.is_dir() if not suffix else path.is_file():
                return path
    return None


def bird_lineage(name: str):
    """Lineage of an image by its class folder; None for other animals and files."""
    parts = name.split("/")
    if len(parts) < 2:
        return None
    try:
        lineage = parse_class_name(parts[-2])
    except UserError:
        return None
    return lineage if lineage.taxa[: len(BIRDS)] == BIRDS else None


def count_birds(source: Path) -> Counter[str]:
    """Numbers of images by class folder of birds, in an archive or folder."""
    names = (name for name in archives.names(source) if bird_lineage(name) is not None)
    return Counter(name.split("/")[-2] for name in names)


def manual_dir(dl_manager: Any) -> Path | None:
    """The folder of manually placed archives, on disk or in a bucket; None without."""
    try:
        return _on_disk(dl_manager.manual_dir)
    except AssertionError:  # missing or empty: archives are downloaded instead
        return None


def download_dir(dl_manager: Any, manual: Path | None) -> Path:
    """The local folder of downloads.

    Resumable downloads and their locks need local files; with --data_dir=gs://... the
    archives go to the user's cache.
    """
    for place in (manual, dl_manager.download_dir / "manual"):
        if place is not None and not tfds_prepared.is_remote(str(place)):
            return Path(place)
    return cache_folder() / "tfds" / "downloads" / "manual"


def _on_disk(place: Any) -> Any:
    """A pathlib path for a local one; a bucket's path is returned unchanged."""
    return place if tfds_prepared.is_remote(str(place)) else Path(place)


def _size_there(path: Path) -> int:
    """Number of downloaded bytes."""
    places = (path, path.with_name(f"{path.name}.part"))
    return max((one.stat().st_size for one in places if one.is_file()), default=0)


def _ranks() -> tuple[str, ...]:
    return DEFAULT_RANKS
