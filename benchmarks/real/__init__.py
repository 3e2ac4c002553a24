"""Measurements on real photographs, docs/REAL.md.

    HIERCAM_REAL_DATA=/folder python -m benchmarks.real.maps       # 2 minutes
    HIERCAM_REAL_DATA=/folder python -m benchmarks.real.background # 3 minutes
    HIERCAM_REAL_DATA=/folder python -m benchmarks.real.finetune   # hours, resumable
    python -m benchmarks.real.page                                 # the tables

The photographs are not part of the project. docs/real/boxes.csv holds a box for each,
drawn by eye; docs/real/ also holds what was measured, one row for each photograph.
"""
