"""Scoring streams: memory does not grow as the maps do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import streaming

ROOT = Path(__file__).parents[2]


def test_every_generated_map_is_scored(tmp_path):
    found = streaming.measure(tmp_path, 120, 8)
    assert found["maps"] == 120 and found["maps_per_second"] > 0


@pytest.mark.slow
def test_a_hundred_thousand_maps_do_not_have_to_fit():
    """In a process of its own, whose peak is that of this work alone."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming", "--maps=100000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    assert found["maps"] == 100_000
    peak = found["peak_mib"]
    # The maps as they are scored elsewhere would be 19 GiB.
    assert found["maps_in_float32_mib"] > 19_000
    assert peak["all"] - peak["a tenth"] < 200
