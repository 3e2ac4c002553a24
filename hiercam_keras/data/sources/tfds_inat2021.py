"""iNat2021 birds from the sharded files of our TFDS builder (`tfds_birds`).

For data sets in a TFDS folder or a bucket; local image folders are read directly with
data.source=inat2021.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hiercam_keras.data.sources import csv_table, image_folder, tfds_prepared
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage

NAME = "inat2021_birds"


def read_source(request: Request) -> Reading:
    """Reads the data set; the first call prepares and unpacks it.

    --data_dir or data.root is a TFDS folder or the folder of the prepared version
    itself, on disk or in a bucket; data.manual_dir is the folder of the archives.

    Raises:
      UserError: an archive is damaged, or cannot be downloaded or written.
    """
    place = request.place or tfds_prepared.default_place(NAME, request.config)
    folder = tfds_prepared.folder_for(request.cache, NAME, place)
    if not tfds_prepared.is_unpacked(folder):
        builder = tfds_prepared.find_prepared(NAME, place)
        if builder is None:
            builder = _prepare(place, request)
        missing = {"image", "image/filename", "lineage"} - set(builder.info.features)
        if missing:
            raise UserError(
                f"{builder.data_path} holds {builder.name}, which has no feature "
                f"{min(missing)!r}: expected a data set that `tfds build` made with "
                f"{NAME}.py."
            )
        tfds_prepared.unpack(builder, folder, to_item)
    keep = image_folder.lineage_prefix(request.config.get("keep_lineage", ""))
    return csv_table.read_table(
        folder / "table.csv", folder, request.cache, request.workers, keep=keep
    )


def to_item(example: Mapping[str, Any]) -> tfds_prepared.Item:
    """An example as a file, `<class>/<uuid>.jpg`."""
    return tfds_prepared.Item(
        example_id=tfds_prepared.text(example["image/filename"]),
        image=bytes(example["image"]),
        lineage=Lineage(tuple(tfds_prepared.text(example["lineage"]).split("/"))),
    )


def _prepare(place: str, request: Request) -> Any:
    tfds_prepared.import_tfds()
    from hiercam_keras.data.sources.tfds_birds.inat2021_birds import Inat2021Birds

    remote = tfds_prepared.is_remote(place)
    base = request.cache / "tfds" if remote else Path(place).expanduser()
    root = base / "downloads"
    folder = tfds_prepared.manual_dir(request.config, root / "manual")
    builder = Inat2021Birds(
        data_dir=place if remote else str(Path(place).expanduser()),
        file_format=tfds_prepared.file_format(),
    )
    builder.notes = request.cache
    how = f"Place the archives by hand in {folder} (docs/DATA.md lists them)."
    tfds_prepared.prepare(builder, root, folder, how)
    return builder
