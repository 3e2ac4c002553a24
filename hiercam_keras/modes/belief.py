"""The believed rank of answers: which rule a run has, and what it says of pictures."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import workdir
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import belief
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import BELIEF, Run
from hiercam_keras.runs.truth import Truth
from hiercam_keras.taxonomy import matching
from hiercam_keras.taxonomy.common_names import titled
from hiercam_keras.taxonomy.lineage import UNNAMED, unnamed_below
from hiercam_keras.taxonomy.scores import softmax
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training.predict import Predictions

SCHEMA_VERSION = 1
CALIBRATED, ROLL_UP = "calibrated", "rollup"
RULES = (CALIBRATED, ROLL_UP)
HEADER = (
    "example_id",
    "believed_rank",  # empty: no name is believed, the answer is the root
    "believed_taxon",
    "lineage",
    "probability",
    "source",
    "next_rank",  # where belief ended, with the two likeliest taxa there
    "next_taxon",
    "next_probability",
    "second_taxon",
    "second_probability",
)


@dataclass(frozen=True)
class Rule:
    """What decides how far down an answer is believed.

    Attributes:
      name: one of RULES.
      source: the rule with its numbers, for tables.
      thresholds: by rank, for CALIBRATED; inf where a rank is never believed.
      images: digest of the calibration images, see `digest`; "" for none.
      allowed_share: where the allowed taxa together have less than this probability, no
        name is believed; 0 .. 1.
    """

    name: str
    source: str
    thresholds: Mapping[str, float]
    images: str = ""
    allowed_share: float = 0.0


FIXED = Rule(ROLL_UP, "rollup: label above 0.8, else sums of 5 above 0.65", {})


@dataclass(frozen=True)
class Answers:
    """Answers for N pictures.

    Attributes:
      paths: their paths.
      depth: down to which each is believed, (N,).
      probabilities: of the finest rank, (N, labels).
      finest: that rank.
      allowed: probability of the allowed taxa together where it is too low for any
        name to be believed, NaN elsewhere, (N,).
    """

    paths: belief.Paths
    depth: np.ndarray
    probabilities: np.ndarray
    finest: str
    allowed: np.ndarray


def path_for(run: Run) -> Path:
    """The file with the thresholds of a run, for its allowed taxa."""
    return run.results / BELIEF


def rule_of(run: Run, options: Any) -> Rule | None:
    """The rule of a run: that of the config, as far as the run has it.

    Args:
      run: whose answers are judged.
      options: the section `believe` of the config.

    Returns:
      None for the rule "calibrated" if the run was not calibrated.

    Raises:
      UserError: no such rule, or the run's file is damaged.
    """
    if options.rule not in RULES:
        raise UserError(
            f"believe.rule is {options.rule!r}, expected {' or '.join(RULES)}."
        )
    allowed_share = allowed_share_of(options)
    if options.rule == ROLL_UP:
        return replace(FIXED, allowed_share=allowed_share)
    return calibrated(run, allowed_share)


def calibrated(run: Run, allowed_share: float = 0.0) -> Rule | None:
    """The rule of a run's thresholds; None if it was not calibrated.

    Args:
      run: whose answers are judged.
      allowed_share: see `Rule`, where the thresholds come with none.

    Raises:
      UserError: the run's file is damaged.
    """
    path = path_for(run)
    if not path.is_file() and run.allowed_taxa is not None:
        path = replace(run, allowed_taxa=None).results / BELIEF
        if path.is_file():
            logging.warning(
                "the thresholds of %s are of all taxa: for the allowed ones their "
                "guarantee does not hold. Use --mode=calibrate with --allowed_taxa.",
                path,
            )
    if not path.is_file():
        return None
    about = workdir.read_json(path)
    if about.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema_version {about.get('schema_version')!r}, expected "
            f"{SCHEMA_VERSION}. Use --mode=calibrate again."
        )
    if run.other_tree is not None and about.get("table") != run.other_tree.table.digest:
        logging.warning(
            "%s is not used: it is of another content of %s. Use --mode=calibrate with "
            "--taxonomy again.",
            path,
            run.other_tree.table.path,
        )
        return None
    thresholds = {
        row["rank"]: np.inf if row["threshold"] is None else row["threshold"]
        for row in about["ranks"]
    }
    wanted = f"accuracy {about['accuracy']:g} at level {about['confidence_level']:g}"
    return Rule(
        CALIBRATED,
        f"calibrated ({wanted})",
        thresholds,
        about.get("images_sha256", ""),
        about.get("allowed_share", allowed_share),
    )


def allowed_share_of(options: Any) -> float:
    """The checked `allowed_share` of the section `believe` of a config."""
    share = options.allowed_share
    if not 0 <= share <= 1:
        raise UserError(
            f"believe.allowed_share is {share}, expected a number from 0 to 1 such as "
            "0.5."
        )
    return share


def too_little(masked: Any, allowed_share: float) -> np.ndarray:
    """Whether the allowed taxa together have less than a share of the probability.

    Args:
      masked: probability (N,) of the other taxa.
      allowed_share: 0 .. 1.
    """
    return 1 - np.asarray(masked, np.float64) < allowed_share


def digest(example_ids: Sequence[str]) -> str:
    """SHA-256 of a set of images, by their names."""
    return hashlib.sha256("\n".join(sorted(example_ids)).encode()).hexdigest()


def answers(rule: Rule, network: Network, found: Predictions) -> Answers | None:
    """How far down the answers are believed; None for independent sigmoids."""
    finest = network.finest
    if finest in network.independent:
        return None
    shares = softmax(found.logits[finest].astype(np.float64))
    return judged(rule, shares, network.taxonomy, finest, found.masked)


def limits(rule: Rule, taxonomy: Taxonomy, finest: str) -> dict[str, float]:
    """The thresholds of a calibrated rule at each rank with several taxa, coarse to
    fine; inf at one that it was not calibrated at.

    Args:
      rule: of the run.
      taxonomy: of the labels: the whole tree, or of the allowed taxa.
      finest: rank of the probabilities.
    """
    ranks = belief.ranks_of(taxonomy, finest)
    return {rank: rule.thresholds.get(rank, np.inf) for rank in ranks}


def judged(
    rule: Rule,
    shares: np.ndarray,
    taxonomy: Taxonomy,
    finest: str,
    masked: Any = None,
) -> Answers:
    """How far down answers are believed.

    Args:
      rule: of the run.
      shares: probabilities (N, labels) at the rank `finest`, among the allowed taxa.
      taxonomy: of the labels.
      finest: rank of the probabilities.
      masked: probability (N,) of taxa that are not allowed; None if all are.
    """
    if rule.name == ROLL_UP:
        paths, depth = belief.roll_up(shares, taxonomy, finest)
    else:
        paths = belief.paths(shares, taxonomy, finest)
        thresholds = limits(rule, taxonomy, finest)
        depth = belief.believed(paths, list(thresholds.values()))
    allowed = np.full(len(shares), np.nan)
    if masked is not None:
        barred = too_little(masked, rule.allowed_share)
        allowed = np.where(barred, 1 - np.asarray(masked, np.float64), np.nan)
        depth = np.where(barred, belief.ROOT, depth)
    return Answers(paths, _named(paths, depth, taxonomy), shares, finest, allowed)


def _named(paths: belief.Paths, depth: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """The depths, up to the finest taxon with a name: "Anatidae sp." says Anatidae, and
    there is none at a gap."""
    depth = depth.copy()
    for at in reversed(range(len(paths.ranks))):
        names = taxonomy.names(paths.ranks[at])
        empty = np.array([name.endswith(UNNAMED) for name in names])
        taxa = paths.taxa[:, at]
        depth[(depth == at) & ((taxa < 0) | empty[taxa])] = at - 1
    return depth


def believed_rows(
    example_ids: Sequence[str], given: Answers, rule: Rule, taxonomy: Taxonomy
) -> list[list[Any]]:
    """Rows of HEADER, one for each picture."""
    paths, rows = given.paths, []
    for number, example_id in enumerate(example_ids):
        depth = int(given.depth[number])
        row = [example_id, "", "", "", 1.0, rule.source]
        if depth >= 0:
            rank, label = paths.ranks[depth], int(paths.taxa[number, depth])
            lineage = "/".join(taxonomy.prefixes(rank)[label])
            name = taxonomy.names(rank)[label]
            share = float(paths.probabilities[number, depth])
            row = [example_id, rank, name, lineage, share, rule.source]
        rows.append([*row, *_next(given, number, taxonomy)])
    return rows


def _next(given: Answers, number: int, taxonomy: Taxonomy) -> list[Any]:
    """The rank where belief ended, and its two likeliest taxa with probabilities."""
    found = fork(given, number, taxonomy)
    if found is None:
        return [""] * 5
    rank, pair = found
    names = taxonomy.names(rank)
    return [rank, *(cell for label, share in pair for cell in (names[label], share))]


def fork(
    given: Answers, number: int, taxonomy: Taxonomy
) -> tuple[str, list[tuple[int, float]]] | None:
    """The first choice below the believed taxon; None if there is none.

    Returns:
      The rank, and (label, probability) of its two likeliest taxa. Only children are
      passed, as they leave no choice.
    """
    ranks = given.paths.ranks
    for depth in range(int(given.depth[number]), len(ranks) - 1):
        pair = children(given, number, taxonomy, depth)[:2]
        if len(pair) == 2:
            return ranks[depth + 1], pair
    return None


def children(
    given: Answers, number: int, taxonomy: Taxonomy, depth: int
) -> list[tuple[int, float]]:
    """(label, probability) of the children of a taxon of a path, the likeliest first.

    Args:
      given: the answers.
      number: of the picture.
      taxonomy: of the answers.
      depth: of the taxon on the path, or belief.ROOT.
    """
    paths = given.paths
    rank = paths.ranks[depth + 1]
    shares = given.probabilities[number] @ taxonomy.rollup(given.finest, rank)
    while depth != belief.ROOT and paths.taxa[number, depth] < 0:
        depth -= 1  # a gap: its children are those of the taxon above
    if depth == belief.ROOT:
        below = np.arange(len(shares))
    else:
        parent = int(paths.taxa[number, depth])
        below = taxonomy.descendants(paths.ranks[depth], parent, rank)
    order = below[np.argsort(-shares[below], kind="stable")]
    return [(int(label), float(shares[label])) for label in order]


def in_words(given: Answers, number: int, taxonomy: Taxonomy) -> str:
    """The believed answer as a short sentence: `Accipiter sp., 94 %`."""
    depth = int(given.depth[number])
    if depth == belief.ROOT:
        return "no name is believed" + why_none(given, number)
    paths = given.paths
    rank, label = paths.ranks[depth], int(paths.taxa[number, depth])
    name = taxonomy.names(rank)[label]
    if depth + 1 < len(paths.ranks):
        name = unnamed_below(name)
    name = titled(name, taxonomy.common_name(rank, label))
    return f"{name}, {paths.probabilities[number, depth]:.0%}".replace("%", " %")


def why_none(given: Answers, number: int) -> str:
    """Words for what the allowed taxa have, if it is why no name is believed; or ""."""
    share = given.allowed[number]
    if np.isnan(share):
        return ""
    return f", the allowed taxa have {share:.0%} together".replace("%", " %")


def true_labels(
    records: Sequence[Record], truth: Truth | Taxonomy, ranks: Sequence[str]
) -> dict[str, np.ndarray]:
    """True labels by rank, for `belief.calibrate`.

    -1 is a taxon that the network does not know. A rank that an image is not
    identified down to is belief.UNLABELLED.
    """
    lineages = [record.lineage for record in records]
    taxonomy = truth if isinstance(truth, Taxonomy) else truth.taxonomy
    found = {}
    for rank in ranks:
        labels = truth.labels(lineages, rank)
        open_ = [not _identified(taxonomy, one, rank) for one in lineages]
        found[rank] = np.where((labels < 0) & open_, belief.UNLABELLED, labels)
    return found


def _identified(taxonomy: Taxonomy, lineage: Any, rank: str) -> bool:
    """Whether a lineage says which taxon of `rank` an image is of, known or not."""
    if lineage is None:
        return False
    common = matching.common_ranks(taxonomy, lineage)
    if not common:  # a plain name
        return rank == taxonomy.finest
    name = lineage.display_name(common[rank]) if rank in common else ""
    return bool(name) and not name.endswith(UNNAMED)
