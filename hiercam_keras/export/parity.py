"""Compares an exported file with the program, picture by picture.

The program's side is what its modes write: logits of the network as it is loaded,
probabilities in float64 of `Network.probabilities`, and Grad-CAM of the explainer. The
file's side is ONNX Runtime on the CPU. Files compute in float32, and so does the
program here, also where its layers are of a mixed policy.

Logits are compared relative to the largest of the pictures' logits where that is above
1, maps relative to the largest value of the same output, as maps have no unit. Maps of
pictures with another path are of other taxa, and are left out.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from hiercam_keras.cam import targets
from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.export import function, layers
from hiercam_keras.export.session import Session
from hiercam_keras.runs.network import Network

FLOAT32_BOUND = 1e-4
# Of a file with weights in float16.
LEAST_AGREEMENT, LEAST_CORRELATION = 0.99, 0.999


@dataclasses.dataclass(frozen=True)
class Parity:
    """Largest differences between the program and a file, of N pictures.

    Attributes:
      pictures: N.
      logits: relative to the largest logit above 1, over all heads.
      probabilities: absolute, over all ranks.
      maps, steps, maps_of_taxa: relative to the largest value of the output; None where
        the file has none.
      paths: pictures with the same path.
      agreement: by rank, the share of pictures with the same likeliest taxon.
      correlation: Pearson's, mean over the maps of the path; None without maps.
    """

    pictures: int
    logits: float
    probabilities: float
    maps: float | None
    steps: float | None
    maps_of_taxa: float | None
    paths: int
    agreement: dict[str, float]
    correlation: float | None

    @property
    def largest(self) -> float:
        """The largest of the differences."""
        found = (
            self.logits,
            self.probabilities,
            self.maps,
            self.steps,
            self.maps_of_taxa,
        )
        return max(one for one in found if one is not None)

    def within(self, bound: float = FLOAT32_BOUND) -> bool:
        """Whether all differences of a float32 file are below a bound, and all paths
        are the same."""
        return self.largest <= bound and self.paths == self.pictures

    def agrees(
        self,
        agreement: float = LEAST_AGREEMENT,
        correlation: float = LEAST_CORRELATION,
    ) -> bool:
        """Whether a float16 file answers and maps as the program does."""
        if min(self.agreement.values()) < agreement:
            return False
        return self.correlation is None or self.correlation >= correlation

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        named = {
            "logits": self.logits,
            "probabilities": self.probabilities,
            "maps": self.maps,
            "steps": self.steps,
            "maps of taxa": self.maps_of_taxa,
        }
        parts = [f"{name} {x:.1e}" for name, x in named.items() if x is not None]
        return (
            f"largest differences of {self.pictures} pictures: {', '.join(parts)}; "
            f"the same path for {self.paths} of them"
        )


def compare(network: Network, path: str | os.PathLike, images: Any) -> Parity:
    """Asks the program and a file about the same pictures.

    Args:
      network: of the run that was exported.
      path: of the file.
      images: (N, H, W, 3), RGB in 0 .. 255, resized, uint8 or float.

    Raises:
      UserError: ONNX Runtime cannot read the file, or it is of another network.
    """
    with layers.in_float32(network.model):
        return _compared(network, Session(path), np.asarray(images))


def _compared(network: Network, session: Session, images: np.ndarray) -> Parity:
    explain = network.explainer()
    space = explain.space
    first = explain(images, targets.path() if _exclusive(space) else None)
    taxa = _some_taxa(space) if session.taxa else None
    leaves = None if taxa is None else np.stack([one[2] for one in taxa])
    found = session(images, leaves)
    columns = {rank: first.head_logits(rank) for rank in space.heads}
    scores = network.scores(columns)
    logits = max(
        _relative(found[function.logits_name(rank, space)], one, least=1.0)
        for rank, one in columns.items()
    )
    shares = {rank: network.probabilities(rank, one) for rank, one in scores.items()}
    theirs = {rank: found[function.probabilities_name(rank)] for rank in shares}
    agreement = {
        rank: float((theirs[rank].argmax(1) == one.argmax(1)).mean())
        for rank, one in shares.items()
    }
    labels = _labels(first)
    same = (found[function.PATH] == labels).all(1)
    maps = steps = of_taxa = correlation = None
    if function.MAPS in found and same.any():
        ours = _maps(explain, images[same], labels[same], taxa)
        theirs_of = {name: found[name][same] for name in ours}
        maps = _relative(theirs_of[function.MAPS], ours[function.MAPS])
        correlation = _correlation(theirs_of[function.MAPS], ours[function.MAPS])
        if function.STEPS in ours:
            steps = _relative(theirs_of[function.STEPS], ours[function.STEPS])
        if function.MAPS_OF_TAXA in ours:
            name = function.MAPS_OF_TAXA
            of_taxa = _relative(theirs_of[name], ours[name])
    return Parity(
        len(images),
        logits,
        max(float(np.abs(theirs[r] - one).max()) for r, one in shares.items()),
        maps,
        steps,
        of_taxa,
        int(same.sum()),
        agreement,
        correlation,
    )


def _exclusive(space) -> bool:
    return not space.head_of[space.finest].independent


def _labels(first: Explanation) -> np.ndarray:
    """int32 (N, R): the path, by the program's rule."""
    if _exclusive(first.space):
        return first.labels
    return first.head_logits().argmax(1)[:, None].astype(np.int32)


