"""Metrics of maps and predictions: functions from arrays to numbers.

Most functions return one value per image. A caller feeds batches, keeps one float per
image and metric, and averages, compares and resamples at the end, paired by example_id.
"""
