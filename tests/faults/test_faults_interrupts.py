"""Ctrl-C at random moments, as benchmarks/interrupts.py sends it."""

import hashlib
import json
import os
import random

import pytest
import tiny_birds

from benchmarks import interrupts
from benchmarks.interrupts import Ended, Interrupts


@pytest.mark.parametrize("mode", ["train", "cam"])
def test_ctrl_c_at_a_random_moment(mode, birds, tmp_path):
    """Two in a row; what the second finds is what the first has left."""
    this = Interrupts(tmp_path, seed=3)
    place = tmp_path / "part"
    if mode == "cam":
        config = tiny_birds.make_config(tmp_path, birds)
        config.model.backbone = "benchmarks.interrupts:network"
        config.update_from_flattened_dict({"train.epochs": 1, "cam.batch_size": 2})
        run = str(place / "family")
        tiny_birds.run("train", config, rank=("family",), workdir=run)
    moments, longest = random.Random(3), {"train": 5, "cam": 3}[mode]
    for _ in range(2):
        ended = interrupts.start(
            this.command(mode, place), moments.uniform(0, longest), this.env
        )
        assert ended.stopping is not None, "it ended before its signal"
        assert ended.status == 130 and not ended.is_noisy(), ended.told
        assert ended.guarded < 10  # mostly 0.05 s: nothing heavy comes before
    kept = {"train": "Continue with --resume", "cam": "Maps that are on disk are kept"}
    assert kept[mode] in ended.told
    assert not list(tmp_path.rglob("run.lock"))


@pytest.fixture
def run(birds, tmp_path):
    """A finished run of benchmarks.interrupts.network, trained in this process."""
    for name in ("jax2onnx", "onnxruntime"):
        pytest.importorskip(name, reason="requirements-export.txt")
    config = tiny_birds.make_config(tmp_path, birds)
    config.model.backbone = "benchmarks.interrupts:network"
    config.train.epochs = 1
    folder = tmp_path / "run"
    tiny_birds.run("train", config, rank=("family",), workdir=str(folder))
    return folder


def test_a_stopped_export_leaves_a_whole_folder_or_none(run, tmp_path):
    """SIGINT, then SIGKILL; 40 of them are below."""
    found = interrupts.export_interrupts(2, 1, run, tmp_path / "onnx", 6.0)
    assert found["stopped"] == 2
    assert not any(found[name] for name in ("wrong_status", "noise", "half", "left"))


@pytest.mark.slow  # minutes of processes
def test_no_stopped_export_leaves_half_a_folder(run, tmp_path):
    out = tmp_path / "onnx"
    found = interrupts.export_interrupts(40, 5, run, out)
    assert found["stopped"] == 40
    assert not any(found[name] for name in ("wrong_status", "noise", "half", "left"))


def test_half_an_export_is_seen(tmp_path):
    folder = tmp_path / "onnx"
    assert interrupts.exported(folder) is None
    folder.mkdir()
    for name in interrupts.EXPORTED[:-1]:
        (folder / name).write_text("# ")
    with pytest.raises(AssertionError, match="found"):
        interrupts.exported(folder)
    (folder / "example.py").write_text("")
    card = {
        "files": {"model.onnx": {"sha256": hashlib.sha256(b"# ").hexdigest()}},
        "network": {"weights_dtype": "float32"},
    }
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "taxonomy.json").write_text('{"weights_dtype": "float32"}')
    assert interrupts.exported(folder) == "float32"
    (folder / "model.onnx").write_text("#")
    with pytest.raises(AssertionError):
        interrupts.exported(folder)


@pytest.mark.slow  # minutes of processes
def test_nothing_is_lost_under_random_interrupts(tmp_path):
    found = interrupts.interrupts(20, 5, tmp_path)
    total = found["all"]
    assert total["interrupts"] == 20 and total["ended"] >= len(interrupts.MODES)
    assert total["wrong_status"] == total["noise"] == total["lost"] == 0


def test_a_process_that_lost_its_signal_or_its_manners_is_seen():
    words = "stopped: Ctrl-C. Try again.\n"
    assert not Ended(130, 0.1, 0.1, "", f"training\n{words}").is_noisy()
    assert Ended(130, 0.1, 0.1, "", f"Traceback (most recent..\n{words}").is_noisy()
    assert Ended(130, 0.1, 0.1, "wrote x\n", words).is_noisy()
    assert Ended(0, 0.1, 0.1, "", "epoch 1/2\n").is_noisy()


def test_other_results_are_seen(tmp_path):
    for name in ("whole", "other"):
        (tmp_path / name / "maps").mkdir(parents=True)
        (tmp_path / name / "a.csv").write_text(f"run,x\n{tmp_path / name}/run,1\n")
        (tmp_path / name / "maps" / "b.txt").write_text("same")
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert interrupts.compared(whole, other) == []
    (other / "maps" / "b.txt").write_text("else")
    (other / "a.csv").unlink()
    assert interrupts.compared(whole, other) == ["a.csv", os.path.join("maps", "b.txt")]
