"""The map store: stored maps are read back, also after a killed run."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
import types

import numpy as np
import pytest

from hiercam_keras.cam import store
from hiercam_keras.errors import UserError

IDS = [f"class_{i % 3}/{i:04d}.jpg" for i in range(22)]
LINEAGES = {"family": ["A/a", "A/b"], "species": ["A/a/x", "A/a/y", "A/b/z"]}


class Space:
    """The part of ScoreSpace that a store uses."""

    @staticmethod
    def rank_label(row):
        return ("", -1) if row < 0 else ("family", int(row))


def explanation(ids, k=2):
    """Maps that depend only on the example."""
    seeds = [int(x[-8:-4]) for x in ids]
    cams = np.stack(
        [np.random.default_rng(s).normal(size=(k, 3, 4)) for s in seeds]
    ).astype(np.float32)
    count = len(ids)
    return types.SimpleNamespace(
        cams=cams,
        scores=cams.sum((-2, -1)),
        probabilities=np.full((count, k), 0.5),
        labels=np.array([[s % 2, s % 3] for s in seeds]),
        rivals=np.array([[-1, s % 2] for s in seeds]),
        degenerate=cams.max((-2, -1)) < 0,
        trivial=np.zeros((count, k), bool),
        ranks=("family", "species"),
        space=Space(),
    )


def identity(**changes):
    fields = {
        "weights": "0" * 64,
        "example_ids": IDS,
        "method": "gradcam",
        "layer": "top_activation",
        "targets": ["label-family", "step-species"],
        "preprocessing": {"image_size": 96, "layout": "classification"},
    }
    return store.identity(**(fields | changes))


def writer(root, shard_size=4, ids=IDS):
    titles = ["label-family", "step-species"]
    return store.Writer(root, identity(), ids, titles, LINEAGES, shard_size=shard_size)


def fill(one, batch=4, stop=None):
    todo = one.missing()
    for start in range(0, len(todo), batch):
        ids = todo[start : start + batch]
        one.add(ids, explanation(ids), geometry(ids))
    return one.close()


def geometry(ids):
    return np.arange(7.0) + np.zeros((len(ids), 1))


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_round_trip(tmp_path):
    maps = store.open(fill(writer(tmp_path)))
    assert len(maps) == 22 and maps.complete and maps.example_ids == tuple(IDS)
    assert maps.ranks == ("family", "species")
    assert maps.titles == ("label-family", "step-species")
    expected = explanation(IDS)
    for i, entry in enumerate(maps):
        assert entry.example_id == IDS[i]
        np.testing.assert_array_equal(entry.cam, expected.cams[i])
        np.testing.assert_array_equal(entry.label, expected.labels[i])
        np.testing.assert_array_equal(entry.geometry, np.arange(7))
        assert entry.rival_rank.tolist() == ["", "family"]
        assert entry.rival_label.tolist() == [-1, int(IDS[i][-8:-4]) % 2]
    entry = maps.get(IDS[13])
    assert maps.lineage("species", entry.label[1]) == LINEAGES["species"][13 % 3]
    np.testing.assert_allclose(maps.column("score"), expected.scores, rtol=1e-6)
    assert IDS[0] in maps and "other.jpg" not in maps
    with pytest.raises(UserError, match="no map of 'other.jpg'"):
        maps.get("other.jpg")


def test_batches_need_not_fit_the_shards_nor_come_in_order(tmp_path):
    one = writer(tmp_path / "a")
    order = np.random.default_rng(0).permutation(22)
    for start in range(0, 22, 5):
        ids = [IDS[i] for i in order[start : start + 5]]
        one.add(ids, explanation(ids))
    two = writer(tmp_path / "b")
    two.add(IDS, explanation(IDS))
    assert contents(one.close()) == contents(two.close())


def test_padding_rows_are_left_out(tmp_path):
    one = writer(tmp_path)
    one.add(IDS[:2], explanation(IDS[:4]))
    one.add(IDS[2:], explanation(IDS[2:]))
    assert len(store.open(one.close())) == 22


def test_skipped_examples_are_named(tmp_path):
    one = writer(tmp_path)
    one.skip(IDS[1], "zero bytes")
    rest = [x for x in IDS if x != IDS[1]]
    one.add(rest, explanation(rest))
    maps = store.open(one.close())
    assert len(maps) == 21 and maps.complete and maps.skipped == {IDS[1]: "zero bytes"}
    with pytest.raises(UserError, match="zero bytes"):
        maps.get(IDS[1])


def test_a_shard_may_be_skipped_whole(tmp_path):
    one = writer(tmp_path)
    for example_id in IDS[:4]:
        one.skip(example_id, "truncated")
    one.add(IDS[4:], explanation(IDS[4:]))
    maps = store.open(one.close())
    assert len(maps) == 18 and maps.ranks == ("family", "species")
    assert maps.column("cam").shape == (18, 2, 3, 4)


def test_second_run_does_only_what_is_missing(tmp_path):
    one = writer(tmp_path)
    ids = IDS[:10]  # two shards, and half of the third
    one.add(ids, explanation(ids), geometry(ids))
    one.close()
    assert not store.open(one.folder).complete
    again = writer(tmp_path, shard_size=7)  # the shards on disk decide, not this
    assert again.missing() == IDS[8:]
    fill(again)
    fresh = fill(writer(tmp_path / "fresh"))
    assert contents(again.folder) == contents(fresh)
    assert writer(tmp_path).missing() == []


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "1" * 64},
        {"example_ids": IDS[:-1]},
        {"method": "hirescam"},
        {"layer": "block6"},
        {"targets": ["label-species"]},
        {"preprocessing": {"image_size": 128, "layout": "classification"}},
        {"flip": True},
    ],
)
def test_key_depends_on_all_that_maps_depend_on(change):
    assert store.key(identity(**change)) != store.key(identity())
    assert store.key(identity()) == store.key(identity())


def test_weights_digest():
    weights = [np.arange(6.0).reshape(2, 3), np.ones(2)]
    same = store.weights_digest([w.copy() for w in weights])
    assert store.weights_digest(weights) == same
    assert store.weights_digest([weights[0].T, weights[1]]) != same
    weights[1][0] = np.nextafter(1, 2)
    assert store.weights_digest(weights) != same


RUN = """
    import sys, time
    sys.path.insert(0, sys.argv[1])
    import test_cam_store as t
    one = t.writer(sys.argv[2], shard_size=2)
    todo = one.missing()
    print(len(todo), flush=True)
    for start in range(0, len(todo), 2):
        ids = todo[start : start + 2]
        one.add(ids, t.explanation(ids), t.geometry(ids))
        time.sleep(0.02)
    one.close()
    print("end", flush=True)
