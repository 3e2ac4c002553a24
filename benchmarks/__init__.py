"""Benchmarks: the project beside its peers. Start with `python -m benchmarks.run`."""
