"""Arrays in, numbers out. Most functions give one value per image.

Per-image values are what streams: a caller feeds batches, keeps one float per image
and metric, and averages, compares and resamples at the end, paired by example_id.
"""
