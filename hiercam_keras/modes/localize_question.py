"""What localize asks of a model, in words and as the name of a folder."""

from collections.abc import Mapping
from typing import Any

from hiercam_keras import file_names
from hiercam_keras.evaluation.question import PREDICTED, TRUE, Question
from hiercam_keras.modes.load import RunData


def folder_of(question: Question, target: str, own_rank: str) -> str:
    """The method, then what is not the default: gradcam-family-true.

    Args:
      question: that is asked.
      target: see `target_name`.
      own_rank: the finest that the model was trained at, which is asked by default.
    """
    parts = [question.method, "" if question.rank == own_rank else question.rank]
    if target != PREDICTED:
        parts.append(file_names.words_name(target))
    parts += ["" if question.score == "own" else question.score, question.layer]
    return file_names.joined_name([part for part in parts if part], "-")


def target_name(question: Question, data: RunData) -> str:
    """predicted, true, or the display name of the taxon that is asked for."""
    if question.target in (PREDICTED, TRUE):
        return question.target
    _, label = data.taxonomy.find(question.target, question.rank)
    return data.taxonomy.names(question.rank)[label]


def in_words(info: Mapping[str, Any]) -> str:
    """What the maps are of: "gradcam of the predicted species"."""
    if "rank" not in info:
        return str(info["method"])
    if info["target"] in (PREDICTED, TRUE):
        return f"{info['method']} of the {info['target']} {info['rank']}"
    return f"{info['method']} of {info['target']}"
