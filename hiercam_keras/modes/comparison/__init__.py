"""The numbers of a comparison of several models on the same pictures.

`columns` holds what is compared, `questions` asks the models, `measure` makes the table
of all numbers, `differences` tests pairs of columns. docs/METRICS.md describes the
files that are written.
"""
