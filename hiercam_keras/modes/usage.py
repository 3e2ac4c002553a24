"""What each mode takes from the command line, and what it leaves at a stop.

A flag or an override that a mode does not use is refused: who gave it expects that it
changes something.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from hiercam_keras.errors import UserError
from hiercam_keras.runs.recorded_config import EXPERIMENTS as _SECTIONS

_FIND_RUN = frozenset({"data_dir", "workdir"})  # of modes that take a finished run
# What is asked of it, and how.
_ASK = frozenset({"target", "target_rank", "method"})
_ALLOW = frozenset({"rank", "allowed_taxa", "taxonomy"})
# Fields that choose the run, and those that say how its images are read.
_RUN = (
    "name",
    "seed",
    "runs_dir",
    "data",
    "distribution",
    "model.fast_layers",
    "model.modules",
    "cam.precision",
)
_MAPS = ("cam.method", "cam.layer", "cam.batch_size", "cam.score")
_BELIEF = ("believe.rule", "believe.allowed_share")
# Fields of `data` that count at the training alone.
_TRAINING_ONLY = (
    "data.image_size",
    "data.fractions",
    "data.homonyms",
    "data.untrained_taxa",
    "data.split_seed",
    "data.near_copies",
    "data.sampling",
    "data.sampling_rank",
    "data.cache_mb",
    "data.disk_cache",
)
# Fields that say how a network from elsewhere is read.
_FOREIGN = ("model.preprocessing", "model.activation", "model.output", "model.other")

# Sections that later modes read from their own command.
_NOT_OF_TRAINING = ("compare", "guide", "predict", "report", "search")


@dataclass(frozen=True)
class Usage:
    """What one mode takes.

    Attributes:
      flags: names, besides --mode and --config.
      fields: config fields that it reads, with all below them; ("",) is every field.
      but: exceptions to `fields`.
      takes_run: it takes a finished run, which decides on all other fields.
      after_stop: what is kept when a signal ends it, and how to continue.
    """

    flags: frozenset[str]
    fields: tuple[str, ...]
    but: tuple[str, ...] = ()
    takes_run: bool = False
    after_stop: str = ""

    def reads(self, field: str) -> bool:
        """Whether a config field, by dotted path, has an effect."""
        return _covers(self.fields, field) and not _covers(self.but, field)


def _covers(names: Collection[str], field: str) -> bool:
    return any(not name or f"{field}.".startswith(f"{name}.") for name in names)


def _of_run(
    flags: Collection[str],
    fields: tuple[str, ...] = (),
    batch: bool = False,
    out: bool = True,
    after_stop: str = "Maps that are on disk are kept: run the same command again for "
    "the others.",
) -> Usage:
    """A mode that takes a finished run.

    `batch`: it reads data.batch_size. `out`: its results may go to another place.
    """
    return Usage(
        flags=_FIND_RUN | {"split"} | ({"out"} if out else set()) | set(flags),
        fields=(*_RUN, *(("detections",) if "detections" in flags else ()), *fields),
        but=_TRAINING_ONLY if batch else (*_TRAINING_ONLY, "data.batch_size"),
        takes_run=True,
        after_stop=after_stop,
    )


_TRAIN_ON = "Continue with --resume and the same flags."
_EXPERIMENT = Usage(
    flags=frozenset({"data_dir", "out", "split", "method"}),
    fields=("",),
    but=(*_FOREIGN, "detections"),  # they measure maps of whole pictures
    after_stop="Finished trainings and maps are kept, and a stopped training "
    "continues: run the same command again.",
)
USAGE = {
    "prepare": Usage(
        flags=frozenset({"data_dir", "detections"}),
        fields=("name", "data", "detections"),
        after_stop="The index keeps what was read: run the same command again.",
    ),
    "pretrain": Usage(
        flags=frozenset({"workdir", "out", "resume", "overwrite"}),
        fields=("seed", "runs_dir", "model", "data.workers", "pretrain"),
        but=_FOREIGN,
        after_stop=_TRAIN_ON,
    ),
    "train": Usage(
        flags=frozenset(
            {
                *("rank", "data_dir", "detections", "workdir"),
                *("resume", "overwrite", "multihost"),
            }
        ),
        fields=("",),  # the run folder keeps them for later modes
        but=(*_SECTIONS, *_NOT_OF_TRAINING, *_FOREIGN),
        after_stop=_TRAIN_ON,
    ),
    "plan": Usage(
        flags=frozenset(
            {
                *("rank", "data_dir", "detections", "out", "search"),
                *("device", "classes", "num_images", "prices"),
            }
        ),
        fields=("",),
        but=(*_SECTIONS, *_NOT_OF_TRAINING, *_FOREIGN),
        after_stop="Programs that were compiled are kept: run the same command again.",
    ),
    "import": Usage(
        flags=frozenset({"model", "labels", "workdir", "overwrite"}),
        fields=(
            *("name", "runs_dir", *_FOREIGN, "model.modules", "model.fast_layers"),
            *("data.image_size", "data.homonyms", "data.ranks", "cam.layer"),
        ),
        after_stop="Nothing is kept: run the same command again.",
    ),
    "eval": _of_run(
        _ALLOW | {"detections", "multihost"},
        _BELIEF,
        batch=True,
        after_stop="The tables may be incomplete: run the same command again.",
    ),
    "predict": _of_run(
        _ALLOW | {"detections", "image", "top_k", "multihost"},
        ("predict", *_BELIEF),
        batch=True,
        after_stop="No prediction is kept: run the same command again.",
    ),
    "calibrate": _of_run(
        _ALLOW | {"detections"},
        ("believe.accuracy", "believe.confidence_level", "believe.allowed_share"),
        batch=True,
        out=False,  # thresholds are the run's
        after_stop="No thresholds are kept: run the same command again.",
    ),
    "cam": _of_run(
        _ASK
        | _ALLOW
        | {"detections", "image", "search", "num_overlays", "overlay_format"}
        | {"multihost"},
        (
            *("cam", "coherence", "faithfulness", "sanity", "report", "search"),
            *_BELIEF,
        ),
    ),
    "localize": _of_run(_ASK | _ALLOW, (*_MAPS, "localize")),
    "export": _of_run(
        _ALLOW
        | {"detections", "image", "format", "weights_dtype", "runtime", "webgpu"},
        ("cam.layer", "believe.allowed_share"),
        batch=True,
        after_stop="No file is kept, and a former export stays: run the same command "
        "again.",
    ),
    "compare": _of_run(
        {"detections", "ranks", "runs", "method", "allowed_taxa", "taxonomy"},
        (*_MAPS, "compare", "faithfulness", "coherence", "report", *_BELIEF),
    ),
    "guide": _of_run(
        _ASK | _ALLOW | {"detections"}, (*_MAPS, "guide", "report"), batch=True
    ),
    "study": _EXPERIMENT,
    "curves": _EXPERIMENT,
    "granularity": _EXPERIMENT,
    # It compares methods and layers, those of config.causes.
    "causes": replace(
        _EXPERIMENT,
        flags=_EXPERIMENT.flags - {"method"},
        but=(*_EXPERIMENT.but, "cam.method", "cam.layer"),
    ),
}
MODES = tuple(USAGE)
MODULES = {"import": "import_network"}  # where a mode's name is not its module's
EXPERIMENTS = ("study", "curves", "granularity", "causes")
FLAGS = frozenset().union(*(usage.flags for usage in USAGE.values()))
# Config fields that a mode without a run reads in place of a flag.
_FIELDS = {"taxonomy": "data.taxonomy"}
# Flags that another one makes useless.
_WITH = {
    "image": ("split", "num_overlays", "overlay_format"),
    "runs": ("ranks",),
    "search": ("image", "num_overlays", "overlay_format", "multihost"),
}


def check_flags(mode: str, given: Collection[str]) -> None:
    """Refuses flags that the mode does not use.

    Args:
      mode: one of MODES.
      given: names of the flags on the command line.

    Raises:
      UserError: the first of them, with the modes that use it.
    """
    takes = USAGE[mode].flags
    for name in sorted(FLAGS & set(given) - takes):
        users = ", ".join(one for one in MODES if name in USAGE[one].flags)
        field = _FIELDS.get(name)
        instead = f"Leave it out; {mode} takes --{', --'.join(sorted(takes))}."
        if field and not USAGE[mode].takes_run and USAGE[mode].reads(field):
            instead = f"Use --config.{field}=... with {mode}."
        raise UserError(
            f"--{name} has no effect with --mode={mode}: it is a flag of {users}. "
            + instead
        )
    for one, others in _WITH.items():
        for name in others if one in given else ():
            if name in given:
                raise UserError(
                    f"--{name} has no effect with --{one}. Leave one of them out."
                )


def check_fields(mode: str, overrides: Collection[str]) -> None:
    """Refuses overrides that a mode without a run does not use.

    What a mode with a run does not use may equal the run's, see `Settings.config_of`.

    Args:
      mode: one of MODES.
      overrides: dotted paths of the config fields on the command line.

    Raises:
      UserError: the first of them, with the modes that use it.
    """
    if USAGE[mode].takes_run:
        return
    for field in overrides:
        if not USAGE[mode].reads(field):
            raise no_effect(mode, field)


def no_effect(mode: str, field: str) -> UserError:
    """The error for a config field that a mode does not read."""
    return UserError(
        f"--config.{field} has no effect with --mode={mode}: it is read by "
        f"{users_of(field)}. Leave it out."
    )


def users_of(field: str) -> str:
    """Names of the modes that read a config field."""
    return ", ".join(mode for mode in MODES if USAGE[mode].reads(field))
