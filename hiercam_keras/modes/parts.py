"""Names of body parts in sentences."""


def word(part: str) -> str:
    """Human-readable name of a part."""
    return part.replace("_", " and ") if part == "bill_tail" else part.replace("_", " ")
