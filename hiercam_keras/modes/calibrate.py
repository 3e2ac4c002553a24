"""--mode=calibrate: thresholds of believed names, from pictures with known taxa.

The pictures must be others than those of the training, of its epoch's choice and of a
fitted temperature: those that `believe.calibration` kept apart, or the user's.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from hiercam_keras import runtime, tables, wording, workdir
from hiercam_keras.data import splits
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import belief
from hiercam_keras.modes import belief as rules
from hiercam_keras.modes import copies, detected
from hiercam_keras.modes.find_runs import find_runs
from hiercam_keras.modes.load import config_of, load_for, make_loader, open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.runs.truth import Truth
from hiercam_keras.taxonomy.scores import softmax

HEADER = ("rank", "threshold", "pictures", "named", "right", "accuracy")


def run(settings: Settings) -> str:
    """Writes belief.json of a run and returns its thresholds as a table."""
    (this,) = find_runs(settings, [settings.rank])
    config = config_of(settings, this)
    options = config.believe
    _check(options)
    records, what = _pictures(settings, this, config)
    chosen = one_of_each_group(records, config.seed)
    if len(chosen) < len(records):
        what += f", one of each of {wording.count(len(chosen), 'group')}"
    devices = settings.config.distribution.devices
    runtime.start(config.seed, config.model.dtype, devices)
    network = networks.load(this, config)
    if network.finest in network.independent:
        raise UserError(
            f"the labels of {this.path} are independent sigmoids, which have no "
            "coarser ranks: there is no believed rank."
        )
    truth = Truth(network.taxonomy)
    with make_loader(chosen, truth, config, once=True) as loader:
        found = network.predict(loader, "calibrate")
    # In float64, as answers are: a saturated confidence is no threshold of 1.
    shares = softmax(found.logits[network.finest].astype(np.float64))
    paths = belief.paths(shares, network.taxonomy, network.finest)
    by_id = {record.example_id: record for record in chosen}
    asked = [by_id[example_id] for example_id in found.example_ids]
    labels = rules.true_labels(asked, truth, paths.ranks)
    if found.masked is not None:
        share = rules.allowed_share_of(options)
        paths, labels, left_out = _enough_allowed(found.masked, share, paths, labels)
        if left_out:
            what += (
                f", without {left_out} where the allowed taxa together have less than "
                f"{_percent(share)}"
            )
    _check_known(labels, what, this, network)
    thresholds = belief.calibrate(
        paths, labels, options.accuracy, options.confidence_level
    )
    about = {
        "schema_version": rules.SCHEMA_VERSION,
        "accuracy": options.accuracy,
        "confidence_level": options.confidence_level,
        "pictures": what,
        "images_sha256": rules.digest(found.example_ids),
        "network": network.finest,
        **({} if found.masked is None else {"allowed_share": options.allowed_share}),
        **({} if this.other_tree is None else {"table": this.other_tree.table.digest}),
        "ranks": [
            {
                "rank": rank,
                "threshold": None if np.isinf(value) else float(value),
                "pictures": int(pictures),
                "named": int(named),
                "right": int(right),
            }
            for rank, value, pictures, named, right in zip(
                thresholds.ranks,
                thresholds.values,
                thresholds.pictures,
                thresholds.named,
                thresholds.right,
                strict=True,
            )
        ],
    }
    path = rules.path_for(this)
    workdir.make_dir(path.parent)
    workdir.write_json(path, about)
    return f"{what}\n{_said(about)}\n{path}"


def _check(options: Any) -> None:
    for name in ("accuracy", "confidence_level"):
        value = options[name]
        if not 0 < value < 1:
            raise UserError(
                f"believe.{name} is {value}, expected a number between 0 and 1 such "
                "as 0.9."
            )


def _pictures(settings: Settings, run: Run, config: Any) -> tuple[list[Record], str]:
    """The calibration pictures, and what they are in words.

    Raises:
      UserError: the run has none, or they are of its training.
    """
    if run.imported:
        data = open_run(settings, run)
        records = data.records(settings.split)
        images = wording.count(len(records), "image")
        return records, f"{images} of {data.source.root}"
    if settings.data_dir and not settings.chosen_split:
        source = load_for(run, config, settings.data_dir)
        if not _kept_apart(source.records, run):
            _check_new(source.records, settings, run)
            records = [one for one in source.records if one.lineage is not None]
            records = _without_copies(records, settings, run, config)
            images = wording.count(len(records), "image")
            return records, f"{images} of {source.root}"
    data = open_run(settings, run)  # of images that may have been moved to data_dir
    if data.split.calibration and not settings.chosen_split:
        records = data.records("calibration")
        return records, f"{wording.count(len(records), 'image')} kept apart from val"
    if settings.split != "test":
        raise UserError(
            f"the {settings.split} images of {run.path} were used by its training: "
            "thresholds from them would be too low. Leave --split out, or use the "
            "test images with --split=test, and other images to evaluate on."
        )
    if not settings.chosen_split:
        raise UserError(
            f"{run.path} has no images to calibrate on that its training did not use. "
            "Train with --config.believe.calibration=0.5, which keeps half of val "
            "apart; or name other labelled images with --data_dir; or use the test "
            "images with --split=test, and other images to evaluate on."
        )
    logging.warning(
        "calibrated on the test images: what eval says of believed names on the same "
        "images is too good"
    )
    records = data.records("test")
    return records, f"{wording.count(len(records), 'test image')}"


def _enough_allowed(
    masked: np.ndarray, share: float, paths: belief.Paths, labels: dict[str, np.ndarray]
) -> tuple[belief.Paths, dict[str, np.ndarray], int]:
    """Paths and true labels of the pictures that a name can be believed for, and how
    many are left out. The promise is on the names that are given."""
    kept = ~rules.too_little(masked, share)
    paths = belief.Paths(paths.ranks, paths.taxa[kept], paths.probabilities[kept])
    labels = {rank: found[kept] for rank, found in labels.items()}
    return paths, labels, int((~kept).sum())


def _check_known(
    labels: Mapping[str, np.ndarray], what: str, run: Run, network: Network
) -> None:
    """A UserError if the network knows no image at any rank: nothing can be right."""
    if any((found >= 0).any() for found in labels.values()):
        return
    finest, taxonomy = network.finest, network.taxonomy
    listed = "" if run.allowed_taxa is None else ", with --allowed_taxa,"
    raise UserError(
        f"the network of {run.path}{listed} knows the taxon of none of {what}, so no "
        f"answer can be right. Its ranks are {', '.join(labels)}, and a {finest} is "
        f"{taxonomy.names(finest)[0]!r}. Calibrate on images of its taxa, or of some "
        "that it knows and others."
    )


def _kept_apart(records: Sequence[Record], run: Run) -> bool:
    """Whether images of the run's calibration part are among them."""
    apart = set(_split_of(run, records).calibration)
    return any(record.example_id in apart for record in records)