"""


def run_child(root, kill_after=None):
    """Runs the export in a process and kills it after a number of shards.

    Returns what was missing at its start.
    """
    command = [sys.executable, "-c", textwrap.dedent(RUN)]
    command += [os.path.dirname(__file__), root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        todo = int(child.stdout.readline())
        if kill_after is None:
            assert child.stdout.read().strip() == "end" and child.wait(60) == 0
            return todo
        goal = len(shards(root)) + kill_after
        deadline = time.monotonic() + 60
        while len(shards(root)) < goal and time.monotonic() < deadline:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL
    return todo


def shards(root):
    return list(pathlib.Path(root).glob("*/shard-*.npz"))


def test_killed_and_restarted_ends_as_if_undisturbed(tmp_path):
    root = str(tmp_path / "killed")
    left = [run_child(root, kill_after=2)]
    (folder,) = (tmp_path / "killed").iterdir()
    # Temporary file of a write that was killed.
    (folder / ".shard-00005.deadbeef.tmp.npz").write_bytes(b"PK half of a shard")
    left += [run_child(root, kill_after=1), run_child(root, kill_after=2)]
    assert len(store.open(folder)) == 2 * len(shards(root))
    left.append(run_child(root))
    assert left[0] == 22 and left == sorted(left, reverse=True) and left[-1] < 18
    undisturbed = store.Writer(
        tmp_path / "whole",
        identity(),
        IDS,
        ["label-family", "step-species"],
        LINEAGES,
        shard_size=2,
    )
    assert contents(folder) == contents(fill(undisturbed, batch=2))


def test_damaged_shard_is_made_again(tmp_path):
    folder = fill(writer(tmp_path))
    whole = contents(folder)
    path = folder / "shard-00002.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="shard-00002.npz is damaged.*delete it"):
        store.open(folder)
    again = writer(tmp_path)
    assert again.missing() == IDS[8:12]
    assert contents(fill(again)) == whole


def test_errors(tmp_path):
    with pytest.raises(UserError, match="store.json is missing"):
        store.open(tmp_path / "nothing")
    with pytest.raises(UserError, match="repeat"):
        writer(tmp_path, ids=[IDS[0], IDS[0]])
    one = writer(tmp_path)
    with pytest.raises(UserError, match="'x.jpg' is not among"):
        one.add(["x.jpg"], explanation(IDS[:1]))
    with pytest.raises(UserError, match="3 example ids for 2 maps"):
        one.add(IDS[:3], explanation(IDS[:2]))
    text = (one.folder / "store.json").read_text()
    (one.folder / "store.json").write_text(
        text.replace('"schema_version": 1', '"schema_version": 2')
    )
    with pytest.raises(UserError, match="schema_version 2"):
        store.open(one.folder)


def test_snippet_of_the_docstring_reads_without_this_package(tmp_path):
    folder = fill(writer(tmp_path))
    lines = store.__doc__.split("import glob", 1)[1].split("\n\n", 1)[0]
    code = "import sys; sys.modules['hiercam_keras'] = None\nimport glob" + lines
    code = textwrap.dedent(code.replace("\n    ", "\n")).replace("KEY", str(folder))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    printed = done.stdout.splitlines()
    assert len(printed) == 44 and printed[0].startswith(f"{IDS[0]} A/a ")
