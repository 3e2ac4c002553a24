"""experiments: tables on whether a map lies on the part that carries a rank's trait."""

import math
from collections.abc import Mapping, Sequence

from hiercam_keras.experiments.seen import Pool, Seen, pick
from hiercam_keras.experiments.tables import Table, joined, text, told

Evidence = Mapping[str, tuple[str, int]]  # rank -> (name of the part, its label)
# A model: its ranks, the condition in words, its pieces.
Models = Sequence[tuple[tuple[str, ...], str, list[Seen]]]

LIFT = (
    "Lift: share of the map's energy (resized ReLU of the map, divided by its sum) on "
    "a part over the part's share of the picture, as means over the test images; 1 is "
    "chance. Brackets: 95 % intervals, species and seeds resampled."
)


def own_rank_table(models: Models, evidence: Evidence) -> Table:
    """Does a model look at the part of its own rank? Maps of its own question."""
    rows, answers = [], []
    for ranks, condition, seen in models:
        rank = ranks[-1]
        pool = Pool(seen)
        key = f"asked-{rank}"
        num_parts = pool.area.shape[1]
        lifts = [pool.lift(key, [label]) for _, label in evidence.values()]
        bird = pool.lift(key, range(1, num_parts))
        rows.append((rank, condition, *lifts, bird, pool.lift(key, [0])))
        if rank not in evidence:
            continue
        part, label = evidence[rank]
        others = [other for _, other in evidence.values() if other != label]
        own = pool.specificity(key, label, others)
        answers.append(
            f"{rank} model, {condition}: its lift on {_words(part)} is "
            f"{text(pool.lift(key, [label]))}, which is "
            + told(
                own,
                "above the mean of the other parts",
                "below the mean of the other parts",
                "not told apart from the mean of the other parts",
            )
        )
    header = ("model", "data", *_part_titles(evidence), "whole bird", "background")
    return Table(
        name="own-rank",
        title="Where a model looks, asked for the rank that it was trained at",
        claim="From such maps one could learn which part of a bird marks a species: "
        "does the species model look at the species' part, and the family model at "
        "the family's?",
        header=header,
        rows=rows,
        answer=". ".join(_capital(one) for one in answers) + ".",
        note=LIFT,
    )


def steps_table(models: Models, evidence: Evidence) -> Table:
    """Lift of every question of a model on every part."""
    rows = []
    for ranks, condition, seen in models:
        pool = Pool(seen)
        for key in map(str, seen[0].looks.keys):
            kind, rank = key.split("-", 1)
            lifts = [pool.lift(key, [label]) for _, label in evidence.values()]
            name = f"{'step to' if kind == 'step' else 'asked for'} {rank}"
            bird = pool.lift(key, range(1, pool.area.shape[1]))
            rows.append(("+".join(ranks), condition, name, *lifts, bird))
    return Table(
        name="parts",
        title="Every question on every part",
        claim="What do the maps of one model lie on, asked at each rank, and asked for "
        "each step (this family within its order)?",
        header=("model", "data", "map", *_part_titles(evidence), "whole bird"),
        rows=rows,
        answer=_highest(rows, evidence),
        note=LIFT,
        figure="study/parts.png",
        short=_highest(rows, evidence),
    )


def _highest(rows: Sequence[tuple], evidence: Evidence) -> str:
    """How often the own part has the highest lift, of steps and of plain maps."""
    counts = {"asked for": [0, 0], "step to": [0, 0]}
    for row in rows:
        kind, _, rank = row[2].rpartition(" ")
        if rank not in evidence:
            continue
        values = [cell.value for cell in row[3 : 3 + len(evidence)]]
        if not all(map(math.isfinite, values)):
            continue  # nothing to choose: only children
        hit = values.index(max(values)) == list(evidence).index(rank)
        counts[kind][0] += hit
        counts[kind][1] += 1
    plain, step = counts["asked for"], counts["step to"]
    return (
        f"The part of the asked rank has the highest lift of all parts in {step[0]} of "
        f"{step[1]} step maps and in {plain[0]} of {plain[1]} plain maps."
    )


