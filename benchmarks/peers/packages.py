"""Benchmarks: which versions of the packages are installed."""

import importlib.metadata


def versions(*names: str) -> dict[str, str]:
    """Versions of installed packages; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
