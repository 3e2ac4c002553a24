"""--mode=train: data, split, model, fit, and a run folder that says how it was done."""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import multihost, runtime, tables, wording, workdir
from hiercam_keras.data import duplicates, sources, splits
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, heads, user_code, xla_layers
from hiercam_keras.modes import copies, unseen
from hiercam_keras.modes.load import load_source, make_loader, taxonomy_of
from hiercam_keras.modes.multi_rank import tree_arrays, with_ranks_of_data
from hiercam_keras.modes.settings import Settings
from hiercam_keras.modes.train_statistics import plain_batches
from hiercam_keras.report import curves
from hiercam_keras.runs import run_folder, run_lock
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training import fit, trial

# Folders and files of a run, and those of them that are of its model.
_OURS = ("checkpoints", "maps", "eval", "cam", "predict", "split", "tensorboard")
_RESULTS = ("eval", "cam", "predict", "localize", "guide")
_FILES = ("model.keras", "log.csv", "curves.png", "taxonomy.json", "config.json")

_EPOCHS = "config.train.epochs"  # may be larger when a run is resumed

# What may change when a run is resumed: it changes no result.
_FREE = (
    "config.distribution",
    "config.train.checkpoint_",
    "config.data.workers",
    "config.data.noun",
    "config.model.modules",
)


def run(settings: Settings) -> str:
    """Trains the ranks of --rank and writes the run folder."""
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
            stack.enter_context(run_lock.hold(folder))
        return _run(settings, name, folder, source)


def _run(settings: Settings, name: str, folder: Path, source: Any) -> str:
    config = settings.config
    before = _check_free(folder, settings)
    begun = _epochs_of(run_folder.read(folder)) if before and settings.resume else 0
    source = source or load_source(config, settings.data_dir)
    taxonomy = taxonomy_of(source, config)
    _check_single(taxonomy, settings.rank)
    for rank in settings.rank:
        taxonomy.check_trainable(rank)
    split = _split_of(folder, settings, source.records)
    if split.note:
        logging.info("%s", split.note)
    copies.warn(source.records, split)
    _warn_of_unseen(split, source.records, taxonomy, settings.rank)
    runtime.start(config.seed, config.model.dtype, config.distribution.devices)
    records, _ = split.select(source.records, "train")
    batch_size = _batch_size(folder, settings, len(records))
    plain = plain_batches(records, taxonomy, config, batch_size)  # made when asked for
    training = make_loader(
        records,
        taxonomy,
        config,
        training=True,
        batch_size=batch_size,
        ranks=settings.rank,
        shard=multihost.part(),
    )
    validation = None
    if split.val:
        records, _ = split.select(source.records, "val")
        validation = make_loader(
            records,
            taxonomy,
            config,
            batch_size=batch_size,
            ranks=settings.rank,
            shard=multihost.part(),
        )
    num_labels = {rank: taxonomy.num_labels(rank) for rank in settings.rank}
    coarse_to_fine = [rank for rank in taxonomy.ranks if rank in num_labels]
    model = _build(config, {rank: num_labels[rank] for rank in coarse_to_fine})
    modules = _try_to_load(model, config)
    parents = tree_arrays(taxonomy, settings.rank)
    steps = training.num_batches
    fit.compile_model(model, num_labels, config.train, steps, parents)
    multihost.barrier("checked")  # by all, before one of them writes
    if before and settings.overwrite and multihost.is_primary():
        _clear(folder)  # only now, when nothing more can be wrong with the flags
    this = _open(folder, settings, name, taxonomy, split, batch_size)
    logging.info(
        "training %s on %s, %s, in %s",
        config.model.backbone,
        wording.count(len(split.train), "image"),
        ", ".join(
            f"{wording.count(count, 'taxon')} at {rank}"
            for rank, count in num_labels.items()
        ),
        folder,
    )
    multihost.barrier("begun")
    resume = settings.resume
    rows = fit.train(
        model, training, validation, num_labels, config, folder, resume, plain, begun
    )
    for loader in filter(None, (training, validation)):
        loader.close()
    if multihost.is_primary():
        _save(this, model, taxonomy, config, modules)
    columns = tables.read_log(folder / "log.csv")
    curves.save_learning_curves(
        folder / "curves.png", {"+".join(settings.rank): columns}
    )
    this.finish()
    return f"wrote {this.model_path}\n{_best(rows)}"


def _check_single(taxonomy: Taxonomy, ranks: Sequence[str]) -> None:
    """Says what to use where the data have one rank, and another one is asked for."""
    (rank, *others) = taxonomy.ranks
    if not others and tuple(ranks) != (rank,):
        raise UserError(
            f"--rank={','.join(ranks)}, but these data have one rank, {rank}. Use "
            f"--rank={rank}, or give lineages: --config.data.lineages=taxa.csv for "
            "class folders, more columns in a table."
        )


def make_split(records: Sequence[Record], config: Any) -> splits.Split:
    """Train, val and test by data.split_seed, else by the experiment's seed.

    Models of several seeds on one split answer for the same test images. Exact copies
    of an image are in one part.
    """
    groups = duplicates.groups(duplicates.exact_copies(records))
    return _split(records, config, groups)


def _split(
    records: Sequence[Record], config: Any, groups: Mapping[str, str]
) -> splits.Split:
    seed = config.data.split_seed
    seed = config.seed if seed < 0 else seed
    return splits.split_records(records, seed, config.data.fractions, groups)