def specificity_table(models: Models, evidence: Evidence) -> Table:
    """Own part against the other parts, steps against plain maps."""
    rows, better, worse, same = [], [], [], []
    for ranks, condition, seen in models:
        pool = Pool(seen)
        for rank, (part, label) in evidence.items():
            step, asked = f"step-{rank}", f"asked-{rank}"
            if step not in seen[0].looks.keys:
                continue
            others = [other for _, other in evidence.values() if other != label]
            gain = pool.gain(step, asked, label, others)
            if not math.isfinite(gain.value):
                continue  # every child of this rank is an only child
            rows.append(
                (
                    "+".join(ranks),
                    condition,
                    rank,
                    _words(part),
                    pool.specificity(asked, label, others),
                    pool.specificity(step, label, others),
                    gain,
                )
            )
            name = f"{rank} ({'+'.join(ranks)} model, {condition})"
            {1: better, -1: worse, 0: same}[gain.verdict].append(name)
    return Table(
        name="specificity",
        title="Do steps point at the part that carries the trait of their rank?",
        claim="Do the step CAMs point at the part that carries the trait of their rank "
        "where plain CAMs do not?",
        header=(
            "model",
            "data",
            "rank",
            "its part",
            "plain map",
            "step map",
            "step minus plain",
        ),
        rows=rows,
        answer=_summary(better, worse, same),
        short=f"Of {len(rows)} steps, {len(better)} prefer the part of their rank more "
        f"than the plain map does, {len(worse)} less, {len(same)} are not told apart.",
        note="Each figure is the lift on the rank's own part minus the mean lift on "
        "the other parts: 0 says that the map does not prefer its part. Brackets as "
        "above; the last column pairs the images.",
    )


def _summary(better: list[str], worse: list[str], same: list[str]) -> str:
    parts = []
    for names, words in (
        (better, "prefer their own part more than plain maps do"),
        (worse, "prefer it less"),
        (same, "cannot be told from plain maps"),
    ):
        if names:
            parts.append(f"steps to {joined(names)} {words}")
    return _capital("; ".join(parts)) + "." if parts else "There was no step to ask."


def _part_titles(evidence: Evidence) -> list[str]:
    return [f"{_words(part)} ({rank})" for rank, (part, _) in evidence.items()]


def _words(part: str) -> str:
    return part.replace("_", " and ")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def views_table(
    seen_by_view: Mapping[tuple, list[Seen]], rank: str, evidence: Evidence
) -> Table:
    """Map size, layer and method, with the same weights."""
    part, label = evidence[rank]
    others = [other for _, other in evidence.values() if other != label]
    rows = []
    for (stride, layer, method), seen in seen_by_view.items():
        pool = Pool(seen)
        asked, step = f"asked-{rank}", f"step-{rank}"
        side = seen[0].looks.maps.shape[-1]
        right = pool.mean(pool.of_rank("predicted", rank) == pool.of_rank("true", rank))
        rows.append(
            (
                stride,
                layer or "last activation",
                f"{side} x {side}",
                method,
                right,
                pool.lift(asked, [label]),
                pool.lift(step, [label]),
                pool.specificity(step, label, others),
                pool.lift(asked, range(1, pool.area.shape[1])),
                pool.mean(pool.hot(asked)),
            )
        )
    best = max(rows, key=lambda row: row[6].value)
    least = min(rows, key=lambda row: row[6].value)
    told_ = [
        f"{row[3]} on {row[2]} cells of {row[1]}, stride {row[0]}: {text(row[6])}"
        for row in (best, least)
    ]
    return Table(
        name="views",
        title=f"Map size, layer and method, for the {rank} model",
        claim="How do map size, layer and method change where the maps lie?",
        header=(
            "stride",
            "layer",
            "map",
            "method",
            "accuracy",
            f"plain map on {_words(part)}",
            f"step map on {_words(part)}",
            "step map, own part minus others",
            "plain map on bird",
            "hot share of picture",
        ),
        rows=rows,
        answer=f"The {rank} step's lift on {_words(part)} is highest for {told_[0]}, "
        f"and lowest for {told_[1]}.",
        note="One seed. The same weights at each stride, without training again; "
        "accuracy tells "
        "what that costs. " + LIFT,
        figure="study/views.png",
        short=f"The {rank} step finds {_words(part)} best by {told_[0]}.",
    )


def by_model(
    all_seen: Sequence[Seen], names: Mapping, heads: Sequence[tuple[str, ...]]
) -> Models:
    """Pieces by model and condition; `names` has a condition's words."""
    return [
        (ranks, words, seen)
        for condition, words in names.items()
        for ranks in heads
        if (seen := pick(all_seen, ranks, condition))
    ]
