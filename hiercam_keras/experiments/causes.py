"""--mode=causes: what a network uses, and which maps say so.

The same bird is drawn with one part exchanged for that of a sibling or of an unrelated
taxon, or removed. The scores that fall are caused by this part; maps are compared with
these effects, as in FunnyBirds (Hesse et al. 2023, arXiv:2308.06248), but at each rank
of a taxonomy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hiercam_keras import wording, workdir
from hiercam_keras.cam.methods import ANY_NETWORK, get_methods
from hiercam_keras.data import exchanged
from hiercam_keras.data.exchanged import Drawn
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.cause_measures import SIBLING
from hiercam_keras.experiments import (
    cause_carriers,
    cause_figures,
    cause_map_tables,
    cause_tables,
    map_settings,
    page,
    runs,
    training_grid,
)
from hiercam_keras.experiments.cause_measurements import measured
from hiercam_keras.experiments.cause_pooling import CausedRun
from hiercam_keras.experiments.cause_tables import Models
from hiercam_keras.experiments.map_fields import MapFields
from hiercam_keras.experiments.results import Result, joined
from hiercam_keras.experiments.study import seeds_note
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import style
from hiercam_keras.taxonomy.ranks import check_rank

INTRO = (
    "The drawn birds say which part *carries* the trait of a rank, and not which part "
    "a network *uses*. The generator draws the same bird again, with one part "
    "exchanged for that of a sibling or of an unrelated taxon, or without it, and all "
    "else as it was: the scores that fall are caused by this part. The first tables "
    "are on these causes, the others on maps: which method and layer mark the parts "
    "that the score depends on. The sentences in bold come from the intervals of their "
    "table. On photographs no part can be exchanged; what a network uses of their "
    "background is measured in "
    "[REAL.md](REAL.md#does-the-family-step-use-the-background-more).\n\n"
    "![One bird with all exchanges](causes/exchanges.jpg)\n\n"
    "One bird as it was drawn and with every exchange: below each picture the taxon "
    "that gave the form, and the step that falls most, in nats (mean over the seeds)."
)
VAL = "val"
KINDS = ("label", "step", "contrast")  # of the targets of maps


def run(settings: Settings) -> str:
    """Trains and measures what is missing, and writes CAUSES.md."""
    options = settings.config.causes
    _check(settings)
    first, *others = options.ranks
    wanted = training_grid.every(settings, [(first,)], options.seeds)
    if others:
        seeds = tuple(options.other_seeds) or options.seeds
        wanted += training_grid.every(settings, [(rank,) for rank in others], seeds)
    wanted.sort(key=lambda spec: spec.seed)  # a stopped experiment has one of each
    asked = MapFields({"causes.layers": tuple(options.layers)})
    done = runs.train_missing(wanted, settings, maps=asked)
    found: list[CausedRun] = []
    drawn: dict[str, Drawn] = {}
    for spec, run_ in zip(wanted, done, strict=True):
        data = map_settings.opened(run_, settings, spec)
        for split in (VAL, settings.split):
            if split not in drawn:
                drawn[split] = _drawn(data, split, options)
        numbers = [
            measured(data, split, drawn[split], options)
            for split in (VAL, settings.split)
        ]
        found.append(CausedRun(spec, *numbers))
    models = {
        rank: [one for one in found if one.spec.ranks == (rank,)]
        for rank in options.ranks
    }
    marks = _marks(data, drawn[VAL].labels)
    tables = _tables(models, data, marks, options)
    out = page.out_folder(settings)
    folder = out / "causes"
    for name, png in cause_figures.draw(tables, marks).items():
        style.save_png(folder / name, png)
    finest = models[max(options.ranks, key=data.taxonomy.ranks.index)]
    jpg = cause_figures.exchanges(drawn[settings.split], finest)
    workdir.write_bytes(folder / "exchanges.jpg", jpg)
    command = "python main.py --mode=causes"
    images = len(drawn[settings.split].plain)
    about = page.about(settings, wanted, command, images)
    about += [_counts(drawn, settings.split), _seeds(models)]
    about += seeds_note(min(map(len, models.values())))
    path = out / "CAUSES.md"
    command = page.command_line(settings, command)
    page.write(path, "Causes", INTRO, list(tables.values()), about, command)
    return "\n".join(
        [*(f"{one.title}: {one.answer}" for one in tables.values()), f"page: {path}"]
    )


def _check(settings: Settings) -> None:
    """A UserError, before any training, where nothing can be exchanged or chosen."""
    if settings.data_dir or settings.config.data.source != "synthetic_birds":
        raise UserError(
            "--mode=causes needs procedural birds, of which the generator can exchange "
            "a part; these images are not procedural. Use "
            "--config=configs/synthetic_birds.py."
        )
    if settings.split == VAL:
        raise UserError(
            "--mode=causes chooses methods on val, so that it reports on other images: "
            "leave --split=val out."
        )
    options = settings.config.causes
    for name in ("ranks", "seeds", "methods", "layers", "kinds"):
        values = tuple(options[name])
        if not values or len(set(values)) < len(values):
            raise UserError(
                f"config.causes.{name} is {values}, expected one or more, each once."
            )
    for name in ("images_per_species", "val_images_per_species"):
        if options[name] == 0:
            raise UserError(
                f"config.causes.{name} is 0, expected 1 or more, or -1 for all images."
            )
    if options.chosen < 1:
        raise UserError(
            f"config.causes.chosen is {options.chosen}, expected 1 or more."
        )
    for kind in options.kinds:
        if kind not in KINDS:
            raise UserError(
                f"config.causes.kinds has {kind!r}, expected one or more of "
                f"{', '.join(KINDS)}."
            )
    try:
        for rank in options.ranks:
            check_rank(rank)
    except UserError as error:
        raise UserError(f"config.causes.ranks: {error}") from None
    try:
        asked = get_methods(tuple(options.methods))
    except UserError as error:
        raise UserError(f"config.causes.methods: {error}") from None
    if not any(
        one.source in ANY_NETWORK and one.name not in cause_map_tables.WITHOUT_NETWORK
        for one in asked
    ):
        raise UserError(
            f"config.causes.methods is {tuple(options.methods)}, expected at least one "
            "that makes maps of any network, such as gradcam."
        )


def _drawn(data: RunData, split: str, options: Any) -> Drawn:
    """The exchanged birds of a split, drawn if they are missing; those of siblings
    alone on val, where methods are chosen."""
    on_val = split == VAL
    share = options.val_images_per_species if on_val else options.images_per_species
    records = chosen(data.records(split), share)
    if not records:
        raise UserError(
            f"the {split} split has no images, of which --mode=causes exchanges parts: "
            "give it a share above 0 by config.data.fractions."
        )
    drawn = exchanged.draw(data.config.data, records)
    if not on_val:
        return drawn
    kept = tuple(one for one in drawn.exchanged if one.how == SIBLING)
    return replace(drawn, exchanged=kept)


def chosen(records: Sequence[Record], per_species: int) -> list[Record]:
    """The first records of each species, in their order; all if it is below 0."""
    found, counts = [], {}
    for record in records:
        place = counts.get(record.lineage.path, 0)
        counts[record.lineage.path] = place + 1
        if per_species < 0 or place < per_species:
            found.append(record)
    return found


def _marks(data: RunData, labels: Mapping[str, int]) -> Evidence:
    """The evidence of the data, with the present names of the parts: those of a data
    set that was drawn by an earlier version are others, its labels are the same."""
    names = {label: part for part, label in labels.items()}
    return {
        rank: (names.get(label, part), label)
        for rank, (part, label) in data.source.evidence.items()
    }


def _tables(
    models: Models, data: RunData, marks: Evidence, options
) -> dict[str, Result]:
    correlation = data.config.data.synthetic.habitat_correlation
    uses = cause_tables.uses(models)
    agreements = cause_map_tables.agreements(models)
    kinds = dict.fromkeys(one.kind for one in agreements)
    found = [
        cause_tables.effects_table(models, uses, marks),
        cause_tables.planted_table(models, marks, correlation),
        cause_tables.turned_table(models),
        *(
            [cause_carriers.carriers_table(models, uses, agreements, marks)]
            if cause_carriers.STEP in kinds
            else []
        ),
        cause_map_tables.ranks_table(agreements),
        cause_map_tables.chosen_table(models, agreements, options.chosen),
        *(cause_map_tables.views_table(agreements, kind) for kind in kinds),
        cause_tables.scores_table(models),
    ]
    return {table.name: table for table in found}


def _counts(drawn: dict[str, Drawn], split: str) -> str:
    val, test = (drawn[name] for name in (VAL, split))
    return (
        f"Methods are chosen on {len(val.plain)} images of the val split. "
        f"{len(test.exchanged)} exchanged pictures of the reported images, "
        f"{len(val.exchanged)} of the others; the seed of the donors is "
        f"{exchanged.SEED}."
    )


def _seeds(models: Models) -> str:
    named = [
        f"{wording.count(len(several), 'seed')} of the {rank} model"
        for rank, several in models.items()
    ]
    return f"Trainings: {joined(named)}."
