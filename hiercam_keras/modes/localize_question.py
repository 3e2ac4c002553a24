"""Descriptions and folder names of the targets of --mode=localize."""

from collections.abc import Mapping
from typing import Any

from hiercam_keras import file_names
from hiercam_keras.evaluation.question import PREDICTED, TRUE, Question
from hiercam_keras.modes.load import RunData


def folder_of(question: Question, target: str, own_rank: str) -> str:
    """Folder name: the method and all settings that differ from the default.

    Example: gradcam-family-true.

    Args:
      question: the target, method and layer.
      target: of `target_name`.
      own_rank: the finest rank of the model, which is the default.
    """
    parts = [question.method, "" if question.rank == own_rank else question.rank]
    if target != PREDICTED:
        parts.append(file_names.words_name(target))
    parts += ["" if question.score == "own" else question.score, question.layer]
    return file_names.joined_name([part for part in parts if part], "-")


def target_name(question: Question, data: RunData) -> str:
    """Returns "predicted", "true", or the display name of the target taxon."""
    if question.target in (PREDICTED, TRUE):
        return question.target
    _, label = data.taxonomy.find(question.target, question.rank)
    return data.taxonomy.names(question.rank)[label]


def in_words(info: Mapping[str, Any]) -> str:
    """Description of the maps, such as "gradcam of the predicted species"."""
    if "rank" not in info:
        return str(info["method"])
    if info["target"] in (PREDICTED, TRUE):
        return f"{info['method']} of the {info['target']} {info['rank']}"
    return f"{info['method']} of {info['target']}"
