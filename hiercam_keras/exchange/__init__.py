"""Formats that field biologists exchange, one file a format: readers and writers.

They give plain dataclasses; `data` turns these into records.
"""
