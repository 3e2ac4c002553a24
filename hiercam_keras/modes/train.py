"""--mode=train: data, split, model, fit, and a run folder that says how it was done."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import locks, multihost, runtime, tables, wording, workdir
from hiercam_keras.data import sources, splits
from hiercam_keras.data.loader import Loader
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, heads, user_code
from hiercam_keras.models.from_config import build
from hiercam_keras.modes import (
    coarser,
    copies,
    group_report,
    resuming,
    taxonomies,
    train_plan,
    untrained,
)
from hiercam_keras.modes.load import load_source, make_loader, taxonomy_of
from hiercam_keras.modes.multi_rank import tree_arrays, with_ranks_of_data
from hiercam_keras.modes.settings import Settings
from hiercam_keras.modes.train_statistics import plain_batches
from hiercam_keras.report import curves
from hiercam_keras.runs import inputs, run_folder
from hiercam_keras.runs.recorded_config import as_json, of_training
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.runs.truth import Trained
from hiercam_keras.taxonomy.partial import LabelSpace
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training import fit, trial


def run(settings: Settings) -> str:
    """Trains the ranks of --rank and writes the run folder."""
    return train(settings)[1]


def train(settings: Settings) -> tuple[Run, str]:
    """Trains the ranks of --rank: the finished run, and what is said about it.

    --overwrite starts over, also where --resume is given.
    """
    if settings.overwrite:
        settings = dataclasses.replace(settings, resume=False)
    settings, source = with_ranks_of_data(settings)
    config = settings.config
    sources.check_drawn_ranks(config.data, settings.data_dir, settings.rank)
    name = sources.data_name(settings.data_dir) if settings.data_dir else config.name
    folder = Path(
        settings.workdir
        or run_folder.path_for(config.runs_dir, name, settings.rank, config.seed)
    )
    # A place that cannot be written shows before the work.
    with contextlib.ExitStack() as stack:
        stack.enter_context(workdir.made_dir(folder))
        if multihost.is_primary():
            stack.enter_context(locks.hold(folder))
        return _run(settings, name, folder, source)


def _run(settings: Settings, name: str, folder: Path, source: Any) -> tuple[Run, str]:
    config = settings.config
    before = resuming.check_free(folder, settings)
    resumed = run_folder.read(folder) if before and settings.resume else None
    weights = train_plan.starting_weights(folder, config, settings.resume)
    train_plan.say_network(config, weights)
    places = [*filter(None, (settings.data_dir, config.data.get("root")))]
    if resumed:
        source = resuming.source_of(resumed, settings, source, places)
    source = source or load_source(config, settings.data_dir)
    everything = taxonomy_of(source, config)
    _check_single(everything, settings.rank)
    group_report.check(source.records, config, everything, settings.rank)
    everything = untrained.reaching(everything, settings.rank)
    split = resuming.split_of(folder, settings, source.records)
    if split.note:
        logging.info("%s", split.note)
    spread = group_report.report(source.records, split, config)
    copies.warn(source.records, split)
    taxonomy, truth = untrained.taxonomy_of(
        source.records, split, everything, settings.rank, config.data.untrained_taxa
    )
    for rank in settings.rank:
        untrained.check_trainable(taxonomy, everything, rank)
    if resumed:
        resuming.check_labels(folder, taxonomy)
    runtime.start(config.seed, config.model.dtype, config.distribution.devices)
    seen, _ = split.select(source.records, "train")
    seen, spaces = coarser.of_training(seen, taxonomy, settings.rank)
    batch_size = resuming.batch_size(folder, settings, len(seen))
    plain = plain_batches(seen, truth, config, batch_size)  # made when asked for
    training = _training(seen, truth, settings, batch_size, spaces)
    records, _ = split.select(source.records, "val")
    validation = _validation(records, truth, settings, batch_size)
    num_labels = {rank: taxonomy.num_labels(rank) for rank in settings.rank}
    coarse_to_fine = [rank for rank in taxonomy.ranks if rank in num_labels]
    model = _build(config, {rank: num_labels[rank] for rank in coarse_to_fine}, weights)
    modules = _try_to_load(model, config)
    parents = tree_arrays(taxonomy, settings.rank)
    steps = training.num_batches
    fit.compile_model(model, num_labels, config.train, steps, parents, spaces)
    multihost.barrier("checked")  # by all, before one of them writes
    if before and settings.overwrite and multihost.is_primary():
        # Only now, when nothing more can be wrong with the flags.
        run_folder.clear(folder)
    made = {"batch_size": batch_size, "weights": weights}
    made |= {"detections_sha256": source.detections} if source.detections else {}
    this = _open(folder, settings, name, taxonomy, split, made)
    if multihost.is_primary():
        group_report.save(spread, folder / "split")
        run_folder.keep_left_out(folder, source.report.left_out)
        inputs.keep(folder, config, places)
        taxonomies.save_changes(folder, source.translation)
    train_plan.say_data(config, seen, taxonomy, num_labels, folder)
    multihost.barrier("begun")
    resume = settings.resume
    rows = fit.train(
        *(model, training, validation, num_labels, config, folder, resume, plain),
        begun_epochs=resuming.epochs_of(resumed) if resumed else 0,
        spaces=spaces,
    )
    for loader in filter(None, (training, validation)):
        loader.close()
    if multihost.is_primary():
        _save(this, model, taxonomy, config, modules)
    columns = tables.read_log(folder / "log.csv")
    curves.save_learning_curves(
        folder / "curves.png", {"+".join(settings.rank): columns}
    )
    kept = _kept(rows, fit.keeps_best(config.train, validation), bool(split.val))
    return this.finish(), f"wrote {this.model_path}\n{kept}"


def _training(
    records: Sequence[Record],
    truth: Trained,
    settings: Settings,
    batch_size: int,
    spaces: Mapping[str, LabelSpace] | None,
) -> Loader:
    """A loader of the training images."""
    return make_loader(
        records,
        truth,
        settings.config,
        training=True,
        batch_size=batch_size,
        ranks=sorted(settings.rank, key=truth.ranks.index),
        shard=multihost.part(),
        spaces=spaces,
    )


def _validation(
    records: Sequence[Record], truth: Trained, settings: Settings, batch_size: int
) -> Loader | None:
    """A loader of the val images with a label at one of the ranks; None without any."""
    known = untrained.known(records, truth, settings.rank)
    if not known:
        return None
    return make_loader(
        known,
        truth,
        settings.config,
        batch_size=batch_size,
        ranks=settings.rank,
        shard=multihost.part(),
    )


def _check_single(taxonomy: Taxonomy, ranks: Sequence[str]) -> None:
    """Says what to use where the data have one rank, and another one is asked for."""
    (rank, *others) = taxonomy.ranks
    if not others and tuple(ranks) != (rank,):
        raise UserError(
            f"--rank={','.join(ranks)}, but these data have one rank, {rank}. Use "
            f"--rank={rank}, or give lineages: --config.data.lineages=taxa.csv for "
            "class folders, more columns in a table."
        )


def _build(config: Any, num_labels: dict[str, int], weights: str) -> Any:
    """The model of `build`, refused where its maps would be a single cell."""
    model = build(config, num_labels, weights=weights)
    size, stride = config.data.image_size, config.model.output_stride
    heads.check_cells(model, config.model.backbone, size, stride)
    return model


def _open(
    folder: Path,
    settings: Settings,
    name: str,
    taxonomy: Taxonomy,
    split: splits.Split,
    made: Mapping[str, Any],
) -> Run:
    """A new run folder, or the resumed one.

    `made` is what the training chose: the batch size that the devices make of
    data.batch_size, the weights of model.weights=auto, the digest of detections.
    """
    if settings.resume and (folder / "config.json").exists():
        return resuming.go_on(run_folder.read(folder), settings.config.train.epochs)
    split.save(folder / "split")
    data_dir = settings.data_dir and sources.absolute(settings.data_dir)
    record = {
        "ranks": list(settings.rank),
        "data_name": name,
        "data_dir": data_dir,
        **made,
        "config": of_training(settings.config.to_dict()),
        "overrides": as_json(dict(settings.overrides)),
        "versions": runtime.versions(),
    }
    return run_folder.create(folder, record, taxonomy)


def _try_to_load(model: Any, config: Any) -> list[str]:
    """Modules that later modes have to be given; refuses what they could not load."""
    given = config.model.get("modules", ())
    modules = trial.save_and_load(
        model,
        config.model.backbone,
        config.data.image_size,
        given,
        config.model.fast_layers,
    )
    if set(modules) > set(user_code.split_names(given)):
        logging.info(
            "the network has layers of yours: give other modes "
            "--config.model.modules=%s, or set model.modules in your --config",
            ",".join(modules),
        )
    return modules


def _save(
    this: Run, model: Any, taxonomy: Taxonomy, config: Any, modules: list[str]
) -> None:
    metadata = {
        "taxonomy": taxonomy.to_json(),
        "ranks": list(this.ranks),
        "image_size": config.data.image_size,
        "backbone": config.model.backbone,
        "cam_layer": model.cam_layer,
        "modules": modules,  # for a message; nothing is imported for it
        "versions": runtime.versions(),
    }
    files.save_model(this.model_path, model, metadata)


def _kept(rows: list[dict[str, float]], chosen: bool, has_val: bool) -> str:
    """One line on the epoch that was kept.

    Args:
      rows: of the log.
      chosen: whether the validation chose it; else it is the last one.
      has_val: whether there are val images, of any taxa.
    """
    epochs = wording.count(len(rows), "epoch")
    if "val_loss" not in rows[-1]:
        why = "there was no validation split"
        return f"{epochs}; {'no val image is of a trained taxon' if has_val else why}"
    row = min(rows, key=lambda row: row["val_loss"]) if chosen else rows[-1]
    shown = ", ".join(
        f"{name} {value:.3f}" for name, value in row.items() if "accuracy" in name
    )
    if chosen:
        return f"best of {epochs} is {row['epoch']:.0f}: {shown}"
    return f"the last of {epochs} was kept: {shown}"
