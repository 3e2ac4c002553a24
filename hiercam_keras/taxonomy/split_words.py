"""Names of train, val and test in columns, folders and data sets."""

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def official(word: str) -> str | None:
    """ "train", "val" or "test" for one of its names, else None."""
    return _WORDS.get(word.strip().lower())
