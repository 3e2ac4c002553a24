"""The JSON value that the script of the compare page reads.

It is compact enough for ten thousand pictures: each lineage is stored once and
referenced by number, numbers are lists in the order of one list of labels, and with
many pictures each picture and heatmap is a file next to the page.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hiercam_keras import wording
from hiercam_keras.errors import UserError
from hiercam_keras.maps import is_degenerate
from hiercam_keras.report.html import fitted, number
from hiercam_keras.report.overlay import encode, heat_layer
from hiercam_keras.report.schema import (
    OWN_SCALES,
    STEPS_APART,
    STEPS_SHARE,
    Page,
    Picture,
    Step,
    View,
)
from hiercam_keras.report.sheets import check_views, shared_prefix

_IMAGE_SIDE = 256  # pixels, the longest side of a picture in the page
_HEAT_SIDE = 112  # heat is smooth: the browser scales it up without a visible loss

# Stores the bytes of a picture and returns the URL that the page uses for it.
Place = Callable[[str, bytes], str]


def page_data(page: Page, place: Place) -> dict[str, Any]:
    """The data of a page as a JSON value.

    Consumes the pictures once and keeps their texts and numbers, but no pixels.

    Args:
      page: the content.
      place: called with a name and the bytes of each picture and heatmap.

    Raises:
      UserError: an id is repeated or unknown, or the views are not those of the models.
    """
    lineages, labels = _Lineages(), {"picture": {}, "view": {}, "step": {}}
    number_of: dict[str, int] = {}
    pictures = []
    for index, picture in enumerate(page.pictures):
        check_views(picture, page.models)
        if picture.example_id in number_of:
            raise UserError(f"the page has pictures twice: {picture.example_id}")
        number_of[picture.example_id] = index
        entry = _picture(picture, index, place, lineages)
        entry["numbers"] = _values(picture.numbers, labels["picture"])
        for view, shown in zip(entry["views"], picture.views, strict=True):
            view["numbers"] = _values(shown.numbers, labels["view"])
        for step, shown in zip(entry["steps"], picture.steps, strict=True):
            step["numbers"] = _values(shown.numbers, labels["step"])
        pictures.append(entry)
    _check_ids(page, number_of)
    for entry in pictures:
        _fill(entry, labels["picture"])
        for view in entry["views"]:
            _fill(view, labels["view"])
        for step in entry["steps"]:
            _fill(step, labels["step"])
    skip = shared_prefix(lineages.taxa)
    return {
        "ranks": list(page.ranks[skip:]),
        "skip": skip,
        "models": [{"name": m.name, "rank": m.rank} for m in page.models],
        "noun": page.noun,
        "stepsOf": page.steps_of,
        "scales": _scales(pictures),
        "agreementName": page.agreement_name,
        "labels": {kind: list(known) for kind, known in labels.items()},
        "sections": [
            {
                "title": section.title,
                "note": section.note,
                "pictures": [number_of[i] for i in section.example_ids],
            }
            for section in page.sections
        ],
        "lineages": lineages.taxa,
        # Empty where no taxon has a common name, so that no card has a line for it.
        "common": lineages.common if any(map(any, lineages.common)) else [],
        "pictures": pictures,
    }


def _scales(pictures: Sequence[Mapping[str, Any]]) -> str:
    """Which colors of the page can be compared."""
    if not any(picture["steps"] for picture in pictures):
        return OWN_SCALES
    shared = any(picture["stepsTop"] for picture in pictures)
    return f"{OWN_SCALES} {STEPS_SHARE if shared else STEPS_APART}"


def _check_ids(page: Page, number_of: Mapping[str, int]) -> None:
    wanted = [i for section in page.sections for i in section.example_ids]
    if page.hero is not None:
        wanted.append(page.hero)
    unknown = [i for i in wanted if i not in number_of]
    if unknown:
        raise UserError(f"the page shows pictures that it lacks: {unknown[:3]}")


class _Lineages:
    """Assigns a number to each lineage; `taxa` holds the lineages in that order, and
    `common` the common names of their taxa, "" where none is known."""

    def __init__(self):
        self.taxa: list[list[str]] = []
        self.common: list[list[str]] = []
        self._known: dict[tuple[str, ...], int] = {}

    def number(self, taxa: Sequence[str], common: Sequence[str] = ()) -> int:
        taxa = tuple(taxa)
        if taxa not in self._known:
            self._known[taxa] = len(self.taxa)
            self.taxa.append(list(taxa))
            self.common.append([""] * len(taxa))
        number = self._known[taxa]
        for depth, name in enumerate(common[: len(taxa)]):
            self.common[number][depth] = self.common[number][depth] or name
        return number


def _values(
    numbers: Mapping[str, float], labels: dict[str, None]
) -> list[float | None]:
    """The numbers in the order of `labels`; adds labels that are new."""
    entry = {str(label): number(value) for label, value in numbers.items()}
    for label in entry:
        labels[label] = None
    return [entry.get(label) for label in labels]


def _fill(entry: dict[str, Any], labels: Mapping[str, None]) -> None:
    """Pads numbers with None for labels that later pictures added."""
    entry["numbers"] += [None] * (len(labels) - len(entry["numbers"]))


def _picture(
    picture: Picture, index: int, place: Place, lineages: _Lineages
) -> dict[str, Any]:
    height, width = fitted(picture.image.shape[:2], _IMAGE_SIDE)
    image = Image.fromarray(picture.image)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    # Folders of a few thousand files: more make file managers slow.
    name, size = f"{index // 500:03d}/{index:05d}", (height, width)
    entry = {
        "id": picture.example_id,
        "split": picture.split,
        "name": picture.true_name,
        "common": picture.common_name,
        "true": lineages.number(picture.true, picture.common),
        "image": place(f"{name}.jpg", encode(image, "jpg", quality=85)),
        "agreement": number(picture.agreement),
        "objectArea": number(picture.object_area),
        "stepsTop": wording.number(picture.steps_top, "{:.2g}")
        if picture.steps_top is not None
        else "",
        "views": [
            _view(view, f"{name}_{k}.png", size, place, lineages)
            for k, view in enumerate(picture.views)
        ],
        "steps": [
            _step(step, f"{name}_step{k}.png", size, place)
            for k, step in enumerate(picture.steps)
        ],
    }
    if picture.credit:
        entry["credit"] = picture.credit
    return entry


def _view(
    view: View,
    name: str,
    size: tuple[int, int],
    place: Place,
    lineages: _Lineages,
) -> dict[str, Any]:
    return {
        "predicted": lineages.number(view.predicted, view.common),
        "name": view.predicted_name,
        "common": view.common_name,
        "p": number(view.probability),
        "right": _verdict(view.correct),
        "energy": number(view.energy_on_object),
        "coherent": None if view.coherent is None else bool(view.coherent),
        "remark": view.remark,
        "known": view.known,
        **_heat(view.heatmap, view.degenerate, name, size, place),
    }


def _verdict(correct: bool | None) -> bool | None:
    return None if correct is None else bool(correct)


def _step(step: Step, name: str, size: tuple[int, int], place: Place) -> dict[str, Any]:
    entry = {
        "rank": step.rank,
        "name": step.name,
        "common": step.common_name,
        "note": "" if step.heatmap is not None else step.note,
        "remark": step.remark,
    }
    if step.heatmap is None:  # an only child: neither right nor wrong
        nothing = {"p": None, "right": None, "heat": None, "degenerate": True}
        return entry | nothing
    entry |= {"p": number(step.probability), "right": _verdict(step.correct)}
    return entry | _heat(step.heatmap, step.degenerate, name, size, place)


def _heat(
    heatmap: np.ndarray,
    degenerate: bool,
    name: str,
    size: tuple[int, int],
    place: Place,
) -> dict[str, Any]:
    layer = heat_layer(heatmap, fitted(size, _HEAT_SIDE), degenerate=degenerate)
    return {
        "heat": place(name, encode(layer, "png")),
        "degenerate": bool(degenerate or is_degenerate(heatmap)),
    }
