"""Tables, figure and sentences of --mode=cam --search."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiercam_keras import tables, wording, workdir
from hiercam_keras.cam import store_key
from hiercam_keras.evaluation.question import PREDICTED, TRUE, Question
from hiercam_keras.evaluation.ranking import LIFT, Entry, Ranking
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes.search_measure import Candidate
from hiercam_keras.report import dots, style

_SHOWN = 12  # names in a sentence
_PARTS = ("", "_low", "_high", "_images", "_groups")
HEADER = (
    *("place", "method", "layer", "best", "excluded"),
    *(f"lift{part}" for part in _PARTS),
    *(f"insertion_minus_deletion{part}" for part in _PARTS),
    *(f"random_similarity{part}" for part in _PARTS),
    *("difference", "difference_low", "difference_high", "p_holm"),
)


@dataclass(frozen=True)
class Searched:
    """What was searched for, in words of the tables.

    Attributes:
      run: the run folder.
      split: the images, in words.
      images: their number.
      question: what they were asked; its method is the run's own.
      target: the taxon in words.
      noun: what the images show.
      resampled: noun of what intervals resample: the finest rank, or "group".
      seed: of draws.
      insensitive: threshold of the similarity to maps of random weights.
      cam_layer: config.cam.layer, the layer that is explained without a search; "" for
        the network's own.
      flags: of the command that use the choice.
    """

    run: Path
    split: str
    images: int
    question: Question
    target: str
    noun: str
    resampled: str
    seed: int
    insensitive: float
    cam_layer: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class OnTest:
    """What the choice is worth on test.

    Attributes:
      images: number of the test images.
      values: the ranking's measure of each question that could be chosen.
      best: name of the best one there.
      regret: the best one's minus the chosen one's, see `ranking.regret`.
      own: name of the run's own layer and method; "" if it was not tried.
      gain: the chosen one's minus that of `own`; None if they are the same.
    """

    images: int
    values: Mapping[str, Estimate]
    best: str
    regret: Estimate
    own: str
    gain: Estimate | None


def write(
    out: Path,
    about: Searched,
    candidates: Mapping[str, Candidate],
    ranked: Ranking,
    own: str,
    on_test: OnTest | None,
) -> str:
    """Writes search.csv, .json and .png, and report_test.csv; returns the report.

    Args:
      out: folder of the files.
      about: what was searched for.
      candidates: by the name of their question.
      ranked: the ranking.
      own: name of the run's own layer and method, "" if it was not tried.
      on_test: what the choice is worth on test, if it was asked.
    """
    rows = [
        _row(place, one, candidates[one.name])
        for place, one in enumerate(ranked.entries, 1)
    ]
    tables.write_csv(out / "search.csv", HEADER, rows)
    workdir.write_json(
        out / "search.json", _json(about, candidates, ranked, rows, on_test)
    )
    short = _short(candidates)
    style.save_png(out / "search.png", _figure(about, ranked, short))
    said = [
        f"{wording.count(len(rows), 'combination')} of method and layer on "
        f"{wording.count(about.images, 'image')} of {about.split}, "
        f"{_asked(about)}",
        _rule(about, ranked),
        tables.format_table(*_shown(ranked, short)),
        _verdict(about, ranked, own, short),
    ]
    if on_test is not None:
        tables.write_csv(
            out / "report_test.csv",
            ("method", "layer", *(f"{ranked.measure}{part}" for part in _PARTS)),
            [
                [*candidates[name][:2], *_cells(value)]
                for name, value in on_test.values.items()
            ],
        )
        said.append(_test_words(about, ranked, on_test, short))
    if ranked.best:
        said.append(f"use it: {_command(about, candidates[ranked.best.name])}")
    said.append(f"search.csv, search.json, search.png: {out}")
    return "\n".join(said)


def _row(place: int, one: Entry, candidate: Candidate) -> dict[str, Any]:
    row = {"place": place, "method": candidate.method, "layer": candidate.layer}
    row |= {"best": one.among_best, "excluded": one.excluded}
    for name, value in (
        ("lift", one.lift),
        ("insertion_minus_deletion", one.faithfulness),
        ("random_similarity", one.similarity),
    ):
        cells = zip(_PARTS, _cells(value), strict=True)
        row |= {f"{name}{part}": cell for part, cell in cells}
    gap = one.difference
    row |= {"difference": gap.value, "difference_low": gap.low}
    return row | {"difference_high": gap.high, "p_holm": gap.p}


def _cells(value: Estimate) -> tuple:
    return value.value, value.low, value.high, value.n, value.groups


def _json(about, candidates, ranked, rows, on_test) -> dict[str, Any]:
    chosen = ranked.best and _named(candidates[ranked.best.name])
    found = {
        "run": str(about.run),
        "split": about.split,
        "images": about.images,
        "rank": about.question.rank,
        "target": about.target,
        "score": about.question.score,
        "measure": ranked.measure,
        "pictures": ranked.pictures,
        "groups": ranked.groups,
        "insensitive": about.insensitive,
        "seed": about.seed,
        "chosen": chosen,
        "best": [_named(candidates[one.name]) for one in ranked.best_few],
        "rows": [tables.json_row(row) for row in rows],
        "versions": store_key.versions(),
    }
    if on_test is not None:
        found["test"] = {
            "images": on_test.images,
            "best": _named(candidates[on_test.best]),
            "regret": tables.json_row(vars(on_test.regret)),
            "own": _named(candidates[on_test.own]) if on_test.own else None,
            "gain": on_test.gain and tables.json_row(vars(on_test.gain)),
        }
    return found


def _short(candidates: Mapping[str, Candidate]) -> dict[str, str]:
    """Names for people: without the outer layers of a path where the last name does."""
    layers = {one.layer for one in candidates.values()}
    last = [layer.rsplit("/", 1)[-1] for layer in layers]
    found = {}
    for name, one in candidates.items():
        inner = one.layer.rsplit("/", 1)[-1]
        unique = last.count(inner) == 1 and not one.placed
        found[name] = one._replace(layer=inner).name if unique else name
    return found


def _named(candidate: Candidate) -> dict[str, str]:
    method, layer, _ = candidate
    return {"name": candidate.name, "method": method, "layer": layer}


def _asked(about: Searched) -> str:
    if about.target in (PREDICTED, TRUE):
        return f"asked for the {about.target} {about.question.rank}"
    return f"asked for {about.target}"


def _measure_words(about: Searched, ranked: Ranking) -> str:
    if ranked.measure == LIFT:
        return f"lift of the energy on the {about.noun} (1 is chance)"
    return "insertion minus deletion"


def _rule(about: Searched, ranked: Ranking) -> str:
    why = f"as {wording.plural(about.noun)} have boxes or masks"
    if ranked.measure != LIFT:
        why = f"as too few {wording.plural(about.noun)} have boxes or masks"
    return (
        f"ranked by {_measure_words(about, ranked)}, {why}, over the same "
        f"{wording.count(ranked.pictures, 'image')} of "
        f"{_groups(about, ranked.groups)}; 95 % intervals over {about.resampled}. Maps "
        "with a rank correlation of "
        f"{about.insensitive:g} or more with those of random weights cannot be chosen."
    )


def _groups(about: Searched, groups: int) -> str:
    return wording.count(groups, about.resampled)


def _shown(ranked: Ranking, short: Mapping[str, str]) -> tuple[list[str], list[list]]:
    header = ["place", "method and layer", "lift", "insertion - deletion"]
    header += ["random weights", "difference", "p (Holm)", ""]
    rows = []
    for place, one in enumerate(ranked.entries, 1):
        note = one.excluded
        if not note and one.among_best:
            note = "best" if place == 1 else "no significant difference"
            note = wording.too_few(ranked.groups) if ranked.too_few else note
        rows.append(
            [
                place,
                short[one.name],
                _cell(one.lift),
                _cell(one.faithfulness),
                wording.number(one.similarity.value, "{:.2f}"),
                _cell(one.difference),
                wording.number(one.difference.p, "{:.2g}"),
                note,
            ]
        )
    return header, rows


def _cell(value: Estimate) -> str:
    return wording.number(value.value) + wording.interval(value.low, value.high)


def _verdict(
    about: Searched, ranked: Ranking, own: str, short: Mapping[str, str]
) -> str:
    if ranked.best is None:
        return (
            "none can be chosen: see the last column of the table. "
            "--config.search.layers and --config.search.methods name others."
        )
    best, few = short[ranked.best.name], ranked.best_few
    if ranked.too_few:
        return (
            f"{wording.too_few(ranked.groups, about.resampled)} which is best; the "
            f"largest value is that of {best}."
        )
    others = [short[one.name] for one in few[1:]]
    if not others:
        said = f"the best is {best}: all others are significantly worse."
    else:
        more = len(others) - _SHOWN
        names = ", ".join(others[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        said = f"the best is {best}, with no significant difference to {names}."
    entry = ranked.of(own) if own else None
    if entry is None or entry == ranked.best:
        return said
    own = short[own]
    if entry.excluded:
        return f"{said} The run's own, {own}, cannot be chosen: {entry.excluded}."
    state = "one of these" if entry.among_best else "significantly worse"
    return f"{said} The run's own, {own}, is {state} ({_cell(entry.difference)})."


def _test_words(
    about: Searched, ranked: Ranking, on_test: OnTest, short: Mapping[str, str]
) -> str:
    chosen = ranked.best.name
    lost = on_test.regret
    said = (
        f"on {wording.count(on_test.images, 'test image')}: {short[chosen]} has "
        f"{_cell(on_test.values[chosen])}, the best there, {short[on_test.best]}, has "
        f"{_cell(on_test.values[on_test.best])}. The choice loses {_cell(lost)}, "
        f"n = {lost.n} in {_groups(about, lost.groups)}; the best of these very images "
        "is too good on average."
    )
    if on_test.gain is not None:
        gain = on_test.gain
        said += (
            f" It has {_cell(gain)} more than the run's own, {short[on_test.own]}, "
            f"p = {wording.number(gain.p, '{:.2g}')}."
        )
    return said


def _command(about: Searched, chosen: Candidate) -> str:
    words = ["--mode=cam", f"--workdir={about.run}", *about.flags]
    words.append(f"--method={chosen.method}")
    layer = about.cam_layer if chosen.placed else chosen.layer
    words += [f"--config.cam.layer={layer}"] if layer else []
    return " ".join(shlex.quote(word) for word in words)


def _figure(about: Searched, ranked: Ranking, short: Mapping[str, str]) -> bytes:
    names, points = [], []
    for one in ranked.entries:
        value = one.value(ranked.measure)
        names.append(short[one.name] + (f" ({one.excluded})" if one.excluded else ""))
        points.append((value.value, value.low, value.high))
    pale = [i for i, one in enumerate(ranked.entries) if not one.among_best]
    reference = 1.0 if ranked.measure == LIFT else None
    words = _measure_words(about, ranked)
    series = {words: points}
    return dots.dots_png(names, series, words, reference=reference, pale=pale)
