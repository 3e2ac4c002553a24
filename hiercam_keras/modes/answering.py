"""What files with a network's answers say of the network, in every format."""

from collections.abc import Collection

import hiercam_keras
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run


def classifier_of(run: Run) -> str:
    """The program with its version, and the network."""
    source = (run.record.get("imported") or {}).get("source") or {}
    where = run.path
    name = source.get("name") or f"{where.parent.name}/{where.name}"
    return f"hiercam_keras {hiercam_keras.__version__}: {name}"


def rank_of(settings: Settings, network: Network, known: Collection[str]) -> str:
    """The rank whose taxa are named: that of --rank if it is known, else the finest."""
    if settings.chosen_rank and settings.rank[0] in known:
        return settings.rank[0]
    return network.finest
