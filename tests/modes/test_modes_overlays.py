"""Overlays in folders of coherent and incoherent maps."""

import json
import shutil

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.errors import UserError

FIELDS = {"cam.method": "hirescam", "cam.num_overlays": 9}


def run(trained, **fields):
    said = tiny_birds.run(
        "cam", trained.config, rank=("family",), fields={**FIELDS, **fields}
    )
    return said, store.open(said.rsplit(" ", 1)[1]).folder / "overlays"


def files(folder):
    """example_id of each overlay -> (verdict, time of writing)."""
    return {
        "/".join(path.relative_to(folder).parts[1:]): (
            path.relative_to(folder).parts[0],
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*.jpg")
    }


@pytest.fixture(scope="module")
def drawn(trained):
    return run(trained)


def test_each_overlay_lies_in_the_folder_of_its_verdict(drawn):
    said, folder = drawn
    rows = tables.read_csv(folder / "coherence.csv")
    found = {name: verdict for name, (verdict, _) in files(folder).items()}
    assert found == dict(zip(rows["example_id"], rows["coherence"], strict=True))
    assert len(found) == 9
    for verdict in ("coherent", "incoherent", "undecided"):
        count = sum(one == verdict for one in found.values())
        assert f"{count} {verdict}" in said
    # One picture is few enough to measure its faithfulness, by the tests' config.
    assert rows["coherence_basis"][1:] == ["place"] * 8


def test_other_thresholds_move_them_and_draw_nothing(trained, drawn):
    _, folder = drawn
    before = files(folder)
    excess = np.array(tables.read_csv(folder / "coherence.csv")["excess"], float)[1:]
    middle = float(np.median(excess))
    limits = {"coherence.min_excess": middle, "coherence.max_stray": middle - 1e-9}
    run(trained, **limits)
    after = files(folder)
    assert {name: time for name, (_, time) in before.items()} == {
        name: time for name, (_, time) in after.items()
    }
    verdicts = [after[name][0] for name in sorted(after)]
    assert verdicts.count("coherent") >= 4 and verdicts.count("incoherent") >= 3
    run(trained)
    assert files(folder) == before


def test_none_that_is_lost_stays_lost(trained, drawn):
    _, folder = drawn
    before = files(folder)
    name = next(iter(before))
    (folder / before[name][0] / name).unlink()
    run(trained)
    after = files(folder)
    assert after.keys() == before.keys()
    changed = {one for one in after if after[one] != before[one]}
    assert changed == {name}


def test_without_masks_and_boxes_it_rests_on_faithfulness(
    trained, image_folder, tmp_path
):
    """The same pictures in a folder that has nothing beside it."""
    bare = tmp_path / "bare" / "images"
    bare.mkdir(parents=True)
    for folder in image_folder.iterdir():
        (bare / folder.name).symlink_to(folder)
    config = trained.config
    fields = {
        "cam.method": "xgradcam",
        "cam.num_overlays": 4,
        "coherence.faithfulness_images": 2,
        "data.source": "image_folder",
    }
    said = tiny_birds.run(
        "cam", config, rank=("family",), fields=fields, data_dir=str(bare)
    )
    folder = store.open(said.rsplit(" ", 1)[1]).folder / "overlays"
    rows = tables.read_csv(folder / "coherence.csv")
    assert set(rows["excess"]) == {""}
    assert rows["coherence_basis"][2:] == ["nothing"] * 2
    assert rows["coherence"][2:] == ["undecided"] * 2
    assert set(rows["coherence_basis"][:2]) <= {"faithfulness", "nothing"}


def test_a_run_from_before_there_were_thresholds(trained, tmp_path):
    """Its config has no such sections: the command's are taken."""
    old = tmp_path / "old"
    shutil.copytree(trained.path("family"), old, ignore=shutil.ignore_patterns("maps"))
    record = json.loads((old / "config.json").read_text())
    for name in ("faithfulness", "coherence"):
        del record["config"][name]
    (old / "config.json").write_text(json.dumps(record))
    flags = {"rank": ("family",), "workdir": str(old)}
    said = tiny_birds.run("cam", trained.config, **flags)
    assert "overlays: " in said
    with pytest.raises(UserError, match="min_excess"):
        fields = {"coherence.min_excess": -1.0}
        tiny_birds.run("cam", trained.config, fields=fields, **flags)


def test_out_is_the_folder_of_the_overlays(trained, drawn, tmp_path):
    """The maps stay in the run, as other modes read them."""
    _, folder = drawn
    flags = {"rank": ("family",), "out": str(tmp_path / "here")}
    said = tiny_birds.run("cam", trained.config, fields=FIELDS, **flags)
    assert "0 of them made now" in said and f"overlays in {tmp_path / 'here'}: " in said
    assert files(tmp_path / "here").keys() == files(folder).keys()
    assert (tmp_path / "here" / "coherence.csv").is_file()
    with pytest.raises(UserError, match="--out is for the overlays"):
        fields = {**FIELDS, "cam.num_overlays": 0}
        tiny_birds.run("cam", trained.config, fields=fields, **flags)


def test_a_folder_of_the_users_has_the_maps_of_the_last_command(trained, tmp_path):
    def pixels(method):
        tiny_birds.run(
            "cam", trained.config, rank=("family",), out=str(tmp_path / "out"),
            fields={"cam.num_overlays": 3, "cam.method": method},
        )  # fmt: skip
        paths = sorted((tmp_path / "out").rglob("*.jpg"), key=lambda path: path.name)
        assert len(paths) == 3
        return [path.read_bytes() for path in paths]

    first, second = pixels("gradcam"), pixels("center_gaussian")
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert pixels("gradcam") == first
