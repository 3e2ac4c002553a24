"""iNat2021 as unpacked from its archives, or any part of it.

    bird_train/<class>/<uuid>.jpg              the Kaggle archive inat2021birds
    train_mini/<class>/<uuid>.jpg, train/..., val/...   the official archives
    <class>/<uuid>.jpg                         class folders alone

--data_dir is the folder that holds these, or one of them. The official val is the test
split (the official test images have no labels), and val is taken from train by the
seed. data.keep_lineage selects among the 10,000 classes.
"""

from collections import Counter
from pathlib import Path

from hiercam_keras.data import index as index_lib
from hiercam_keras.data.sources import image_folder
from hiercam_keras.data.sources.image_folder import Listing
from hiercam_keras.data.sources.reading import Reading, Request
from hiercam_keras.errors import UserError

# Only one of the first three is read, as their images overlap.
TRAIN = ("bird_train", "train_mini", "train")
VAL = "val"


def read_source(request: Request) -> Reading:
    """Records of every readable image, sorted by example_id.

    An example_id is `<class>/<uuid>.jpg` in every part, so runs on train_mini alone and
    on train_mini with val use the same ids.

    Raises:
      UserError: the folder is missing, or an image is in train and in val.
    """
    if not request.place:
        raise UserError(
            "no images were given: use --data_dir=/path/to/bird_train, or the folder "
            "that holds train_mini/ and val/. docs/DATA.md says how to get them."
        )
    root = Path(request.place).expanduser()
    keep = image_folder.lineage_prefix(request.config.get("keep_lineage", ""))
    parts = find_parts(root, tuple(request.config.get("parts", ())))
    listings = {
        part: image_folder.list_files(part, keep, plain=False) for part in parts
    }
    whole = len(parts) == 1
    listing = next(iter(listings.values())) if whole else _merge(root, listings)
    return image_folder.read_listing(listing, root, request)


def find_parts(root: Path, wanted: tuple[str, ...] = ()) -> list[Path]:
    """The folders to read: `root` itself, or the parts in it that are wanted.

    Args:
      root: folder of --data_dir.
      wanted: names of folders in it; empty: the first existing one of TRAIN, and val.

    Raises:
      UserError: a wanted folder is missing, or two of them overlap.
    """
    missing = [name for name in wanted if not (root / name).is_dir()]
    if missing:
        raise UserError(
            f"data.parts names {missing[0]!r}, which is not in "
            f"{index_lib.printable(str(root))}. It holds the folders that the archives "
            f"unpack to: {', '.join((*TRAIN, VAL))}."
        )
    if len([name for name in wanted if name != VAL]) > 1:
        raise UserError(
            f"data.parts is {', '.join(wanted)}: {TRAIN[1]} is a part of {TRAIN[2]}. "
            f"Name one of {', '.join(TRAIN)}, and {VAL} or not."
        )
    if wanted:
        return [_innermost(root / name) for name in wanted]
    train = [name for name in TRAIN if (root / name).is_dir()][:1]
    if not train:
        return [root]
    names = [*train, VAL] if (root / VAL).is_dir() else train
    return [_innermost(root / name) for name in names]


def _innermost(part):
    """The folder itself, or a folder of the same name in it, as some tools unpack."""
    return part / part.name if (part / part.name).is_dir() else part


def _merge(root, listings) -> Listing:
    lineages, files, splits = {}, {}, {}
    bad_names, ignored = [], Counter()
    for part, listing in listings.items():
        both = files.keys() & listing.files.keys()
        if both:
            raise UserError(
                f"{min(both)} is in two folders of {root}: train and {VAL} would share "
                "images. Unpack the archives again, or name one folder in data.parts."
            )
        lineages |= listing.lineages
        files |= listing.files
        split = "test" if part.name == VAL else "train"
        splits |= dict.fromkeys(listing.files, split)
        bad_names += listing.bad_names
        ignored += listing.ignored
    files = {name: files[name] for name in sorted(files)}
    return Listing(root, lineages, files, sorted(bad_names), ignored, splits)
