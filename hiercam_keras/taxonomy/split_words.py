"""Synonyms of train, val and test in columns, folders and data sets."""

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
    """Returns "train", "val" or "test" for a synonym in any letter case, else None."""
    return _WORDS.get(word.strip().lower())
