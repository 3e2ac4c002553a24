"""The grid of trainings of an experiment, declared before they run.

A run folder is where --mode=train would put it, so every other mode finds it:
runs/<config.name>[-h<habitat correlation>][-<weights>]/<rank[+rank]>/seed<k>.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras.data import sources
from hiercam_keras.errors import UserError
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import recorded_config, run_folder

Value = float | int | str | bool
# Fields that need several heads.
SEVERAL_HEADS = {
    "train.consistency": 0.0,
    "train.loss_weights": (),
    "model.head_chain": "none",
}


@dataclass(frozen=True)
class Condition:
    """Differences between trainings other than rank and seed.

    Attributes:
      habitat: data.synthetic.habitat_correlation; None: that of the config.
      weights: model.weights; None: those of the config.
      overrides: (dotted name, value) of further fields, as ("train.epochs", 4).
    """

    habitat: float | None = None
    weights: str | None = None
    overrides: tuple[tuple[str, Value], ...] = ()


def conditions(settings: Settings) -> dict[Condition, str]:
    """The conditions of an experiment, and their names.

    Each override is tried with the first of the habitats and weights.
    """
    study = settings.config.study
    found = {
        Condition(habitat, weights): in_words(habitat, weights)
        for habitat, weights in itertools.product(
            tuple(study.habitats) or (None,), tuple(study.weights) or (None,)
        )
    }
    first, words = next(iter(found.items()))
    for field, value in study.overrides:
        changed = replace(first, overrides=((field, value),))
        found[changed] = f"{words}, {field}={value}"
    return found


def in_words(habitat: float | None, weights: str | None) -> str:
    """Name of a condition, for tables."""
    words = [] if habitat is None else [f"habitat {habitat:g}"]
    if weights is not None:
        words.append(weights_words(weights))
    return ", ".join(words) or "all"


def weights_words(weights: str) -> str:
    """Name of the initial weights: `from scratch`, or `from` the weights."""
    return "from scratch" if weights == "none" else f"from {Path(weights).stem}"


@dataclass(frozen=True)
class TrainingSpec:
    """One training: the ranks of its heads, its seed, its condition and its config."""

    ranks: tuple[str, ...]
    seed: int
    condition: Condition
    config: FrozenConfigDict
    path: Path

    @property
    def name(self) -> str:
        """Name of the ranks, for tables."""
        return "+".join(self.ranks)


def make_spec(
    settings: Settings,
    ranks: Sequence[str],
    seed: int,
    condition: Condition | None = None,
) -> TrainingSpec:
    """One training of an experiment.

    All seeds share the split of the config's own seed, so all models are tested on the
    same images. Fields that need several heads (a consistency term, weights by rank, a
    chain) are reset for single-rank models, so that one config covers the multi-rank
    model and the single-rank ones that it is compared with.

    Raises:
      UserError: procedural data do not have the rank, the data are not procedural but a
        habitat is given, or an override does not fit the config or a model with one
        head.
    """
    condition = condition or Condition()
    base = settings.config
    sources.check_drawn_ranks(base.data, settings.data_dir, ranks)
    config = ConfigDict(base.to_dict())
    for section in recorded_config.EXPERIMENTS:
        if section in config:
            del config[section]
    name, suffix = config.name, ""
    if settings.data_dir:
        name = sources.data_name(settings.data_dir)
    if condition.habitat is not None:
        if settings.data_dir or config.data.source != "synthetic_birds":
            raise UserError(
                "config.study.habitats needs procedural birds, but these images are "
                "not procedural. Set it to (), or use "
                "--config=configs/synthetic_birds.py."
            )
        suffix = f"-h{condition.habitat:g}"
        config.data.root += suffix
        config.data.synthetic.habitat_correlation = float(condition.habitat)
    if condition.weights not in (None, config.model.weights):
        config.model.weights = condition.weights
        suffix += "-scratch" if condition.weights == "none" else _stem(condition)
    for field, value in condition.overrides:
        suffix += f"-{field.rpartition('.')[2]}{value}"
        _override(config, field, value)
        if len(ranks) == 1 and field in SEVERAL_HEADS:
            raise UserError(
                f"the override {field}={value} needs several heads: move "
                "it to config.curves.multi_overrides."
            )
    if len(ranks) == 1:
        config.update_from_flattened_dict(SEVERAL_HEADS)
    if config.data.split_seed < 0:
        config.data.split_seed = base.seed
    config.seed = seed
    config.name = name + suffix
    path = run_folder.path_for(config.runs_dir, config.name, tuple(ranks), seed)
    return TrainingSpec(tuple(ranks), seed, condition, FrozenConfigDict(config), path)


def _override(config: ConfigDict, field: str, value: Any) -> None:
    section, _, name = field.rpartition(".")
    try:
        place = config
        for part in section.split("."):
            place = place[part]
        if name not in place:
            raise KeyError(field)
        place[name] = value  # checks the type
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the experiment's overrides have {field!r} = {value!r}, which does not "
            f"fit the config ({error}). configs/default.py lists the fields."
        ) from error


def _stem(condition: Condition) -> str:
    return f"-{Path(condition.weights).stem}"


def every(
    settings: Settings,
    heads: Sequence[Sequence[str]],
    seeds: Sequence[int],
    conditions: Sequence[Condition] = (Condition(),),
) -> list[TrainingSpec]:
    """All combinations, ordered by seed, so that a stopped experiment has one training
    of each combination rather than several of a few.

    Raises:
      UserError: nothing to train, or a rank, seed or condition is named twice.
    """
    for name, values in (("ranks", heads), ("seeds", seeds)):
        values = [tuple(v) if name == "ranks" else v for v in values]
        if not values or len(set(values)) < len(values):
            raise UserError(
                f"the experiment's {name} are {values or 'empty'}, expected at least "
                "one and each once."
            )
    return [
        make_spec(settings, ranks, seed, condition)
        for seed, condition, ranks in itertools.product(seeds, conditions, heads)
    ]


def settings_for(
    spec: TrainingSpec, settings: Settings, mode: str = "train"
) -> Settings:
    """Settings with which --mode=train, or another mode, works on one training."""
    return replace(
        settings,
        mode=mode,
        config=spec.config,
        overrides={},
        rank=spec.ranks,
        chosen_rank=True,
        workdir=str(spec.path),
        out=None,
        resume=mode == "train",
        overwrite=False,
    )
