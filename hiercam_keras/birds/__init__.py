"""Procedural birds: images with known evidence for each rank.

The body plan shows the order, the form of bill and tail the family, the wing pattern
the genus, and the place of a bright patch the species; every trait is reused under
every parent. NumPy and Pillow only.
"""

from hiercam_keras.birds.bird import Bird, bird_at, bird_of
from hiercam_keras.birds.dataset import (
    is_complete,
    write_dataset,
)
from hiercam_keras.birds.intervention_files import (
    Row,
    read_interventions,
    write_interventions,
)
from hiercam_keras.birds.interventions import Intervention, exchange, exchanges
from hiercam_keras.birds.picture import Rendered, render
from hiercam_keras.birds.settings import DatasetSettings
from hiercam_keras.birds.sheet import contact_sheet, exchange_sheet, tree_sheet
from hiercam_keras.birds.stream import (
    PretrainBatch,
    PretrainStream,
)
from hiercam_keras.birds.tree import (
    EVIDENCE,
    PretrainTree,
    SyntheticSpecies,
    default_tree,
    random_tree,
)

__all__ = [
    "EVIDENCE",
    "Bird",
    "DatasetSettings",
    "Intervention",
    "PretrainBatch",
    "PretrainStream",
    "PretrainTree",
    "Rendered",
    "Row",
    "SyntheticSpecies",
    "bird_at",
    "bird_of",
    "contact_sheet",
    "default_tree",
    "exchange",
    "exchange_sheet",
    "exchanges",
    "is_complete",
    "random_tree",
    "read_interventions",
    "render",
    "tree_sheet",
    "write_dataset",
    "write_interventions",
]
