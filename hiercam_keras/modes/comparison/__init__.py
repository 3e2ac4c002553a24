"""The numbers of a comparison: one row for each picture and each question.

Everything is keyed by example_id and in the order of the split's list, so that pictures
pair across models. `columns` says what is compared, `measure` reads the maps,
`numbers_table` and `differences` write the tables that docs/METRICS.md describes.
"""

from hiercam_keras.modes.comparison.columns import (
    Column,
    ColumnNumbers,
    Numbers,
    mean_or_none,
)
from hiercam_keras.modes.comparison.differences import differences, write_differences
from hiercam_keras.modes.comparison.measure import measure
from hiercam_keras.modes.comparison.numbers_table import (
    write_agreement,
    write_numbers,
)

__all__ = [
    "Column",
    "ColumnNumbers",
    "Numbers",
    "differences",
    "mean_or_none",
    "measure",
    "write_agreement",
    "write_differences",
    "write_numbers",
]