def _some_taxa(space) -> list[tuple[str, int, np.ndarray]]:
    """Rank, label and leaves, 0 or 1, of the first and the last taxon of each rank."""
    found = []
    for place, rank in enumerate(space.ranks):
        group = space.groups[place + 1]
        for label in sorted({0, group.size - 1}) if group.size else ():
            leaves = space.ancestors[:, place] == group.start + label
            found.append((rank, label, leaves.astype(np.float32)))
    return found


def _maps(explain, images, labels, taxa) -> dict[str, np.ndarray]:
    """The explainer's maps of a path, (N, R, h, w), by the names of the outputs."""
    space = explain.space
    known = labels >= 0
    # The maps of unknown ones, and of ranks without a taxon, are set to 0 below.
    some = np.maximum(labels, 0)
    ranks = [
        rank if space.groups[space.group(rank)].size else space.finest
        for rank in space.ranks
    ]
    asked = {
        function.MAPS: [
            targets.label(some[:, place], rank) for place, rank in enumerate(ranks)
        ]
    }
    if _exclusive(space):
        asked[function.STEPS] = [
            targets.step(rank, labels[:, place]) for place, rank in enumerate(ranks)
        ]
    if taxa is not None:
        asked[function.MAPS_OF_TAXA] = [
            targets.marginal(rank, label) for rank, label, _ in taxa
        ]
    found = explain(images, [one for several in asked.values() for one in several])
    maps, start = {}, 0
    for name, several in asked.items():
        maps[name] = found.cams[:, start : start + len(several)]
        start += len(several)
    maps[function.MAPS] = np.where(known[..., None, None], maps[function.MAPS], 0)
    return maps


def _relative(found: np.ndarray, expected: np.ndarray, least: float = 0.0) -> float:
    """The largest difference, over the largest expected value or `least`.

    Values that both have as -inf, the logits of labels without an output, are equal.
    """
    if found.shape != expected.shape:
        return float("inf")
    known = ~(np.isneginf(found) & np.isneginf(expected))
    found, expected = (x[known].astype(np.float64) for x in (found, expected))
    difference = np.abs(found - expected).max(initial=0.0)
    if difference == 0:
        return 0.0
    return float(difference / max(np.abs(expected).max(initial=0.0), least))


def _correlation(found: np.ndarray, expected: np.ndarray) -> float | None:
    """Mean of Pearson's r over the maps that are not constant."""
    x, y = (a.reshape(*a.shape[:2], -1).astype(np.float64) for a in (found, expected))
    x, y = (a - a.mean(-1, keepdims=True) for a in (x, y))
    norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    kept = norms > 1e-12
    if not kept.any():
        return None
    return float(((x * y).sum(-1)[kept] / norms[kept]).mean())
