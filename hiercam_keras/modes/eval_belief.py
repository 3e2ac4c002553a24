"""Tables of believed answers: how many names are given at each rank, and how right.

The rule of the run is set next to the fixed rule of SpeciesNet and to answers at one
rank for all images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import tables, workdir
from hiercam_keras.metrics import belief, resampling
from hiercam_keras.modes import belief as rules
from hiercam_keras.report import risk
from hiercam_keras.runs.network import Network
from hiercam_keras.training.predict import Predictions

HEADER = (
    "rule",
    "rank",
    "images",  # of known taxon at the rank
    "named",  # images with a name at the rank: believed there or at a finer rank
    "share",
    "accuracy",  # of these names
    "low",
    "high",
)
TOP_1 = "top-1"


def write(
    folder: Path,
    rule: rules.Rule,
    network: Network,
    found: Predictions,
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray,
) -> list[list[Any]]:
    """Writes believed.csv, believed_ranks.csv, risk_coverage.csv, .json and .png.

    Args:
      folder: of the files.
      rule: of the run.
      network: of the run, without independent sigmoids.
      found: its predictions.
      truth: true labels (N,) by rank, of `rules.true_labels`.
      groups: (N,), what intervals resample.

    Returns:
      Rows of HEADER of the run's rule.
    """
    taxonomy, finest = network.taxonomy, network.finest
    given = rules.answers(rule, network, found)
    fixed = rules.answers(rules.FIXED, network, found)
    paths = belief.paths(given.probabilities, taxonomy, finest)
    top = []
    for at, rank in enumerate(paths.ranks):
        depth = np.full(len(given.depth), at)
        answers = rules.Answers(paths, depth, given.probabilities, finest)
        top.append((f"{TOP_1} {rank}", answers))
    compared = [(rule.name, given), (rules.ROLL_UP, fixed), *top]
    if rule.name == rules.ROLL_UP:
        compared = compared[1:]
    rows = rules.believed_rows(found.example_ids, given, rule, taxonomy)
    right = belief.correct(given.paths, given.depth, truth)
    for row, is_right in zip(rows, right, strict=True):
        row.append("" if np.isnan(is_right) or not row[1] else int(is_right))
    tables.write_csv(folder / "believed.csv", (*rules.HEADER, "right"), rows)
    by_rank = [
        [name, *row] for name, one in compared for row in _by_rank(one, truth, groups)
    ]
    tables.write_csv(folder / "believed_ranks.csv", HEADER, by_rank)
    curve = belief.risk_coverage(paths, truth, taxonomy, finest)
    cells = list(zip(curve.thresholds, curve.coverage, curve.risk, strict=True))
    header = ("threshold", "coverage", "risk")
    tables.write_csv(folder / "risk_coverage.csv", header, cells)
    points = {name: _point(one, truth, network) for name, one in compared}
    about = {
        "rule": rule.source,
        "area": curve.area,
        "points": {
            name: {"coverage": said, "risk": wrong}
            for name, (said, wrong) in points.items()
        },
    }
    workdir.write_json(folder / "risk_coverage.json", about)
    risk.save_risk_coverage(
        folder / "risk_coverage.png", curve.coverage, curve.risk, curve.area, points
    )
    return [row for row in by_rank if row[0] == rule.name]


def _by_rank(
    given: rules.Answers, truth: Mapping[str, np.ndarray], groups: np.ndarray
) -> list[list[Any]]:
    """Rows of HEADER without the rule, coarse to fine."""
    rows = []
    for at, rank in enumerate(given.paths.ranks):
        known = truth[rank] != belief.UNLABELLED
        named = known & (given.depth >= at) & (given.paths.taxa[:, at] >= 0)
        right = np.where(named, given.paths.taxa[:, at] == truth[rank], np.nan)
        share = float(named.sum() / known.sum()) if known.any() else None
        if named.any():
            found = resampling.share(right, groups)
            cells = [found.value, found.low, found.high]
        else:
            cells = [None, None, None]
        rows.append([rank, int(known.sum()), int(named.sum()), share, *cells])
    return rows


def _point(
    given: rules.Answers, truth: Mapping[str, np.ndarray], network: Network
) -> tuple[float, float]:
    """Mean coverage, and share of wrong believed names, the root being right."""
    right = belief.correct(given.paths, given.depth, truth)
    known = np.isfinite(right)
    said = belief.coverage(given.paths, given.depth, network.taxonomy, network.finest)
    if not known.any():
        return float("nan"), float("nan")
    return float(said[known].mean()), float(1 - right[known].mean())


def sentences(
    rows: Sequence[Sequence[Any]], rule: rules.Rule, example_ids: Sequence[str]
) -> list[str]:
    """The rows of the run's rule as a table, with the rule above it."""
    shown = [row[1:] for row in rows]
    lines = [f"believed names, {rule.source}:", tables.format_table(HEADER[1:], shown)]
    if rule.images == rules.digest(example_ids):
        lines.append(
            "These are the images of the calibration: on others the names are right "
            "less often."
        )
    return lines
