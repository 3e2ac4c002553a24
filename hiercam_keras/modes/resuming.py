"""Resuming a training: what has to be as it was at its start, and what goes on."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import runtime, wording
from hiercam_keras.data import splits
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.modes import kept_ranks
from hiercam_keras.modes.load import load_source
from hiercam_keras.modes.settings import Settings
from hiercam_keras.modes.splitting import TOGETHER, make_split
from hiercam_keras.runs import inputs, run_folder
from hiercam_keras.runs.recorded_config import differences, of_training
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy.tree import Taxonomy

# Folders of a run that are of its model.
RESULTS = ("eval", "cam", "predict", "localize", "guide", "export")

_EPOCHS = "config.train.epochs"  # may be larger when a run is resumed

# What new fields were before there were any, where that is not today's default.
_FORMER = {
    "data": {"untrained_taxa": "keep"},
    "train": {"keep_best_images": 0},
    "detections": {"file": ""},
}

# What may change when a run is resumed: it changes no result. Images that data.partial
# adds or leaves out change the split, which is compared.
_FREE = (
    "config.data.partial",
    "config.distribution",
    "config.train.checkpoint_",
    "config.data.workers",
    "config.data.noun",
    "config.model.modules",
    "config.report",
    "config.search",
)


def check_free(folder: Path, settings: Settings) -> bool:
    """Whether there is a run already; it is touched only when that was asked for."""
    if not (folder / "config.json").exists():
        return False
    if settings.overwrite:
        return True
    before = run_folder.read(folder)
    if before.imported:
        raise UserError(
            f"{folder} holds an imported network, which is not trained. Replace it "
            "with --overwrite, or choose another folder with --workdir."
        )
    if not settings.resume:
        state = "a finished run" if before.finished else "a stopped run"
        raise UserError(
            f"{folder} holds {state}. Go on with --resume, replace it with "
            "--overwrite, or choose another folder with --workdir."
        )
    now = of_training(settings.config.to_dict())
    trained = _as_trained(of_training(before.record["config"]), now, _FORMER)
    changed = [
        field for field in differences(trained, now) if not field.startswith(_FREE)
    ]
    if changed == [_EPOCHS] and now["train"]["epochs"] > epochs_of(before):
        changed = []  # the training goes on beyond its end
    if before.ranks != settings.rank or changed:
        what = ", ".join(changed) or f"--rank (was {','.join(before.ranks)})"
        raise UserError(
            f"{folder} holds a run with other settings: {what} differ. --resume needs "
            "the flags of the first call (train.epochs may be larger); --overwrite "
            "starts over."
        )
    return True


def source_of(run: Run, settings: Settings, source: Any, places: list[str]) -> Any:
    """The images of a run that is resumed, with its ranks and its copies of tables."""
    config = inputs.restored(settings.config, run.path, places=places)
    read = functools.partial(load_source, data_dir=settings.data_dir)
    ranks = run.trained_taxonomy().ranks
    source = source or read(config)
    return kept_ranks.with_ranks(source, config, settings.data_dir, ranks, read)


def split_of(
    folder: Path, settings: Settings, records: Sequence[Record]
) -> splits.Split:
    """The split of a new run, or of the one that is resumed.

    A run that began before groups or copies were kept together keeps its split.

    Raises:
      UserError: the images are not those that the resumed run was split with.
    """
    split = make_split(records, settings.config)
    if not split.train:
        raise UserError(
            f"data.fractions is {tuple(settings.config.data.fractions)}, which leaves "
            "no image for the training: its first number, that of train, must be above "
            "0."
        )
    if not (settings.resume and (folder / "config.json").exists()):
        return split
    frozen = splits.load(folder / "split")
    former = (make_split(records, settings.config, one) for one in TOGETHER[1:])
    for one in itertools.chain([split], former):
        if replace(one, note="") == frozen:
            return one
    raise UserError(
        f"the images of {folder} are not those that it was split with: "
        f"{_why_split_differs(frozen, records)}"
    )


def _why_split_differs(frozen: splits.Split, records: Sequence[Record]) -> str:
    """What became of the images of a run since it was split, and what to do."""
    added = set(frozen.unknown(records))
    present = {one.example_id for one in records}
    parts = (frozen.train, frozen.val, frozen.test, frozen.calibration)
    removed = {name for part in parts for name in part} - present
    partial = {one.example_id for one in records if one.lineage.is_partial}
    if not added and not removed:
        return (
            "they are the same files, with other taxa or groups. Bring the former "
            "tables back, or use --overwrite."
        )
    said = [
        f"{wording.count(len(names), 'image')} {what} (such as {min(names)})"
        for what, names in (("added", added), ("removed", removed))
        if names
    ]
    said = f"files were added or removed: {', '.join(said)}. "
    if added and added <= partial and not removed:
        return (
            f"{said}What was added is identified to a coarser rank only: "
            "--config.data.partial=drop leaves it out, and --overwrite starts over "
            "with it."
        )
    return f"{said}Bring the former files back, or use --overwrite."


def check_labels(folder: Path, taxonomy: Taxonomy) -> None:
    """A UserError where the taxa of the images are others than those of a run.

    The same table may have other rows now: labels would be of other taxa.
    """
    before = run_folder.read(folder).trained_taxonomy()
    if before.ranks == taxonomy.ranks:
        was, now = ({one.taxa for one in tree.lineages} for tree in (before, taxonomy))
        others = sorted(was ^ now)
        if not others:
            return
        where = "before" if others[0] in was else "now"
        found = f"such as {'/'.join(filter(None, others[0]))}, which is there {where}"
    else:
        found = f"with the ranks {', '.join(taxonomy.ranks)} for "
        found += ", ".join(before.ranks)
    raise UserError(
        f"{folder} was begun with other taxa of the same images, {found}: a table of "
        "their lineages or names was changed. Bring the former one back, or use "
        "--overwrite."
    )


def _as_trained(
    before: Mapping[str, Any], now: Mapping[str, Any], former: Mapping[str, Any]
) -> dict[str, Any]:
    """The config of a run, with the fields that came into the program after it began.

    Each has the value that changes nothing, so that a training of an earlier version
    can go on; where that is not today's default, with a flag for it
    (--config.data.untrained_taxa=keep).
    """
    found = dict(before)
    for name, value in now.items():
        if isinstance(value, dict):
            parts = before.get(name, {}), value, former.get(name, {})
            found[name] = _as_trained(*parts)
        elif name not in before:
            found[name] = former.get(name, value)
    return found


def batch_size(folder: Path, settings: Settings, images: int) -> int:
    """Images of a step: what the run began with, else what the devices can share."""
    if settings.resume and (folder / "config.json").exists():
        begun = run_folder.read(folder).record.get("batch_size")
        if begun:
            return runtime.resumed_batch(begun)
    return runtime.training_batch(settings.config.data.batch_size, images)


def epochs_of(run: Run) -> int:
    """Epochs that a run was begun or extended for."""
    return run.record["config"]["train"]["epochs"]


def go_on(run: Run, epochs: int) -> Run:
    """The resumed run, with more epochs if they were asked for."""
    before = epochs_of(run)
    if epochs == before:
        return run
    logging.info(
        "%s was started for %s and is extended to %d",
        run.path,
        wording.count(before, "epoch"),
        epochs,
    )
    stale = [name for name in RESULTS if (run.path / name).is_dir()]
    if stale:
        logging.warning(
            "%s in %s are of the model of %s until their modes run again",
            ", ".join(stale),
            run.path,
            wording.count(before, "epoch"),
        )
    return run_folder.extend(run, epochs)