def _split_of(
    folder: Path, settings: Settings, records: Sequence[Record]
) -> splits.Split:
    """The split of a new run, or of the one that is resumed.

    A run that began before copies were kept together keeps its split.

    Raises:
      UserError: the images are not those that the resumed run was split with.
    """
    split = make_split(records, settings.config)
    if not (settings.resume and (folder / "config.json").exists()):
        return split
    frozen = splits.load(folder / "split")
    for one in (split, _split(records, settings.config, {})):
        if replace(one, note="") == frozen:
            return one
    raise UserError(
        f"the images of {folder} are not those that it was split with: files were "
        "added or removed. Bring them back, or use --overwrite."
    )


def _check_free(folder: Path, settings: Settings) -> bool:
    """Whether there is a run already; it is touched only when that was asked for."""
    if not (folder / "config.json").exists():
        return False
    if settings.overwrite:
        return True
    before = run_folder.read(folder)
    if not settings.resume:
        state = "a finished run" if before.finished else "a stopped run"
        raise UserError(
            f"{folder} holds {state}. Go on with --resume, replace it with "
            "--overwrite, or choose another folder with --workdir."
        )
    now = settings.config.to_dict()
    changed = [
        field
        for field in _differences(before.record["config"], _as_json(now))
        if not field.startswith(_FREE)
    ]
    if changed == [_EPOCHS] and now["train"]["epochs"] > _epochs_of(before):
        changed = []  # the training goes on beyond its end
    if before.ranks != settings.rank or changed:
        what = ", ".join(changed) or f"--rank (was {','.join(before.ranks)})"
        raise UserError(
            f"{folder} holds a run with other settings: {what} differ. --resume needs "
            "the flags of the first call (train.epochs may be larger); --overwrite "
            "starts over."
        )
    return True


def _epochs_of(run: Run) -> int:
    return run.record["config"]["train"]["epochs"]


def _go_on(run: Run, epochs: int) -> Run:
    """The run that is gone on with, for more epochs if that was asked for."""
    before = _epochs_of(run)
    if epochs == before:
        return run
    logging.info(
        "%s was begun for %s and goes on to %d",
        run.path,
        wording.count(before, "epoch"),
        epochs,
    )
    stale = [name for name in _RESULTS if (run.path / name).is_dir()]
    if stale:
        logging.warning(
            "%s in %s are of the model of %s until their modes run again",
            ", ".join(stale),
            run.path,
            wording.count(before, "epoch"),
        )
    return run_folder.extend(run, epochs)


def _batch_size(folder: Path, settings: Settings, images: int) -> int:
    """Images of a step: what the run began with, else what the devices can share."""
    if settings.resume and (folder / "config.json").exists():
        begun = run_folder.read(folder).record.get("batch_size")
        if begun:
            return runtime.resumed_batch(begun)
    return runtime.training_batch(settings.config.data.batch_size, images)


def _clear(folder: Path) -> None:
    for name in _OURS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)


def _differences(before: Any, now: Any, path: str = "config") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for name in sorted(before.keys() | now.keys()):
            found += _differences(before.get(name), now.get(name), f"{path}.{name}")
        return found
    return [] if before == now else [path]


def _warn_of_unseen(
    split: splits.Split,
    records: Sequence[Record],
    taxonomy: Taxonomy,
    ranks: Sequence[str],
) -> None:
    """Logs how many images of val and test no model of this training can name."""
    train, _ = split.select(records, "train")
    for name in ("val", "test"):
        asked, _ = split.select(records, name)
        told = unseen.of_split(train, asked, ranks, taxonomy, f"{name} image")
        if told:
            logging.warning("%s", told)


def _as_json(value: Any) -> Any:
    """Tuples as lists, as the run's record has them."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


def _build(config: Any, num_labels: dict[str, int]) -> Any:
    """The model of `build`, refused where its maps would be a single cell."""
    model = build(config, num_labels)
    size, stride = config.data.image_size, config.model.output_stride
    heads.check_cells(model, config.model.backbone, size, stride)
    return model


def build(
    config: Any, num_labels: dict[str, int], image_size: int | None = None
) -> Any:
    """A new model with a head for each rank, its layers fast under XLA."""
    model = heads.build_model(
        config.model.backbone,
        image_size or config.data.image_size,
        num_labels,
        dropout=config.model.dropout,
        output_stride=config.model.output_stride,
        bn_momentum=config.model.bn_momentum,
        drop_connect=config.model.drop_connect,
        weights=config.model.weights,
        head_features=config.model.head_features,
        head_chain=config.model.head_chain,
    )
    return xla_layers.accelerate(model, config.model.fast_layers)


def _open(
    folder: Path,
    settings: Settings,
    name: str,
    taxonomy: Taxonomy,
    split: splits.Split,
    batch_size: int,
) -> Run:
    """A new run folder, or the one that is gone on with."""
    if settings.resume and (folder / "config.json").exists():
        return _go_on(run_folder.read(folder), settings.config.train.epochs)
    split.save(folder / "split")
    data_dir = settings.data_dir and sources.absolute(settings.data_dir)
    record = {
        "ranks": list(settings.rank),
        "data_name": name,
        "data_dir": data_dir,
        "batch_size": batch_size,  # what the devices made of data.batch_size
        "config": _as_json(settings.config.to_dict()),
        "overrides": _as_json(dict(settings.overrides)),
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


def _best(rows: list[dict[str, float]]) -> str:
    """One line on the epoch that was kept."""
    if "val_loss" not in rows[-1]:
        return f"{wording.count(len(rows), 'epoch')}; there was no validation split"
    best = min(rows, key=lambda row: row["val_loss"])
    shown = ", ".join(
        f"{name} {value:.3f}" for name, value in best.items() if "accuracy" in name
    )
    return (
        f"best of {wording.count(len(rows), 'epoch')} is {best['epoch']:.0f}: {shown}"
    )
