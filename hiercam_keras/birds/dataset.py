"""The embedded data set, written to disk.

The layout is that of an image folder in iNat naming, with annotations next to the
pictures: masks, parts, boxes, the part that carries each rank, the habitats, and the
bursts if there are any. Every picture has its own random generator, so the files have
the same bytes for any number of processes.
"""

import contextlib
import csv
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from hiercam_keras.birds.bird import bird_at
from hiercam_keras.birds.draw import PARTS
from hiercam_keras.birds.habitats import HABITATS
from hiercam_keras.birds.settings import (
    RENDERER_VERSION,
    SCHEMA_VERSION,
    DatasetSettings,
)
from hiercam_keras.birds.tree import (
    EVIDENCE,
    SyntheticSpecies,
)
from hiercam_keras.birds.workers import OrderedSteps
from hiercam_keras.errors import UserError


def write_dataset(
    root: str | os.PathLike,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings,
) -> Path:
    """Writes the data set unless it is complete.

    Everything is written to a hidden folder next to `root`, which is renamed at the
    end, so a killed run leaves no incomplete data set.

    Args:
      root: folder of the data set. An empty folder, or a synthetic data set with other
        settings, is replaced; any other folder is refused.
      workers: processes; default one per core, 0 draws in this one.
      progress: called with (pictures written, all pictures) from time to time.
      **settings: fields of `DatasetSettings`.

    Returns:
      `root` as a path; the pictures are in `root/images`.
    """
    wanted = DatasetSettings(**settings)
    root = Path(root)
    if is_complete(root, wanted):
        return root
    _refuse_other_data(root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(root)
        partial = root.parent / f".{root.name}.partial-{os.getpid()}"
        partial.mkdir()
    except OSError as error:
        raise UserError(
            f"cannot write synthetic birds to '{root}': {error.strerror}. "
            "Choose a folder that can be written."
        ) from error
    try:
        _write(partial, wanted, workers, progress)
        _take_name(partial, root, wanted)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def is_complete(
    root: str | os.PathLike, settings: DatasetSettings | Mapping[str, object]
) -> bool:
    """Whether `root` holds the complete data set of these settings.

    Args:
      root: a folder that may not exist.
      settings: the settings, or a mapping of the fields that differ from the default.
    """
    root = Path(root)
    if not isinstance(settings, DatasetSettings):
        settings = DatasetSettings(**settings)
    found = _read_header(root)
    if any(found.get(name) != value for name, value in _header(settings).items()):
        return False
    count = settings.images_per_species
    return all(
        _count(root / kind / leaf.class_dir) == count
        for kind in ("images", "masks", "parts")
        for leaf in settings.tree()
    )


def _write(
    folder: Path,
    settings: DatasetSettings,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """All files, dataset.json last."""
    tree = settings.tree()
    total = len(tree) * settings.images_per_species
    if workers is None:
        workers = min(os.cpu_count() or 1, len(tree), 16)
    boxes, habitats = [], []
    args = (folder, settings, tree)
    with OrderedSteps(
        _write_species, args, stop=len(tree), workers=workers
    ) as species_rows:
        for species_boxes, species_habitats in species_rows:
            boxes += species_boxes
            habitats += species_habitats
            if progress is not None:
                progress(len(boxes), total)
    _write_csv(folder / "boxes.csv", ("example_id", "x0", "y0", "x1", "y1"), boxes)
    _write_csv(folder / "evidence.csv", ("rank", "part", "part_label"), EVIDENCE)
    _write_csv(
        folder / "habitats.csv", ("example_id", "habitat", "family_habitat"), habitats
    )
    if settings.images_per_burst > 1:
        _write_csv(folder / "groups.csv", ("example_id", "group"), _bursts(settings))
    header = _header(settings) | {
        "parts": list(PARTS),
        "classes": {leaf.class_dir: list(leaf.values) for leaf in tree},
    }
    text = json.dumps(header, indent=2) + "\n"
    (folder / "dataset.json").write_text(text, encoding="utf-8")


def _write_species(
    species: int,
    folder: Path,
    settings: DatasetSettings,
    tree: list[SyntheticSpecies],
):
    """The files of one species; returns its rows of boxes.csv and habitats.csv."""
    leaf = tree[species]
    for kind in ("images", "masks", "parts"):
        (folder / kind / leaf.class_dir).mkdir(parents=True)
    boxes, habitats = [], []
    for index in range(settings.images_per_species):
        bird = bird_at(settings, species, index, leaf=leaf)
        drawn = bird.draw()
        stem = f"{leaf.class_dir}/{index:04d}"
        image = Image.fromarray(drawn.image)
        image.save(folder / "images" / f"{stem}.jpg", quality=bird.quality)
        mask = Image.fromarray((drawn.parts > 0).astype(np.uint8) * 255)
        mask.save(folder / "masks" / f"{stem}.png")
        Image.fromarray(drawn.parts).save(folder / "parts" / f"{stem}.png")
        boxes.append((f"{stem}.jpg", *(f"{edge:g}" for edge in drawn.box)))
        names = (HABITATS[bird.habitat].name, HABITATS[leaf.habitat].name)
        habitats.append((f"{stem}.jpg", *names))
    return boxes, habitats


def _bursts(settings: DatasetSettings) -> Iterator[tuple[str, str]]:
    """Rows of groups.csv: the pictures in the order of boxes.csv, and their burst."""
    for leaf in settings.tree():
        for index in range(settings.images_per_species):
            burst = index // settings.images_per_burst
            stem = f"{leaf.class_dir}/{index:04d}"
            yield f"{stem}.jpg", f"{leaf.class_dir}/burst{burst:04d}"


def _header(settings: DatasetSettings) -> dict:
    return {
        "schema_version": SCHEMA_VERSION,
        "renderer_version": RENDERER_VERSION,
        "settings": settings.as_json(),
    }


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _count(folder: Path) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:
        return -1


def _refuse_other_data(root: Path) -> None:
    """Raises UserError unless `root` is missing, empty or a synthetic data set."""
    if not root.exists() or (root.is_dir() and not os.listdir(root)):
        return
    if "renderer_version" not in _read_header(root):
        raise UserError(
            f"'{root}' exists and is not a synthetic data set, so it is not replaced; "
            "remove it, or choose another folder."
        )


def _read_header(root: Path) -> dict:
    """Contents of dataset.json; {} if it cannot be read."""
    try:
        found = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remove_leftovers(root: Path) -> None:
    """Removes the hidden folders of runs that were killed."""
    for leftover in root.parent.glob(f".{root.name}.partial-*"):
        pid = leftover.name.removeprefix(f".{root.name}.partial-").partition("-")[0]
        try:
            os.kill(int(pid), 0)
            alive = int(pid) != os.getpid()
        except (ProcessLookupError, ValueError):
            alive = False
        except OSError:
            alive = True  # a process of another user
        if not alive:
            shutil.rmtree(leftover, ignore_errors=True)


def _take_name(partial: Path, root: Path, settings: DatasetSettings) -> None:
    old = partial.with_name(partial.name + "-old")
    try:
        with contextlib.suppress(FileNotFoundError):
            root.rename(old)
        partial.rename(root)
    except OSError:
        # Another process may have finished the same data set meanwhile.
        if not is_complete(root, settings):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
