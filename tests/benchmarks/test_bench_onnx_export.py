"""The table of benchmarks.onnx_export, and a run of it at a tiny size."""

import json

import pytest

from benchmarks import onnx_export as bench


def test_ratios_are_taken_inside_rounds():
    """The second round is twice as slow for all, and costs no ratio anything."""
    seconds = {
        1: {
            bench.MAPS: [1.02, 2.04, 1.04],
            bench.PLAIN: [1.0, 2.0, 1.0],
            bench.KERAS: [1.25, 2.5, 1.25],
            bench.PROGRAM: [2.04, 4.08, 2.08],
            bench.FORWARD: [2.0, 4.0, 2.0],
        }
    }
    rows = bench.table(seconds).splitlines()
    assert "| 1 | file with maps | 1040.0 (1020.0..2040.0) |" in rows
    ratio = f"| 1 | {bench.MAPS} / {bench.PLAIN} | at most 1.05 | 1.02 (1.02..1.04) |"
    assert ratio in rows
    folded = f"| 1 | {bench.PLAIN} / {bench.KERAS} | at most 1.05 | 0.80 (0.80..0.80) |"
    assert folded in rows
    assert f"| 1 | {bench.MAPS} / {bench.PROGRAM} |  | 0.50 (0.50..0.50) |" in rows


def test_ways_take_turns_and_change_their_order():
    called = []
    found = {name: lambda _, name=name: called.append(name) for name in "ab"}
    seconds = bench.measured(found, None, 2, 0.0)
    assert called == list("ab" + "ab" + "ba")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


@pytest.mark.slow
def test_a_run_at_a_tiny_size(tmp_path, capsys):
    pytest.importorskip("jax2onnx", reason="install requirements-export.txt")
    flags = ["--backbone=mobilenet_v3_small", "--size=64", "--species=20"]
    flags += ["--batches=1,2", "--rounds=2", "--block_seconds=0.01"]
    bench.main(bench.parse([*flags, f"--out={tmp_path}"]))
    found = json.loads((tmp_path / "onnx_export.json").read_text())
    assert set(found["seconds"]["2"]) == {
        bench.MAPS,
        bench.PLAIN,
        bench.KERAS,
        bench.PROGRAM,
        bench.FORWARD,
    }
    assert "file with maps / file without maps" in capsys.readouterr().out
