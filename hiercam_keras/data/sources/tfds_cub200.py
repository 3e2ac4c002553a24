"""CUB-200-2011 through TFDS `caltech_birds2011`, with added lineages.

11,788 photographs of 200 classes with a box and a mask each, and the official split
(Wah et al. 2011, CNS-TR-2011-001). The data set has no lineages: those of 191 classes
are in `cub_lineages.csv`; 9 classes are not single species ("Frigatebird") and are left
out and counted. A mask holds the pixels that at least three of five annotators marked.
"""

import dataclasses
import functools
import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from absl import logging
from PIL import Image

from hiercam_keras import csv_files, workdir
from hiercam_keras.data.sources import csv_table, download, image_folder, tfds_prepared
from hiercam_keras.data.sources.common_names import Choice
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.common_names import Collected, CommonName
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS

NAME = "caltech_birds2011"
TABLE = Path(__file__).with_name("cub_lineages.csv")
_ABOVE = ("Animalia", "Chordata", "Aves")
_HOST = "https://data.caltech.edu/"
_MAJORITY = 127  # the masks hold votes: 51 for each of five annotators


def read_source(request: Request) -> Reading:
    """Reads the data set; the first call prepares and unpacks it.

    --data_dir or data.root is a TFDS folder (default: that of TFDS); it may be in a
    bucket that holds the prepared data.

    Raises:
      UserError: the download failed; the message says where to place the archives.
    """
    place = request.place or tfds_prepared.default_place(NAME, request.config)
    folder = tfds_prepared.folder_for(request.cache, NAME, place)
    if not tfds_prepared.is_unpacked(folder):
        builder = tfds_prepared.find_prepared(NAME, place)
        if builder is None:
            builder = _prepare(place, request)
        tfds_prepared.unpack(builder, folder, functools.partial(to_item, lineages()))
    return read_unpacked(folder, request)


def read_unpacked(folder: Path, request: Request) -> Reading:
    """Records of an unpacked folder; the report counts images without a lineage."""
    keep = image_folder.lineage_prefix(request.config.get("keep_lineage", ""))
    read = csv_table.read_table(
        folder / "table.csv", folder, request.cache, request.workers, keep=keep
    )
    names: Collected[tuple[str, ...]] = Collected(Choice.of(request.config).language)
    for record in read.records:
        bird = record.example_id.split("/")[0].partition(".")[2]  # of 001.Laysan_Alb..
        names.add(record.lineage.taxa, CommonName(bird.replace("_", " "), "eng"))
    read = read._replace(common_names=names.chosen(str(folder)))
    unknown = workdir.read_json(folder / "source.json")["without_lineage"]
    if not unknown:
        return read
    what = f"images of {len(unknown)} classes that are not a species"
    ignored = {**read.report.ignored, what: sum(unknown.values())}
    report = dataclasses.replace(read.report, ignored=ignored)
    return read._replace(report=report)


@functools.cache
def lineages() -> Mapping[str, Lineage | None]:
    """Lineage by class, "001.Black_footed_Albatross"; None if unknown."""
    return {row["cub_class"]: _lineage(row) for _, row in csv_files.read(TABLE).rows()}


def _lineage(row) -> Lineage | None:
    taxa = [row[rank] for rank in DEFAULT_RANKS[len(_ABOVE) :]]
    if not all(taxa):
        return None
    return Lineage((*_ABOVE, *taxa), DEFAULT_RANKS, row["cub_class"].split(".")[0])


def to_item(known: Mapping[str, Lineage | None], example: dict) -> tfds_prepared.Item:
    """An example as files: `<class>/<name>.jpg`, box and mask in pixels."""
    name = tfds_prepared.text(example["image/filename"])
    bird = PurePosixPath(name)
    if bird.parent.name not in known:
        raise UserError(
            f"{name} is in none of the {len(known)} classes of {TABLE.name}."
        )
    image = bytes(example["image"])
    votes = np.asarray(example["segmentation_mask"])[:, :, 0]
    height, width = votes.shape
    with Image.open(io.BytesIO(image)) as opened:
        if opened.size != (width, height):
            raise UserError(
                f"{name} has {opened.size[0]} x {opened.size[1]} pixels, its mask "
                f"{width} x {height}. Delete the prepared data set and repeat this."
            )
    ymin, xmin, ymax, xmax = (float(edge) for edge in example["bbox"])
    return tfds_prepared.Item(
        example_id=f"{bird.parent.name}/{bird.name}",
        image=image,
        lineage=known[bird.parent.name],
        group=bird.parent.name,
        box=(xmin * width, ymin * height, xmax * width, ymax * height),
        mask=votes > _MAJORITY,
    )


def _prepare(place: str, request: Request):
    """Downloads missing archives with resume; TFDS then verifies and shards them."""
    tfds = tfds_prepared.import_tfds()
    remote = tfds_prepared.is_remote(place)
    root = request.cache / "tfds" if remote else Path(place).expanduser()
    downloads = root / "downloads"
    manual = tfds_prepared.manual_dir(request.config, downloads / "manual")
    builder = tfds.builder(
        NAME,
        data_dir=place if remote else str(root),
        file_format=tfds_prepared.file_format(),
    )
    files = {
        url: info for url, info in builder.url_infos.items() if url.startswith(_HOST)
    }
    names = " and ".join(info.filename for info in files.values())
    how = f"Place {names} by hand (from {_HOST}) in {manual} and call again."
    logging.info(
        "CUB-200-2011: %s to download; extracted, in shards (%s) and unpacked in the "
        "cache it takes about three times as much more",
        download.in_words(sum(info.size for info in files.values())),
        builder.data_path,
    )
    for url, info in files.items():
        try:
            place = manual / info.filename
            download.fetch(url, place, info.size, info.checksum, cache=request.cache)
        except UserError as error:
            raise UserError(f"{error} {how}") from error
    tfds_prepared.prepare(builder, downloads, manual, how)
    return builder
