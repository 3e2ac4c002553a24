"""Data room: a TFDS builder of iNat2021's birds, with their lineages.

    tfds build hiercam_keras/data/sources/tfds_birds/inat2021_birds.py \
        --file_format=array_record --data_dir=gs://bucket/tfds --manual_dir=/archives

`i_naturalist2021` of TFDS 4.9.10 cannot be built (its list of labels is not packaged)
and knows no lineages. In the manual folder may lie: bird_train.zip (or .tar, .tar.gz;
archive.zip is Kaggle's own name) or bird_train/ unpacked; or train_mini.tar.gz or
train.tar.gz, and val.tar.gz, or these unpacked. Where none of them lies there, the
official train_mini and val are downloaded (54 GB), with resume, their sums checked.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hiercam_keras.data.sources import archives, download, tfds_prepared
from hiercam_keras.errors import UserError
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
        manual = _manual_dir(dl_manager)
        found = {"train": find(manual, TRAIN), "test": find(manual, TEST)}
        if found["train"] is None:
            # TFDS does not go on with a broken download; what is fetched first it
            # finds in the manual folder.
            manual = manual or Path(dl_manager.download_dir) / "manual"
            for split, name in (("train", "train_mini"), ("test", "val")):
                if found[split] is None:
                    found[split] = self._download(f"{name}.tar.gz", manual)
        sources = {split: path for split, path in found.items() if path is not None}
        classes = {name for path in sources.values() for name in bird_classes(path)}
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
            split: self._generate_examples(path, taxonomy)
            for split, path in sources.items()
        }

    def _generate_examples(
        self, source: Path, taxonomy: Taxonomy
    ) -> Iterator[tuple[str, dict]]:
        for name, data in archives.images(source):
            lineage = bird_lineage(name)
            if lineage is None:
                continue
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

    def _download(self, name: str, folder: Path) -> Path:
        info = self.url_infos[URL + name]
        try:
            return download.fetch(URL + name, folder / name, info.size, info.checksum)
        except UserError as error:
            raise UserError(f"{error} Or place {name} by hand in {folder}.") from error


def find(folder: Path | None, stems: tuple[str, ...]) -> Path | None:
    """The first archive or folder of these names, None where there is none."""
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


def bird_classes(source: Path) -> set[str]:
    """Class folders of birds in an archive or folder."""
    names = {name.split("/")[-2] for name in archives.names(source) if "/" in name}
    return {name for name in names if bird_lineage(f"{name}/x.jpg") is not None}


def _ranks() -> tuple[str, ...]:
    return DEFAULT_RANKS


def _manual_dir(dl_manager) -> Path | None:
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError:  # missing or empty: no reason to stop, we download
        return None
