"""Table of --mode=causes on the parts that carry the traits: used, and marked?"""

import math
from collections.abc import Mapping, Sequence

from hiercam_keras import wording
from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.experiments import cause_map_tables
from hiercam_keras.experiments import cause_pooling as pooling
from hiercam_keras.experiments.cause_map_tables import DEFAULT, Agreement, name_of
from hiercam_keras.experiments.cause_pooling import CausedRun, View
from hiercam_keras.experiments.cause_tables import Models, Use
from hiercam_keras.experiments.results import Cell, Result, number, text
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.wording import spaced

STEP = "step"


def carriers_table(
    models: Models,
    uses: Sequence[Use],
    agreements: Sequence[Agreement],
    evidence: Evidence,
) -> Result:
    """Whether each step uses the part that carries its rank, and whether maps mark it.

    Args:
      models: the trainings.
      uses: of `cause_tables.uses`.
      agreements: of `cause_map_tables.agreements`, from which the best by val is taken.
      evidence: rank -> (part, label).
    """
    best = cause_map_tables.chosen(agreements, STEP, 1)[0].view
    known = next(iter(models.values()))[0].test.maps.views
    views = [view for view in dict.fromkeys([DEFAULT, best]) if view in known]
    rows, answers, unused = [], [], []
    for model, runs in models.items():
        for rank in runs[0].test.effects.ranks:
            if rank not in evidence:
                continue
            part = evidence[rank][0]
            here = {u.part: u for u in uses if (u.model, u.rank) == (model, rank)}
            used = here[part].is_used
            falls = {name: one.fall for name, one in here.items()}
            lifts = {view: pooling.lifts(runs, view, (STEP, rank)) for view in views}
            rows.append((model, rank, *_cells(runs, rank, part, used, falls, lifts)))
            answers.append(_sentence(model, rank, part, used, falls, lifts))
            if not used:
                unused.append(
                    f"The {model} model's step to {rank} does not use {spaced(part)}."
                )
    columns = [
        f"{words} {name_of(view)}"
        for view in views
        for words in ("lift by", "place by", "top part by")
    ]
    return Result(
        name="carriers",
        title="The parts that carry the traits: used, and marked?",
        claim="Does the step to a rank use the part that carries its trait, and do its "
        "maps mark this part?",
        header=(
            "model",
            "step to",
            "carrier",
            "used",
            "fall of the step",
            "place by fall",
            *columns,
        ),
        rows=rows,
        answer=" ".join(answers),
        short=f"{len(rows) - len(unused)} of {wording.count(len(rows), 'step')} use "
        "the part that carries the trait of their rank.",
        missing=tuple(unused),
        note="Fall: with a sibling's form. Place: among the parts and the habitat, by "
        "fall or by lift, 1 is the largest. Lift: share of the energy over share of "
        "the area. Top part: share of the pictures of which the part of the largest "
        f"lift is that of the largest fall. {name_of(best)} is the best for steps by "
        "val. Brackets: 95 % intervals, species and seeds resampled.",
    )


def _cells(
    runs: Sequence[CausedRun],
    rank: str,
    part: str,
    used: bool,
    falls: Mapping[str, Estimate],
    lifts: Mapping[View, Mapping[str, Estimate]],
) -> list[Cell]:
    """Of one step, from its carrier on."""
    own = {name: falls[name] for name in runs[0].test.maps.parts if name in falls}
    cells = [spaced(part), "yes" if used else "no", falls[part], _place(own, part)]
    for view, by_part in lifts.items():
        top = pooling.agreement("top_part", view, [(STEP, rank)])
        cells += [by_part[part], _place(by_part, part), pooling.estimate(runs, top)]
    return cells


def _place(found: Mapping[str, Estimate], part: str) -> str:
    values = {name: one.value for name, one in found.items()}
    known = [value for value in values.values() if math.isfinite(value)]
    return f"{1 + sum(v > values[part] for v in known)} of {len(known)}"


def _sentence(
    model: str,
    rank: str,
    part: str,
    used: bool,
    falls: Mapping[str, Estimate],
    lifts: Mapping[View, Mapping[str, Estimate]],
) -> str:
    most = max(falls, key=lambda name: falls[name].value)
    words = f"The {model} model's step to {rank} "
    words += "uses" if used else "does not use"
    words += f" {spaced(part)} ({text(falls[part])} nats"
    if most != part:
        words += f"; most: {spaced(most)}, {text(falls[most])}"
    marks = [
        f"place {_place(by_part, part)} by lift ({number(by_part[part].value)}) in "
        f"maps by {name_of(view)}"
        for view, by_part in lifts.items()
    ]
    return f"{words}), which has {' and '.join(marks)}."
