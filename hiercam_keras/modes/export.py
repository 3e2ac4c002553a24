"""--mode=export: a network with its maps as one ONNX file, and how to use it.

The folder has model.onnx, taxonomy.json (what inputs and outputs mean), the model card
(card.json and README.md) and example.py. It appears whole or not at all, and only after
the file has answered as the program does on some pictures. With --format=web it is the
folder of a page that runs the network in the browser, next to the page in one file.
"""

import hashlib
import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import runtime, tables, wording, workdir
from hiercam_keras.data import crops, geometry, loader
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import detections
from hiercam_keras.export import convert, precision, readme, taxonomy_file
from hiercam_keras.export import graph as graphs
from hiercam_keras.export.function import ALLOWED, probabilities_name
from hiercam_keras.export.parity import FLOAT32_BOUND
from hiercam_keras.export.session import Session
from hiercam_keras.export.web import page
from hiercam_keras.export.web import runtime as web_runtime
from hiercam_keras.modes import belief, detected, export_card
from hiercam_keras.modes.find_runs import find_runs
from hiercam_keras.modes.load import (
    RunData,
    config_of,
    drawn,
    make_loader,
    open_run,
)
from hiercam_keras.modes.predict import photo_loader
from hiercam_keras.modes.settings import Settings
from hiercam_keras.progress import progress
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run

MODEL, TAXONOMY, CARD = "model.onnx", "taxonomy.json", "card.json"
README, EXAMPLE = "README.md", "example.py"
FILES = (MODEL, TAXONOMY, CARD, README, EXAMPLE)
WEB, SITE = "web", "site"  # a format; a folder of it
WEB_FILES = (page.INDEX, SITE, README)
PARITY_PICTURES = 32
MOST_PICTURES = 2000  # that float16 weights are compared on
# What is said of pictures that are not new to the network.
_USED = {
    "train": ", which the network was trained on",
    "val": ", which may have chosen the epoch",
}
HEADER = ("rank", "taxa", "pictures", "accuracy", "low", "high")


