"""What localize asks of a model, and the name of the folder of its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hiercam_keras import file_names
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.make_maps import PREDICTED, TRUE, resolve_target
from hiercam_keras.modes.settings import Settings


@dataclass(frozen=True)
class Question:
    """What maps are asked for, in words.

    Attributes:
      rank: whose taxa.
      target: predicted, true, or the name of a taxon.
      score: auto, own or marginal, see `config.cam.score`.
      layer: where the maps are taken; "" for the model's own.
      own_rank: the finest that the model was trained at, which is asked by default.
    """

    rank: str
    target: str
    score: str
    layer: str
    own_rank: str

    def folder(self, method: str) -> str:
        """The method, then whatever is not the default: gradcam-family-true."""
        parts = [method]
        if self.rank != self.own_rank:
            parts.append(self.rank)
        if self.target != PREDICTED:
            parts.append(file_names.words_name(self.target))
        if self.score == "marginal":
            parts.append(self.score)
        parts.append(self.layer)
        return file_names.joined_name([part for part in parts if part], "-")


def question_of(settings: Settings, data: RunData) -> Question:
    """Reads --target and --target_rank; UserError where the model cannot answer."""
    rank, label, _ = resolve_target(settings.target, settings.target_rank, data)
    target = settings.target
    if target not in (PREDICTED, TRUE):
        target = data.taxonomy.names(rank)[label]
    finest = max(data.run.ranks, key=data.taxonomy.ranks.index)
    cam = data.config.cam
    return Question(rank, target, cam.score, cam.layer, finest)


def in_words(info: Mapping[str, Any]) -> str:
    """What the maps are of: "gradcam of the predicted species"."""
    if "rank" not in info:
        return str(info["method"])
    if info["target"] in (PREDICTED, TRUE):
        return f"{info['method']} of the {info['target']} {info['rank']}"
    return f"{info['method']} of {info['target']}"
