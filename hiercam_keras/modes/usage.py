"""What each mode leaves at a stop."""

_MAPS = "Maps that are on disk are kept: run the same command again for the others."
_TRAINING = "Continue with --resume and the same flags."
_EXPERIMENT = (
    "Finished trainings and maps are kept, and a stopped training continues: run the "
    "same command again."
)
# By mode: what is kept when a signal ends it, and how to continue.
AFTER_STOP = {
    "prepare": "The index keeps what was read: run the same command again.",
    "pretrain": _TRAINING,
    "train": _TRAINING,
    "eval": "The tables may be incomplete: run the same command again.",
    "predict": "No prediction is kept: run the same command again.",
    "cam": _MAPS,
    "localize": _MAPS,
    "compare": _MAPS,
    "guide": _MAPS,
    "study": _EXPERIMENT,
    "curves": _EXPERIMENT,
    "granularity": _EXPERIMENT,
}