@dataclass(frozen=True)
class Pictures:
    """The pictures that a file is tried on.

    Attributes:
      records: N of them.
      data: the run with its images; None for photographs by name, without labels.
      config: of the run.
      in_words: what they are.
    """

    records: Sequence[Record]
    data: RunData | None
    config: Any
    in_words: str

    def batches(
        self, records: Sequence[Record], name: str
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """example_ids and pixels uint8 (B, S, S, 3) of some of the pictures."""
        with self._loader(list(records)) as fed:
            batches = progress(
                fed.epoch(0), len(records), name, count=lambda batch: batch.mask.sum()
            )
            for batch in batches:
                rows = np.flatnonzero(batch.mask)
                if rows.size:
                    ids = [batch.example_ids[row] for row in rows]
                    yield ids, np.asarray(batch.images)[rows]

    def _loader(self, records: list[Record]) -> loader.Loader:
        if self.data is None:
            return photo_loader(records, self.config)
        size = min(self.config.data.batch_size, len(records))
        truth = self.data.truth
        return make_loader(records, truth, self.config, batch_size=size, once=True)


def run(settings: Settings) -> str:
    """Writes the folder; returns what was measured."""
    convert.need()
    web = settings.format == WEB
    for name in ("runtime", "webgpu"):
        if getattr(settings, name) and not web:
            raise UserError(
                f"--{name} has no effect without --format=web. Leave it out."
            )
    vendored = web_runtime.find(settings.runtime, settings.webgpu) if web else None
    (this,) = find_runs(settings, [settings.rank])
    config = config_of(settings, this)
    folder = Path(settings.out or this.results / "export" / settings.format)
    if web:
        workdir.check_replaceable(folder / SITE, (*FILES, *page.FILES, *page.GPU_FILES))
    with workdir.atomic_dir(folder, WEB_FILES if web else FILES) as staged:
        pictures = _pictures(settings, this, config)
        devices = settings.config.distribution.devices
        runtime.start(config.seed, config.model.dtype, devices)
        if pictures.data is not None:
            this = pictures.data.run  # with the common names of its images
        network = networks.load(this, config)
        place = workdir.make_dir(staged / SITE) if web else staged
        card = _export(settings, this, network, pictures, place)
        if vendored is not None:
            page.write_site(place, staged / page.INDEX, vendored)
            workdir.write_text(
                staged / README, page.readme(card["title"], settings.webgpu)
            )
    found = folder / page.INDEX if web else f"python {folder / EXAMPLE} PHOTO"
    return f"{_said(card, folder)}\ntry it: {found}"


def _pictures(settings: Settings, run: Run, config: Any) -> Pictures:
    if settings.image:
        records = detected.load_photos(settings, config)
        count = wording.count(len(records), "photograph")
        return Pictures(records, None, config, f"{count} named with --image")
    data = open_run(settings, run)
    records = data.records(settings.split)
    count = wording.count(len(records), "picture")
    where = f"{data.in_words(settings.split)} of {data.data_name}"
    used = "" if run.imported else _USED.get(settings.split, "")
    return Pictures(records, data, data.config, f"{where} ({count}{used})")


def _export(
    settings: Settings, run: Run, network: Network, pictures: Pictures, folder: Path
) -> dict[str, Any]:
    """Fills the folder; returns the model card."""
    config = pictures.config
    card = export_card.describe(run, config, network, pictures.data, pictures.in_words)
    logging.info("converting %s", run.path)
    network = replace(network, layer=config.cam.layer or network.layer)
    graph = graphs.build(network)
    for sentence in graph.left_out:
        logging.warning("not in the file: %s", sentence)
    graphs.write_onnx(graph, folder / MODEL)
    card["parity"] = _parity(network, folder / MODEL, pictures)
    ranks, narrow = _answered(network, graph), settings.weights_dtype
    if narrow != "float32":
        card["precision"] = _narrowed(graph, ranks, pictures, folder, narrow)
    card["accuracy"] = _accuracy(Session(folder / MODEL), ranks, pictures)
    card["network"] |= {
        "image_size": config.data.image_size,
        "layer": graph.layer,
        "weights_dtype": narrow,
    }
    card["preprocessing"] = _image(config)["in_words"]
    share = belief.allowed_share_of(config.believe)
    rule = _rule(run, network, share)
    card["believed"] = None if rule is None else rule.source
    if run.allowed_taxa is not None:
        card["allowed_taxa"] = run.allowed_taxa.name
    card["limits"] = _limits(graph, card)
    card["files"] = {MODEL: _digest(folder / MODEL)}
    about = {
        "image": _image(config),
        "input": graph.inputs,
        "outputs": graph.outputs,
        "layer": graph.layer,
        "weights_dtype": narrow,
        "batch": graph.batch or "dynamic",
    }
    if ALLOWED in graph.outputs:
        about["least_allowed"] = share if rule is None else rule.allowed_share
    document = taxonomy_file.document(
        network.taxonomy, graph.ranks, graph.heads, about, _thresholds(rule, network)
    )
    workdir.write_json(folder / TAXONOMY, document)
    example = importlib.resources.files("hiercam_keras.export") / EXAMPLE
    workdir.write_bytes(folder / EXAMPLE, example.read_bytes())
    workdir.write_json(folder / CARD, card)
    workdir.write_text(folder / README, readme.text(card))
    return card


def _answered(network: Network, graph: graphs.ExportedGraph) -> list[str]:
    """Ranks with several taxa that the file has probabilities of, coarse to fine."""
    return [
        rank
        for rank in network.taxonomy.ranks
        if probabilities_name(rank) in graph.outputs
        and network.taxonomy.num_labels(rank) > 1
    ]


def _parity(network: Network, path: Path, pictures: Pictures) -> dict[str, Any]:
    """The largest differences of file and program, on some pictures.

    Raises:
      UserError: one is above the bound.
    """
    chosen = drawn(pictures.records, PARITY_PICTURES, pictures.config.seed)
    images = [pixels for _, pixels in pictures.batches(chosen, "check")]
    found = graphs.compare(network, path, np.concatenate(images))
    if not found.within(FLOAT32_BOUND):
        raise UserError(
            "the file does not answer as the program does, so it was not kept: "
            f"{found} (bound {FLOAT32_BOUND:g}). Maps of another layer "
            "(--config.cam.layer) may pass; docs/EXPORT.md lists what is known not to."
        )
    return {"bound": FLOAT32_BOUND, **found.to_json()}


def _narrowed(
    graph: graphs.ExportedGraph,
    ranks: Sequence[str],
    pictures: Pictures,
    folder: Path,
    dtype: str,
) -> dict[str, Any]:
    """Writes the file with narrower weights; returns what that changes.

    Raises:
      UserError: more than the bounds of `precision` allow.
    """
    whole = (folder / MODEL).rename(folder / "whole.onnx")
    graphs.write_onnx(graph, folder / MODEL, dtype)
    sessions = Session(whole), Session(folder / MODEL)
    chosen = drawn(pictures.records, MOST_PICTURES, pictures.config.seed)
    ids: list[str] = []
    answers: list[dict[str, list[np.ndarray]]]
    answers = [{rank: [] for rank in ranks} for _ in sessions]

    def outputs() -> Iterator[tuple[Mapping[str, np.ndarray], ...]]:
        for names, pixels in pictures.batches(chosen, dtype):
            ids.extend(names)
            pair = tuple(session(pixels) for session in sessions)
            for found, parts in zip(pair, answers, strict=True):
                for rank, labels in _predicted(found, ranks).items():
                    parts[rank].append(labels)
            yield pair

    found = precision.change(outputs(), ranks, graph.ranks)
    whole.unlink()
    if faults := found.faults():
        raise UserError(
            f"{dtype} weights change too much, so the file was not kept: "
            f"{'; '.join(faults)}. Export with --weights_dtype=float32."
        )
    rows = [_accuracy_rows(pictures, ids, parts) for parts in answers]
    before = {"accuracy_before": rows[0], "accuracy_after": rows[1]}
    return {**found.to_json(), **before}


def _accuracy(
    session: Session, ranks: Sequence[str], pictures: Pictures
) -> dict[str, Any] | None:
    """Accuracy of the file at each rank; None of pictures without labels."""
    if pictures.data is None:
        return None
    ids: list[str] = []
    found: dict[str, list[np.ndarray]] = {rank: [] for rank in ranks}
    for shown, pixels in pictures.batches(pictures.records, "accuracy"):
        ids.extend(shown)
        for rank, labels in _predicted(session(pixels), ranks).items():
            found[rank].append(labels)
    rows = _accuracy_rows(pictures, ids, found)
    resampled = "taxa of the finest rank, or groups of pictures"
    return {"pictures": pictures.in_words, "resampled": resampled, "ranks": rows}


def _accuracy_rows(
    pictures: Pictures, ids: list[str], found: Mapping[str, list[np.ndarray]]
) -> list[dict[str, Any]] | None:
    """Accuracy by rank from the labels of batches; None of pictures without labels."""
    if pictures.data is None:
        return None
    labels = {rank: np.concatenate(parts) for rank, parts in found.items()}
    return export_card.accuracy_rows(pictures.data, ids, labels)


def _predicted(
    outputs: Mapping[str, np.ndarray], ranks: Sequence[str]
) -> dict[str, np.ndarray]:
    """The most probable labels (N,) by rank."""
    return {rank: outputs[probabilities_name(rank)].argmax(-1) for rank in ranks}


def _rule(run: Run, network: Network, share: float) -> belief.Rule | None:
    """The thresholds of the run; None if it was not calibrated.

    Args:
      share: least probability of the allowed taxa, where the thresholds come with none.
    """
    if network.finest in network.independent:
        return None
    return belief.calibrated(run, share)


def _thresholds(
    rule: belief.Rule | None, network: Network
) -> dict[str, float | None] | None:
    """Least probability of a believed name by rank, None where it is never believed."""
    if rule is None:
        return None
    limits = belief.limits(rule, network.taxonomy, network.finest)
    return {
        rank: float(least) if np.isfinite(least) else None
        for rank, least in limits.items()
    }


def _image(config: Any) -> dict[str, Any]:
    """What pixels the network takes, as the program makes them."""
    size = config.data.image_size
    short_side = geometry.resized_shape(size, size, size, "classification")[0]
    section = config.get("detections") or {}
    known = {name: section[name] for name in crops.Options._fields if name in section}
    options = crops.Options(**known)
    others = [word for kind in detections.KINDS for word in detections.words_of(kind)]
    cropping = {
        "threshold": float(options.threshold),
        "margin": float(options.margin),
        "not_animals": sorted(others),
    }
    return taxonomy_file.image(size, short_side, cropping)


def _limits(graph: graphs.ExportedGraph, card: Mapping[str, Any]) -> list[str]:
    """What a reader of the card should know."""
    limits = [f"Not in the file: {sentence}." for sentence in graph.left_out]
    limits.append(
        "Each picture gets an answer, also one of a taxon that the network does not "
        "know, or of nothing that it knows."
    )
    if "allowed_taxa" in card:
        limits.append(
            f"Answers are of the allowed taxa alone ({card['allowed_taxa']}): pictures "
            "of other taxa get the likeliest of these names."
        )
    if graph.has_maps:
        limits.append(
            "Maps show where evidence was found for an answer, not why it is evidence."
        )
    if card["believed"] is None:
        limits.append(
            "The run was not calibrated: how far down an answer can be believed is not "
            "known (--mode=calibrate, then export again)."
        )
    if card["accuracy"] is None:
        limits.append("The accuracy was not measured.")
    return limits


def _digest(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _said(card: Mapping[str, Any], folder: Path) -> str:
    parity, size = card["parity"], card["files"][MODEL]["bytes"] / 1e6
    differences = readme.differences(parity)
    lines = [
        f"{folder}: {MODEL} of {size:.1f} MB, weights in "
        f"{card['network']['weights_dtype']}",
        f"largest differences from the program on "
        f"{wording.count(parity['pictures'], 'picture')} (bound {parity['bound']:g}): "
        + ", ".join(f"{name} {value:.1e}" for name, value in differences.items()),
    ]
    if changed := card.get("precision"):
        agreement = changed["top1_agreement"]
        maps = changed["map_correlation"].get("maps", {}).get("mean", {})
        rows = [
            [rank, share, maps.get(rank, "no map")] for rank, share in agreement.items()
        ]
        lines.append(
            f"{card['network']['weights_dtype']} against float32 on "
            f"{wording.count(changed['pictures'], 'picture')}:"
        )
        lines.append(
            tables.format_table(("rank", "same answer", "map correlation"), rows, 5)
        )
    if card["accuracy"] is not None:
        rows = [[row[name] for name in HEADER] for row in card["accuracy"]["ranks"]]
        lines.append(f"{card['accuracy']['pictures']}, 95 % intervals")
        lines.append(tables.format_table(HEADER, rows))
    return "\n".join(lines)
