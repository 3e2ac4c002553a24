"""The result of an explainer. NumPy only."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from hiercam_keras.cam import heatmaps
from hiercam_keras.cam.score_space import ScoreSpace


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """Maps of K targets for B images, by one method at one layer.

    Attributes:
      cams: float32 (B, K, h, w): signed maps before ReLU, at the resolution of the
        layer (input-space methods: of the image). float64 for a float64 model.
      scores: (B, K), the explained scores.
      probabilities: (B, K), the probability of the target taxon under its head: its
        softmax, or the sigmoid of an independent label.
      logits: (B, C), all heads concatenated in the order of `space.heads`. A head with
        a single logit z has the columns 0 and z.
      degenerate: bool (B, K): ReLU(cam) is constant, zero or not finite, so its heatmap
        is 0.
      trivial: bool (B, K): the target is trivial (a step into an only child), so cam is
        0.
      rows, rivals: int32 (B, K), target and opposing rows of `space`; -1 for no
        opposing row, and the root's row as the target of a step that was not asked.
      titles: short names of the K targets.
      method, layer: names of the CAM method and the explained layer.
      space: the rows and labels that scores refer to.
      image_size: (H, W) of the images in pixels, the size of heatmaps.
      extras: additional (B, K) arrays by name, such as "completeness_gap" of integrated
        gradients.
    """

    cams: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray
    degenerate: np.ndarray
    trivial: np.ndarray
    rows: np.ndarray
    rivals: np.ndarray
    titles: tuple[str, ...]
    method: str
    layer: str
    space: ScoreSpace = dataclasses.field(repr=False)
    image_size: tuple[int, int]
    extras: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cams)

    def __repr__(self) -> str:
        asked = [
            f"{title} ({rank})" if rank not in title.split("-") else title
            for title, rank in zip(self.titles, self.ranks, strict=True)
        ]
        more = ", ..." if asked[8:] else ""
        empty = int(self.degenerate.sum())
        return (
            f"<Explanation of {len(self)} images by {self.method} at {self.layer}: "
            f"cams {self.cams.shape} {self.cams.dtype}, "
            f"targets {', '.join(asked[:8])}{more}; "
            f"{empty} of {self.degenerate.size} maps without a heatmap>"
        )

    @functools.cached_property
    def heatmap(self) -> np.ndarray:
        """Heatmaps in [0, 1] at the size of the images: float32 (B, K, H, W).

        ReLU(cam) is resized bilinearly, then scaled by (h - min) / (max - min). A
        degenerate map gives zeros.
        """
        return heatmaps.heatmap(self.cams, self.image_size)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 (B, K): the label of the target taxon at its rank; -1 if none."""
        starts = np.array([group.start for group in self.space.groups])
        labels = self.rows - starts[self.space.group_of[self.rows]]
        return np.where(self.rows == 0, -1, labels).astype(np.int32)

    @functools.cached_property
    def ranks(self) -> tuple[str, ...]:
        """The rank of each of the K targets."""
        # Without a row in any image it is a step, "step-genus", see `targets.UNKNOWN`.
        return tuple(
            self.space.rank_label(row)[0] if row else title.removeprefix("step-")
            for row, title in zip(self.rows.max(0), self.titles, strict=True)
        )

    @functools.cached_property
    def names(self) -> list[list[str]]:
        """Display names of the target taxa, B lists of K; "" for none."""
        rows = np.where(self.rows == 0, -1, self.rows)
        return [[self.space.name(row) for row in one] for one in rows]

    @functools.cached_property
    def rival_names(self) -> list[list[str]]:
        """Display names of the opposing rows, B lists of K; "" for none.

        For a step and for siblings it is the name of the parent.
        """
        return [[self.space.name(row) for row in rows] for rows in self.rivals]

    def head_logits(self, rank: str | None = None) -> np.ndarray:
        """Logits (B, N) of the head of a rank, by default the finest.

        Raises KeyError if the model has no such head.
        """
        rank = rank or self.space.finest
        start = 0
        for head in self.space.heads:
            size = self.space.num_labels[head]
            if head == rank:
                return self.logits[:, start : start + size]
            start += size
        raise KeyError(rank)

    def rank_probabilities(
        self, rank: str | None = None, score: str = "own"
    ) -> np.ndarray:
        """Probability of every taxon of a rank: float64 (B, n).

        See `ScoreSpace.group` for the arguments.
        """
        return self.space.probabilities(self.logits, rank, score)
