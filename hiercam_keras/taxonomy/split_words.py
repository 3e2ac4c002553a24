"""The words by which columns, folders and data sets name train, val and test."""

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
    """ "train", "val" or "test" for a word that means it, else None."""
    return _WORDS.get(word.strip().lower())
