"""--mode=guide: a field guide of the image regions that a model uses.

The page of a taxon shows regions of many images with high values in its *step* maps
(evidence for this genus within its family, or this species within its genus), next to
those of its nearest siblings. index.html lists the taxa by lineage.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from absl import logging

from hiercam_keras import runtime, tables, wording, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.question import PREDICTED, TRUE
from hiercam_keras.metrics.resampling import MIN_GROUPS
from hiercam_keras.modes import (
    guide_evidence,
    guide_view,
    part_naming,
    taxonomies,
    titles,
)
from hiercam_keras.modes.compare_steps import choices
from hiercam_keras.modes.find_runs import find_runs
from hiercam_keras.modes.guide_pages import Pages
from hiercam_keras.modes.load import RunData, open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import guide as report
from hiercam_keras.report.guide_schema import Guide
from hiercam_keras.report.style import percent
from hiercam_keras.runs import network as networks
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.wording import spaced

LEARNED = "The model learned from these pictures: the shares say little about new ones."
QUESTION = "Which part of the {noun} marks a taxon?"


def run(settings: Settings) -> str:
    """Writes the guide of the model of --workdir or --rank, by default the finest."""
    fields = settings.config.guide  # a run that is older than the guide lacks them
    opened = open_run(settings, _find(settings))
    data = guide_view.with_view(opened, fields, settings.overrides)
    config = data.config
    devices = settings.config.distribution.devices
    runtime.start(config.seed, config.model.dtype, devices)
    network = networks.load(data.run, config)
    finest = network.finest
    _check_steps(network, data)
    ranks = choices(data.taxonomy, finest)
    settings = _with_known_pictures(settings, data, finest)
    evidence = guide_evidence.collect(
        network, data, settings.split, ranks, fields.patch
    )
    planted = data.source.evidence or {}
    credits = data.source.credits()
    scale = settings.config.report.scale
    pages = Pages(evidence, planted, credits, fields, scale, data.common_name)
    chosen = _chosen(settings, pages)
    named = {place: pages.named(*place) for place in pages.taxa()}
    checked = part_naming.check(named, planted)
    out = Path(settings.out or data.run.results / "guide")
    workdir.make_dir(out)
    content = Guide(
        title=titles.of_guide(titles.of_images(data), config.data.noun, finest),
        question=QUESTION.format(noun=config.data.noun),
        sentences=_sentences(data, evidence, checked, settings.split),
        ranks=ranks,
        check=_check_rows(checked, planted),
        facts=_facts(data, settings),
        noun=config.data.noun,
        remark=LEARNED if settings.split == "train" else "",
    )
    path = report.write_guide(out, content, pages.make(chosen))
    _write_table(out / "taxa.csv", pages, named, planted)
    if checked:
        _write_check(out / "check.csv", checked)
    lines = [*content.sentences, f"{wording.count(len(chosen), 'page')}: {path}"]
    return "\n".join(lines)


def _check_steps(network: networks.Network, data: RunData) -> None:
    """A UserError if nothing is chosen among siblings."""
    if network.finest in network.independent:
        raise UserError(
            f"--mode=guide shows what chooses a taxon among its siblings, and the "
            f"labels of {data.run.path} are independent of each other (sigmoids): none "
            "is chosen. Use --mode=cam for maps of a label, or --mode=compare."
        )


def _with_known_pictures(settings: Settings, data: RunData, rank: str) -> Settings:
    """The settings, with the training split if the selected one has no known taxa.

    A guide shows true taxa, and the test split of a small collection may have no image
    of a taxon that the model was trained on.
    """
    if settings.split == "train" or data.run.imported or not data.may_lack_taxa:
        return settings
    if (data.labels(data.records(settings.split), rank) >= 0).any():
        return settings
    logging.warning(
        "no picture of the %s split is of a %s that the model was trained on: the "
        "guide is made of the pictures that it has learned from (--split=train)",
        settings.split,
        rank,
    )
    return replace(settings, split="train")


def _find(settings: Settings) -> Run:
    """The selected run; by default that of the finest rank."""
    if settings.workdir or settings.chosen_rank:
        return find_runs(settings, [settings.rank])[0]
    config = settings.config
    seed = f"seed{config.seed}"
    found = [
        run
        for run in run_folder.list_runs(config.runs_dir)
        if run.finished and run.path.name == seed
    ]
    depths = {}
    for run in found:
        order = run.taxonomy().ranks
        for rank in run.ranks:
            depths[rank] = max(depths.get(rank, 0), order.index(rank))
    for rank in sorted(depths, key=depths.get, reverse=True):
        try:
            return find_runs(replace(settings, rank=(rank,)), [(rank,)])[0]
        except UserError:
            continue
    return find_runs(settings, [settings.rank])[0]


def _chosen(settings: Settings, pages: Pages) -> list[tuple[str, int]]:
    """All taxa with images; with --target only this taxon and its descendants."""
    every = pages.taxa()
    if settings.target in (PREDICTED, TRUE):
        return every
    taxonomy = pages.taxonomy
    rank, label = taxonomy.find(settings.target, settings.target_rank)
    below = taxonomy.prefixes(rank)[label]
    chosen = [
        (one, number)
        for one, number in every
        if taxonomy.prefixes(one)[number][: len(below)] == below
    ]
    if not chosen:
        raise UserError(
            f"--target={settings.target}: there is no picture of it in the "
            f"{settings.split} split, or the model does not reach below {rank}. "
            f"There are pages for {', '.join(pages.evidence.ranks)}."
        )
    return chosen


def _sentences(
    data: RunData,
    evidence: guide_evidence.Evidence,
    checked: part_naming.Check | None,
    split: str,
) -> tuple[str, ...]:
    """Sentences on the data of the guide, its reliability, and the parts it names."""
    count = len(evidence.records)
    seen = "that the model learned from" if split == "train" else "new to the model"
    if data.run.imported:
        seen = "that the model may have learned from, as its training is unknown"
    right = {
        rank: evidence.right(rank)[evidence.chosen(rank)]
        for rank in evidence.ranks
        if evidence.chosen(rank).any()
    }
    shares = ", ".join(f"{rank} {_share(answers)}" for rank, answers in right.items())
    first = (
        f"Made of {wording.count(count, 'picture')} {seen}, which distinguishes a "
        f"taxon from its siblings in: {shares}."
    )
    sentences = [first, *filter(None, [_reach(data, evidence, split)])]
    off = np.stack([evidence.of("off_object", rank) for rank in evidence.ranks])
    known = off[np.isfinite(off)]
    if known.size:
        inside = [evidence.of("energy_on_object", rank) for rank in evidence.ranks]
        area = np.nanmean(evidence.table.pictures["object_area"])
        sentences.append(
            f"{percent(np.nanmean(inside))} of the evidence is on the "
            f"{data.config.data.noun}, which fills {percent(area)} of the picture; in "
            f"{percent(known.mean())} of {wording.count(known.size, 'step')} the "
            "hottest point is off it."
        )
    if checked:
        sentences.append(naming_sentence(checked))
    return tuple(sentences)


def _reach(data: RunData, evidence: guide_evidence.Evidence, split: str) -> str:
    """A sentence on pictures that do not count at every rank; "" without."""
    if not data.may_lack_taxa:
        finest = max(data.run.ranks, key=data.taxonomy.ranks.index)
        return data.unanswerable(evidence.records, [finest])
    every = data.records(split)
    labels = {rank: data.labels(every, rank) >= 0 for rank in evidence.ranks}
    known = {rank: int(has.sum()) for rank, has in labels.items()}
    if all(count == len(every) for count in known.values()):
        return ""
    parts = [f"the {rank} of {count}" for rank, count in known.items()]
    knows = wording.listed(parts)
    lost = len(every) - int(np.any(list(labels.values()), axis=0).sum())
    who = "the network"
    if data.run.allowed_taxa is not None:
        who = f"with --allowed_taxa={data.run.allowed_taxa.source} the network"
    rest = f" {lost} of no known taxon are left out." if lost else ""
    coarse = sum(one.lineage is not None and one.lineage.is_partial for one in every)
    if coarse:
        are = "is" if coarse == 1 else "are"
        rest = f" {coarse} {are} identified to a coarser rank only.{rest}"
    return (
        f"Of {wording.count(len(every), 'picture')}, {who} knows {knows}: a "
        f"picture counts down to the finest of its taxa that the network knows.{rest}"
    )


def _share(answers: np.ndarray) -> str:
    """`67 % of 30 pictures`; for fewer than ten the count, `4 of 6 pictures`."""
    of = f"of {wording.count(len(answers), 'picture')}"
    if len(answers) < MIN_GROUPS:
        return f"{int(answers.sum())} {of}"
    return f"{percent(answers.mean())} {of}"


def naming_sentence(checked: part_naming.Check) -> str:
    """Sentence on the accuracy of named parts, with chance and constant baselines."""
    taxa, mean = checked.taxa, checked.mean
    named = wording.count(taxa.taxa, "taxon")
    text = f"For {taxa.right} of {named} it names the part that carries the trait"
    if taxa.taxa < MIN_GROUPS:
        return f"{text}: {wording.too_few(taxa.taxa, 'taxon')}."
    text += (
        f": {percent(taxa.share)} ({percent(taxa.low)} to {percent(taxa.high)}), "
        f"{'most' if taxa.share > 0.5 else 'not most'} of them; that is "
        f"{_against(taxa)} saying {spaced(taxa.always)} of every taxon "
        f"({percent(taxa.constant)}), and a part at random is right for "
        f"{percent(taxa.chance)}."
    )
    if len(checked.ranks) == 1:
        return text
    return (
        f"{text} Each rank counted alike it is right for {percent(mean.share)} "
        f"({percent(mean.low)} to {percent(mean.high)}), {_against(mean)} one answer "
        f"for all ({percent(mean.constant)})."
    )


def _against(named: part_naming.Named) -> str:
    """The share, compared with that of the best constant part."""
    if named.low > named.constant:
        return "more than"
    if named.high < named.constant:
        return "less than"
    return "not significantly different from"


def _check_rows(
    checked: part_naming.Check | None, planted: dict
) -> tuple[tuple[str, ...], ...]:
    if not checked:
        return ()
    named = [
        *((rank, spaced(planted[rank][0]), one) for rank, one in checked.ranks.items()),
        ("all taxa", "", checked.taxa),
        ("mean of the ranks", "", checked.mean),
    ]
    return tuple(
        (
            rank,
            part,
            str(one.right),
            str(one.taxa),
            f"{percent(one.share)} ({percent(one.low)} to {percent(one.high)})",
            percent(one.chance),
            "" if part else f"{percent(one.constant)} ({spaced(one.always)})",
        )
        for rank, part, one in named
    )


def _write_table(path: Path, pages: Pages, named: dict, planted: dict) -> None:
    """Writes taxa.csv: the numbers of the pages, one row for each taxon."""
    evidence, rows = pages.evidence, []
    for (rank, label), part in named.items():
        mine = pages.rows(rank, label)
        off = evidence.of("off_object", rank)[mine]
        rows.append(
            {
                "rank": rank,
                "taxon": "/".join(pages.taxonomy.prefixes(rank)[label]),
                "pictures": len(mine),
                "siblings": pages.num_siblings(rank, label),
                "sure": float(evidence.sure(rank)[mine].mean()),
                "right": float(evidence.right(rank)[mine].mean()),
                "off_object": float(np.nanmean(off)) if np.isfinite(off).any() else "",
                "named_part": part or "",
                "planted_part": planted[rank][0] if rank in planted else "",
            }
        )
    header = (
        "rank", "taxon", "pictures", "siblings", "sure", "right", "off_object",
        "named_part", "planted_part",
    )  # fmt: skip
    tables.write_csv(path, header, rows)


def _write_check(path: Path, checked: part_naming.Check) -> None:
    """Writes check.csv: accuracy of named parts, and the two baselines."""
    every = {**checked.ranks, "all taxa": checked.taxa, "mean of ranks": checked.mean}
    rows = [{"over": name, **asdict(one)} for name, one in every.items()]
    tables.write_csv(path, list(rows[0]), rows)


def _facts(data: RunData, settings: Settings) -> dict[str, str]:
    versions = runtime.versions()
    packages = ("hiercam_keras", "keras", "jax", "numpy")
    unknown = {"training data, split and seed": "unknown"} if data.run.imported else {}
    split = data.in_words(settings.split)
    return {
        "data": f"{data.data_name}, {split.removeprefix('the ')}",
        "run": str(data.run.path),
        "maps": f"{data.config.cam.method} of the steps into each true taxon, at "
        f"{data.config.cam.layer or 'the last activation'}",
        **unknown,
        **taxonomies.fact(data.taxonomy),
        "versions": ", ".join(f"{n} {versions[n]}" for n in packages if n in versions),
    }