def _split_of(run: Run, records: Sequence[Record]) -> splits.Split:
    return detected.split_of(splits.load(run.path / "split"), records)


def _check_new(records: Sequence[Record], settings: Settings, run: Run) -> None:
    """A UserError if the images are those of the training."""
    used = _split_of(run, records)
    known = {*used.train, *used.val}
    both = sum(record.example_id in known for record in records)
    if both:
        raise UserError(
            f"{both} of {wording.count(len(records), 'image')} in {settings.data_dir} "
            f"were used by the training of {run.path}. Name images that it has not "
            "seen, or leave --data_dir out."
        )


def _without_copies(
    records: list[Record], settings: Settings, run: Run, config: Any
) -> list[Record]:
    """The images without exact copies of the training's, which are compared where they
    still are."""
    whole = ConfigDict(config.to_dict())
    if "detections" in whole:
        whole.detections.file = ""
    try:
        source = load_for(run, whole, run.data_dir)
    except UserError as error:
        logging.warning(
            "copies of the training's images under other names cannot be found: %s",
            error,
        )
        return records
    split = splits.load(run.path / "split")
    used = {*split.train, *split.val}
    used |= {name.rpartition("#")[0] for name in used}  # of a run on crops
    training = [one for one in source.records if one.example_id in used]
    kept, said = copies.without_those_of(records, training)
    if said:
        logging.warning("%s", said)
    if not kept:
        raise UserError(
            f"all of {wording.count(len(records), 'image')} in {settings.data_dir} are "
            f"copies of images that the training of {run.path} used. Name images that "
            "it has not seen, or leave --data_dir out."
        )
    return kept


def one_of_each_group(records: Sequence[Record], seed: int) -> list[Record]:
    """Images that are independent of each other: one of each group, by the seed."""

    def place(record: Record) -> str:
        return hashlib.sha256(f"{seed}:{record.example_id}".encode()).hexdigest()

    chosen: dict[Any, Record] = {}
    for record in sorted(records, key=place):
        chosen.setdefault(record.group or (record.example_id,), record)
    return sorted(chosen.values(), key=lambda record: record.example_id)


def _said(about: dict[str, Any]) -> str:
    """The thresholds as a table, and what they promise."""
    rows = []
    for row in about["ranks"]:
        never = row["threshold"] is None
        accuracy = row["right"] / row["named"] if row["named"] else None
        rows.append(
            [
                row["rank"],
                "never" if never else row["threshold"],
                row["pictures"],
                row["named"],
                row["right"],
                accuracy,
            ]
        )
    accuracy, level = about["accuracy"], about["confidence_level"]
    least = belief.least_pictures(accuracy, level, len(rows))
    lines = [tables.format_table(HEADER, rows)]
    if all(row["threshold"] is None for row in about["ranks"]):
        lines.append(
            "No name is believed, and nothing is promised: it takes at least "
            f"{least} images if their names are all right, and more if some "
            "are wrong; a taxon that the network does not know counts as "
            "wrong. Calibrate on more images, or ask for less with a lower "
            f"--config.believe.accuracy (now {accuracy:g})."
        )
    else:
        lines.append(
            f"With {_percent(level)} confidence, the names that are believed at each "
            f"rank are right in {_percent(accuracy)} of new images or more, if these "
            "are drawn as the images of the calibration were."
        )
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
